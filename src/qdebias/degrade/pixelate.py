"""Pixelation: too few pixels for the picture."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from qdebias.degrade.base import Rng, rgb_view
from qdebias.errors import SettingError
from qdebias.image import RgbImage


@dataclass(frozen=True, slots=True, kw_only=True)
class Pixelate:
    """The image made small by means over boxes, and large again by repeating pixels, as in ImageNet-C.

    Not in the paper.

    Attributes:
        scale: Width and height of the small image over those of the image. ImageNet-C's severity 3: 0.4.
    """

    scale: float = 0.4

    def __post_init__(self) -> None:
        if not 0.05 <= self.scale < 1:
            raise SettingError(f"pixelation makes an image smaller, by 0.05 to below 1, got {self.scale}")

    def __call__(self, image: RgbImage, rng: Rng) -> RgbImage:  # noqa: ARG002
        """Return the pixelated copy of a (H, W, 3) image; draws no noise."""
        picture = Image.fromarray(rgb_view(image))
        width, height = picture.size
        small = picture.resize((int(width * self.scale), int(height * self.scale)), Image.Resampling.BOX)
        return np.array(small.resize((width, height), Image.Resampling.BOX))
