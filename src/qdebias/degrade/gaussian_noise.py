"""Gaussian noise: the sensor of a camera in the dark."""

from dataclasses import dataclass

import numpy as np

from qdebias.degrade.base import Rng, rgb_view
from qdebias.errors import SettingError
from qdebias.image import RgbImage


@dataclass(frozen=True, slots=True, kw_only=True)
class GaussianNoise:
    """Noise that is added to every value, x' = clip(x + n, 0, 1), as in ImageNet-C (Hendrycks & Dietterich, 2019).

    Not in the paper.

    Attributes:
        deviation: Standard deviation of n, where white is 1. ImageNet-C's severity 3: 0.18.
    """

    deviation: float = 0.18

    def __post_init__(self) -> None:
        if not 0 < self.deviation <= 10:
            raise SettingError(f"Gaussian noise has a deviation over 0, at most 10, got {self.deviation}")

    def __call__(self, image: RgbImage, rng: Rng) -> RgbImage:
        """Return the noisy copy of a (H, W, 3) image."""
        image = rgb_view(image)
        noisy = image / 255.0 + rng.normal(scale=self.deviation, size=image.shape)
        return np.asarray(np.clip(noisy, 0, 1) * 255, dtype=np.uint8)
