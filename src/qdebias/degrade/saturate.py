"""Saturation enlargement: colours pushed towards the pure hue."""

from dataclasses import dataclass

import numpy as np

from qdebias.degrade.base import Rng, compiled, rgb_view
from qdebias.errors import SettingError
from qdebias.image import RgbImage


@dataclass(frozen=True, slots=True, kw_only=True)
class Saturate:
    """Saturation s of the HSV space replaced by s' = clip(c s + offset, 0, 1), eq. (5) and (6) of the paper.

    Hue h and value v stay. A grey pixel has no hue and counts as red, so an offset tints it; without one it stays.

    Attributes:
        gain: c of eq. (6). Paper: 2.0; the released code (ImageNet-C's severity 3) has the same.
        offset: Added to every saturation. Not in the paper, whose eq. (6) has none; ImageNet-C's severities 4, 5.
    """

    gain: float = 2.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.gain <= 1000 and -1 <= self.offset <= 1):
            raise SettingError(
                f"saturate needs a gain in [0, 1000] and an offset in [-1, 1], got gain={self.gain}, "
                f"offset={self.offset}; the paper takes gain=2.0, offset=0.0"
            )

    def __call__(self, image: RgbImage, rng: Rng) -> RgbImage:  # noqa: ARG002
        """Return the degraded copy, (H, W, 3)."""
        image = rgb_view(image)
        saturated = np.empty_like(image)
        _saturate(image, self.gain, self.offset, saturated)
        return saturated


@compiled
def _saturate(image: RgbImage, gain: float, offset: float, saturated: RgbImage) -> None:
    """Write the saturated pixels without the way through HSV, a row of each channel at a time.

    With v = max(r, g, b) and s = (v - min(r, g, b)) / v, each channel is v - d with d proportional to s, while v and
    the hue fix the rest. So s' in place of s turns v - d into v - d s'/s.
    """
    height, width, _ = image.shape
    red, green, blue = np.empty(width, np.float32), np.empty(width, np.float32), np.empty(width, np.float32)
    c, shift, zero, one = np.float32(gain), np.float32(offset), np.float32(0), np.float32(1)
    for y in range(height):
        here, out = image[y], saturated[y]
        for x in range(width):
            red[x], green[x], blue[x] = here[x, 0], here[x, 1], here[x, 2]
        for x in range(width):
            r, g, b = red[x], green[x], blue[x]
            v = max(r, g, b)
            s = (v - min(r, g, b)) / v
            ratio = min(max(c * s + shift, zero), one) / s
            tint = v - v * max(shift, zero)
            red[x] = v - (v - r) * ratio if s > zero else v
            green[x] = v - (v - g) * ratio if s > zero else tint
            blue[x] = v - (v - b) * ratio if s > zero else tint
        for x in range(width):
            out[x, 0], out[x, 1], out[x, 2] = np.uint8(red[x]), np.uint8(green[x]), np.uint8(blue[x])
