"""Low contrast: everything near the mean colour."""

from dataclasses import dataclass

import numpy as np

from qdebias.degrade.base import Rng, rgb_view
from qdebias.errors import SettingError
from qdebias.image import RgbImage


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """Every colour moved towards the mean m of the image, x' = m + c (x - m), as in ImageNet-C.

    Not in the paper.

    Attributes:
        gain: c. ImageNet-C's severity 3: 0.2.
    """

    gain: float = 0.2

    def __post_init__(self) -> None:
        if not 0 <= self.gain < 1:
            raise SettingError(f"the contrast is lowered by a gain in [0, 1), got {self.gain}")

    def __call__(self, image: RgbImage, rng: Rng) -> RgbImage:  # noqa: ARG002
        """Return the copy of low contrast of a (H, W, 3) image; draws no noise."""
        x = rgb_view(image) / 255.0
        mean = x.mean(axis=(0, 1), keepdims=True)
        return np.asarray(np.clip((x - mean) * self.gain + mean, 0, 1) * 255, dtype=np.uint8)
