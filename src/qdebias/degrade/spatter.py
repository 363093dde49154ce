"""Spatter: drops of water, or splashes of mud, on the lens."""

import math
from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np
import numpy.typing as npt

from qdebias.degrade.base import Rng, compiled, rgb_view
from qdebias.errors import SettingError
from qdebias.image import RgbImage

FloatArray = npt.NDArray[np.float64]
Mask = npt.NDArray[np.float32]
GreyImage = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Water:
    """Drops of clear water: what is behind them shines through."""

    strength: float = 0.5  # largest value of the mask, in [0, 1]; ImageNet-C: 0.6, 0.6, 0.5 at severities 1, 2, 3
    colour: ClassVar[tuple[int, int, int]] = (175, 238, 238)  # pale turquoise
    covers: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise SettingError(f"water needs a strength in [0, 1], got {self.strength}; ImageNet-C takes 0.5 or 0.6")

    def mask(self, liquid: FloatArray, threshold: float) -> Mask:
        """Return M, (H, W): depth of the water times the light on it, scaled so that `strength` is the largest.

        The light is ImageNet-C's: the distance to the nearest edge, at most 20 pixels, equalised and embossed, so that
        it is brighter far from an edge and on the lower right slopes.
        """
        depth = _depth(liquid, threshold)
        distance = np.minimum(cv2.distanceTransform(255 - cv2.Canny(depth, 50, 150), cv2.DIST_L2, 5), 20)
        distance = cv2.equalizeHist(cv2.blur(distance, (3, 3)).astype(np.uint8))
        emboss = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]], np.float32)
        light = cv2.blur(cv2.filter2D(distance, cv2.CV_8U, emboss), (3, 3))
        mask = np.asarray(cv2.multiply(depth, light, dtype=cv2.CV_32F), np.float32)
        mask *= self.strength / max(mask.max(), 1)  # without a drop, which small images may be, M is 0 throughout
        return mask


@dataclass(frozen=True, slots=True, kw_only=True)
class Mud:
    """Opaque brown splashes."""

    softness: float = 1.5  # standard deviation, in pixels, of the blur of the splashes' edges; ImageNet-C: 1.5
    colour: ClassVar[tuple[int, int, int]] = (63, 42, 20)  # mud brown
    covers: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 < self.softness <= 50:
            raise SettingError(f"mud needs a softness over 0, at most 50 pixels, got {self.softness}; try 1.5")

    def mask(self, liquid: FloatArray, threshold: float) -> Mask:
        """Return M, (H, W): 1 within a splash, falling to 0.8 towards its edge, 0 outside."""
        mask = _blur((liquid > threshold).astype(np.float64), self.softness)
        mask[mask < 0.8] = 0
        return mask.astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spatter:
    """Image x covered, where the mask M says so, by a liquid of colour C, eq. (4): x' = x (1 - M) + C M.

    The paper takes M and C from ImageNet-C (Hendrycks & Dietterich, 2019): blurred noise stands for the amount of
    liquid, and M is made from what exceeds a threshold. Of its two liquids only mud follows eq. (4); to water
    ImageNet-C, and so the released code, gives x' = clip(x + C M), and so does this class. The paper names no
    parameters; the defaults are ImageNet-C's severity 3, which the released code takes.

    Attributes:
        mean: Mean of the noise.
        deviation: Standard deviation of the noise.
        blur: Standard deviation of the Gaussian blur, in pixels: the size of the drops.
        threshold: Amount of liquid from which on it shows.
        liquid: `Water` (severities 1 to 3) or `Mud` (4 and 5).
    """

    mean: float = 0.65
    deviation: float = 0.3
    blur: float = 2.0
    threshold: float = 0.68
    liquid: Water | Mud = Water()

    def __post_init__(self) -> None:
        if not (0 <= self.mean <= 1 and 0 <= self.deviation <= 1 and 0 <= self.threshold <= 1 and 0 < self.blur <= 50):
            raise SettingError(
                f"spatter needs mean, deviation and threshold in [0, 1] and a blur over 0, at most 50 pixels, "
                f"got {self}; ImageNet-C's severity 3 is the default"
            )

    def __call__(self, image: RgbImage, rng: Rng) -> RgbImage:
        """Return the degraded copy, (H, W, 3)."""
        image = rgb_view(image)
        amount = _blur(rng.normal(self.mean, self.deviation, image.shape[:2]), self.blur)
        spattered = np.empty_like(image)
        colour = np.array(self.liquid.colour, np.float32)
        _cover(image, self.liquid.mask(amount, self.threshold), colour, self.liquid.covers, spattered)
        return spattered


def _blur(values: FloatArray, deviation: float) -> FloatArray:
    """Return the values under a Gaussian, cut off at 4 standard deviations, with the border repeated."""
    radius = math.floor(4 * deviation + 0.5)
    weight = np.exp(-0.5 * (np.arange(-radius, radius + 1) / deviation) ** 2)
    weight /= weight.sum()
    blurred = cv2.sepFilter2D(values, cv2.CV_64F, weight, weight, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(blurred, np.float64)


@compiled
def _depth(liquid: FloatArray, threshold: float) -> GreyImage:
    depth = np.zeros(liquid.shape, np.uint8)
    for v in range(liquid.shape[0]):
        for u in range(liquid.shape[1]):
            if liquid[v, u] >= threshold:
                depth[v, u] = np.uint8(min(liquid[v, u] * 255, 255.0))
    return depth


@compiled
def _cover(image: RgbImage, mask: Mask, colour: npt.NDArray[np.float32], covers: bool, spattered: RgbImage) -> None:
    """Write x (1 - M) + C M where the liquid covers what is behind it, and x + C M where it does not."""
    height, width, _ = image.shape
    rows, out = image.reshape(height, 3 * width), spattered.reshape(height, 3 * width)
    seen, liquid = np.empty(3 * width, np.float32), np.empty(3 * width, np.float32)
    one, white = np.float32(1), np.float32(255)
    for v in range(height):
        for u in range(width):
            for c in range(3):
                seen[3 * u + c] = one - mask[v, u] if covers else one
                liquid[3 * u + c] = colour[c] * mask[v, u]
        for k in range(3 * width):
            out[v, k] = np.uint8(min(rows[v, k] * seen[k] + liquid[k], white))
