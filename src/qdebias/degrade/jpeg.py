"""JPEG compression: too few bytes for the picture."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from qdebias.degrade.base import Rng, rgb_view
from qdebias.errors import SettingError
from qdebias.image import RgbImage


@dataclass(frozen=True, slots=True, kw_only=True)
class Jpeg:
    """The image as a JPEG file of low quality shows it, as in ImageNet-C: Pillow's encoder, colours at half resolution.

    Not in the paper. Another version of the JPEG library may round differently, by a grey level or two.

    Attributes:
        quality: Of the encoder, 1 to 95. ImageNet-C's severity 3: 15.
    """

    quality: int = 15

    def __post_init__(self) -> None:
        if self.quality not in range(1, 96):
            raise SettingError(f"the quality of a JPEG file is a whole number from 1 to 95, got {self.quality}")

    def __call__(self, image: RgbImage, rng: Rng) -> RgbImage:  # noqa: ARG002
        """Return the compressed copy of a (H, W, 3) image; draws no noise."""
        with io.BytesIO() as file:
            Image.fromarray(rgb_view(image)).save(file, "JPEG", quality=self.quality)
            return np.array(Image.open(file))
