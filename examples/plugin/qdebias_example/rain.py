"""A custom degradation: streaks of rain."""

import numpy as np

from qdebias.degrade import Rng
from qdebias.image import RgbImage


def rain(image: RgbImage, rng: Rng) -> RgbImage:
    """Draw slanted white streaks over the image.

    Args:
        image: (H, W, 3) uint8; not modified.
        rng: Random generator derived from the seed and the image.

    Returns:
        (H, W, 3) uint8.
    """
    drops = rng.uniform(size=image.shape[:2]) > 0.985
    length = max(4, image.shape[0] // 20)
    streaks = sum(np.roll(drops, (step, step // 3), axis=(0, 1)) for step in range(length)) > 0
    return np.where(streaks[..., None], image // 3 + 165, image // 2 + 40).astype(np.uint8)
