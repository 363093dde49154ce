"""The four degradations written the slow and plain way, with SciPy and scikit-image, from their published definitions.

The tests compare pixels with it, and `qdebias bench degrade` compares times. The steps, their precision and the order
of the random draws are those of ImageNet-C (Hendrycks & Dietterich, 2019), so equal streams must give equal images.
Images are (H, W, 3) uint8; parameters have the names and meanings of `qdebias.degrade`.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.color import hsv2rgb, rgb2hsv
from skimage.filters import gaussian

from qdebias.degrade.base import Rng
from qdebias.image import RgbImage

Array = npt.NDArray[Any]


def as_bytes(image: Array) -> RgbImage:
    """Return an image in [0, 1] as bytes: cut off, not rounded, as ImageNet-C does."""
    return np.asarray(np.clip(image, 0, 1) * 255).astype(np.uint8)


def zoom_blur(image: RgbImage, factors: Sequence[float], original_again: bool) -> RgbImage:
    """Return the mean of zoomed copies; `original_again` counts the image once more."""
    x = (image / 255).astype(np.float32)
    height, width, _ = x.shape
    total = x.copy() if original_again else np.zeros_like(x)
    for z in factors:
        rows, columns = int(np.ceil(height / z)), int(np.ceil(width / z))
        top, left = (height - rows) // 2, (width - columns) // 2
        enlarged = ndimage.zoom(x[top : top + rows, left : left + columns], (z, z, 1), order=1)
        total += enlarged[:height, :width]
    return as_bytes(total / (len(factors) + original_again))


def water(
    image: RgbImage, rng: Rng, noise: tuple[float, float], blur: float, threshold: float, strength: float
) -> RgbImage:
    """Return the image behind drops of water; `noise` is its mean and deviation."""
    x = image.astype(np.float32) / 255
    liquid = gaussian(rng.normal(*noise, x.shape[:2]), blur)
    liquid[liquid < threshold] = 0
    grey = (liquid * 255).astype(np.uint8)
    distance = cv2.distanceTransform(255 - cv2.Canny(grey, 50, 150), cv2.DIST_L2, 5)
    distance = cv2.threshold(distance, 20, 20, cv2.THRESH_TRUNC)[1]
    level = cv2.equalizeHist(cv2.blur(distance, (3, 3)).astype(np.uint8))
    level = cv2.filter2D(level, cv2.CV_8U, np.array([[-2.0, -1, 0], [-1, 1, 1], [0, 1, 2]]))
    mask = cv2.cvtColor(grey * cv2.blur(level, (3, 3)).astype(np.float32), cv2.COLOR_GRAY2BGRA)
    mask *= strength / mask.max(axis=(0, 1))
    turquoise = np.concatenate([np.full_like(mask[..., :1], colour / 255) for colour in (175, 238, 238, 255)], axis=2)
    drops = np.clip(cv2.cvtColor(x, cv2.COLOR_BGR2BGRA) + mask * turquoise, 0, 1)
    return as_bytes(cv2.cvtColor(drops, cv2.COLOR_BGRA2BGR))


def mud(
    image: RgbImage, rng: Rng, noise: tuple[float, float], blur: float, threshold: float, softness: float
) -> RgbImage:
    """Return the image behind splashes of mud; `noise` is its mean and deviation."""
    x = image.astype(np.float32) / 255
    liquid = gaussian(rng.normal(*noise, x.shape[:2]), blur)
    mask = gaussian((liquid > threshold).astype(np.float32), softness)[..., None]
    mask[mask < 0.8] = 0
    return as_bytes(x * (1 - mask) + np.array([63, 42, 20]) / 255 * mask)


def saturate(image: RgbImage, gain: float, offset: float) -> RgbImage:
    """Return the image with another saturation."""
    hsv = rgb2hsv(image / 255)
    hsv[..., 1] = np.clip(hsv[..., 1] * gain + offset, 0, 1)
    return as_bytes(hsv2rgb(hsv))


def plasma(side: int, decay: float, rng: Rng) -> Array:
    """Return a (side, side) fractal by diamond-square on a torus, each step over the whole of a strided grid."""
    field = np.zeros((side, side))
    step, wobble = side, 100.0

    def mean_plus_noise(total: Array) -> Array:
        return np.asarray(total / 4 + wobble * rng.uniform(-wobble, wobble, total.shape))

    while step >= 2:
        half = step // 2
        corners, centres = field[::step, ::step], field[half::step, half::step]
        pairs = corners + np.roll(corners, -1, axis=0)
        centres[:] = mean_plus_noise(pairs + np.roll(pairs, -1, axis=1))
        vertical = centres + np.roll(centres, 1, axis=0)
        field[::step, half::step] = mean_plus_noise(vertical + corners + np.roll(corners, -1, axis=1))
        horizontal = centres + np.roll(centres, 1, axis=1)
        field[half::step, ::step] = mean_plus_noise(horizontal + corners + np.roll(corners, -1, axis=0))
        step, wobble = half, wobble / decay
    field -= field.min()
    return np.asarray(field / field.max())


def fog(image: RgbImage, rng: Rng, density: float, decay: float, rescale: bool) -> RgbImage:
    """Return the image in fog; `rescale` instead of clipping."""
    x = image / 255
    height, width, _ = x.shape
    brightest = x.max()
    x += density * plasma(1 << (max(height, width) - 1).bit_length(), decay, rng)[:height, :width, None]
    return as_bytes(x * brightest / (brightest + density) if rescale else x)
