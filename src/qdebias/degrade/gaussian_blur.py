"""Gaussian blur: a lens out of focus."""

from dataclasses import dataclass

import cv2
import numpy as np

from qdebias.degrade.base import Rng, rgb_view
from qdebias.errors import SettingError
from qdebias.image import RgbImage


@dataclass(frozen=True, slots=True, kw_only=True)
class GaussianBlur:
    """The image under a Gaussian, cut off at 4 standard deviations, with the border repeated, as in ImageNet-C.

    Not in the paper.

    Attributes:
        deviation: Standard deviation of the Gaussian, in pixels. ImageNet-C's severity 3: 3.
    """

    deviation: float = 3.0

    def __post_init__(self) -> None:
        if not 0 < self.deviation <= 50:
            raise SettingError(f"Gaussian blur has a deviation over 0, at most 50 pixels, got {self.deviation}")

    def __call__(self, image: RgbImage, rng: Rng) -> RgbImage:  # noqa: ARG002
        """Return the blurred copy of a (H, W, 3) image; draws no noise."""
        values = rgb_view(image).astype(np.float32)
        side = 2 * int(4 * self.deviation + 0.5) + 1
        blurred = cv2.GaussianBlur(values, (side, side), self.deviation, borderType=cv2.BORDER_REPLICATE)
        return np.asarray(np.clip(blurred, 0, 255), dtype=np.uint8)
