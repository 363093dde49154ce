"""Overexposure: too much light."""

from dataclasses import dataclass

import numpy as np

from qdebias.degrade.base import Rng, rgb_view
from qdebias.errors import SettingError
from qdebias.image import RgbImage


@dataclass(frozen=True, slots=True, kw_only=True)
class Brightness:
    """Value v of the HSV space replaced by clip(v + offset, 0, 1); hue and saturation stay, as in ImageNet-C.

    Not in the paper. A colour (r, g, b) of value v becomes its multiple by v'/v; black becomes grey.

    Attributes:
        offset: Added to every value. ImageNet-C's severity 3: 0.3. Below 0 it underexposes, which ImageNet-C does not.
    """

    offset: float = 0.3

    def __post_init__(self) -> None:
        if not -1 <= self.offset <= 1 or self.offset == 0:
            raise SettingError(f"the brightness changes by an offset in [-1, 1] that is not 0, got {self.offset}")

    def __call__(self, image: RgbImage, rng: Rng) -> RgbImage:  # noqa: ARG002
        """Return the brighter copy of a (H, W, 3) image; draws no noise."""
        x = rgb_view(image) / 255.0
        value = x.max(axis=2, keepdims=True)
        lit = np.clip(value + self.offset, 0, 1)
        colour = np.divide(x, value, out=np.ones_like(x), where=value > 0)
        return np.asarray(colour * lit * 255, dtype=np.uint8)
