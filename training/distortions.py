# ruff: noqa: ARG001, D103  each function's name says what it does, and all take the same arguments
"""Synthetic distortions with a continuous strength: 0 is nothing, 1 just visible, 5 severe.

`SEEN` are trained on. `UNSEEN` never are in single-image quality training: the four kinds that the method itself
uses, and three more. Uniform loss of contrast about any grey is among the seen ones; fog, which varies over the
image, is not.
"""

import io
from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image

from qdebias.degrade.fog import Fog
from qdebias.degrade.imagenet_c import imagenet_c
from qdebias.degrade.saturate import Saturate
from qdebias.degrade.zoom_blur import ZoomBlur

Rng = np.random.Generator
Distortion = Callable[[np.ndarray, float, Rng], np.ndarray]
AT = (0, 1, 2, 3, 4, 5, 6)


def _at(strength: float, *values: float) -> float:
    """Interpolate a parameter given at strengths 0 to 6."""
    return float(np.interp(strength, AT, values))


def _bytes(image: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(image * 255), 0, 255).astype(np.uint8)


def _unit(image: np.ndarray) -> np.ndarray:
    return image.astype(np.float32) / 255


def gaussian_blur(image: np.ndarray, strength: float, rng: Rng) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), max(0.2, _at(strength, 0.2, 0.8, 1.4, 2.2, 3.4, 5.2, 7)))


def lens_blur(image: np.ndarray, strength: float, rng: Rng) -> np.ndarray:
    radius = _at(strength, 0.5, 1.2, 2.2, 3.6, 5.5, 8, 11)
    reach = int(np.ceil(radius))
    down, right = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    kernel = np.clip(radius + 0.5 - np.hypot(down, right), 0, 1).astype(np.float32)
    return cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT)


def motion_blur(image: np.ndarray, strength: float, rng: Rng) -> np.ndarray:
    length = _at(strength, 1, 3.5, 6.5, 11, 18, 28, 38)
    side = int(length) // 2 * 2 + 3
    middle, angle = side / 2 - 0.5, rng.uniform(0, np.pi)
    half = np.array([np.cos(angle), np.sin(angle)]) * length / 2
    kernel = np.zeros((side, side), np.uint8)
    ends = [tuple(int(v) for v in np.rint((middle + sign * half) * 16)) for sign in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], 255, 1, cv2.LINE_AA, 4)
    weights = kernel.astype(np.float32)
    return cv2.filter2D(image, -1, weights / weights.sum(), borderType=cv2.BORDER_REFLECT)


def down_up(image: np.ndarray, strength: float, rng: Rng) -> np.ndarray:
    factor = _at(strength, 1, 1.5, 2.1, 3, 4.3, 6.3, 9)
    small = _resized(image, 1 / factor, cv2.INTER_AREA)
    way = cv2.INTER_CUBIC if rng.random() < 0.6 else cv2.INTER_LINEAR
    return cv2.resize(small, image.shape[1::-1], interpolation=way)


def pixelate(image: np.ndarray, strength: float, rng: Rng) -> np.ndarray:
    small = _resized(image, 1 / _at(strength, 1, 1.6, 2.3, 3.3, 5, 8, 12), cv2.INTER_AREA)
    return cv2.resize(small, image.shape[1::-1], interpolation=cv2.INTER_NEAREST)


def _resized(image: np.ndarray, factor: float, way: int) -> np.ndarray:
    size = [max(4, round(side * factor)) for side in image.shape[1::-1]]
    return cv2.resize(image, size, interpolation=way)


def coded(image: np.ndarray, kind: str, **settings: object) -> np.ndarray:
    """Return the image after compression by Pillow."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **settings)
    return np.asarray(Image.open(buffer).convert("RGB"))


def jpeg(image: np.ndarray, strength: float, rng: Rng) -> np.ndarray:
    return coded(image, "JPEG", quality=round(_at(strength, 95, 48, 27, 16, 9, 5, 3)))


def jpeg2000(image: np.ndarray, strength: float, rng: Rng) -> np.ndarray:
    rate = _at(strength, 4, 11, 20, 38, 80, 160, 300)
    return coded(image, "JPEG2000", quality_mode="rates", quality_layers=[rate])


def webp(image: np.ndarray, strength: float, rng: Rng) -> np.ndarray:
    return coded(image, "WEBP", quality=round(_at(strength, 90, 38, 17, 7, 2, 0, 0)), method=0)


def white_noise(image: np.ndarray, strength: float, rng: Rng) -> np.ndarray:
    sigma = _at(strength, 0, 0.022, 0.045, 0.08, 0.13, 0.21, 0.3)
    return _bytes(_unit(image) + rng.normal(0, sigma, image.shape).astype(np.float32))


def grain(image: np.ndarray, strength: float, rng: Rng) -> np.ndarray:
    """Grey noise of a camera: stronger in the light, correlated between neighbours."""
    unit, sigma = _unit(image), _at(strength, 0, 0.03, 0.06, 0.1, 0.16, 0.25, 0.35)
    noise = cv2.GaussianBlur(rng.normal(0, 1, image.shape[:2]).astype(np.float32), (0, 0), rng.uniform(0.4, 1.2))
    noise = noise / noise.std() * sigma
    return _bytes(unit + noise[..., None] * np.sqrt(unit.mean(2, keepdims=True) + 0.1))


def chroma_noise(image: np.ndarray, strength: float, rng: Rng) -> np.ndarray:
    sigma = _at(strength, 0, 0.035, 0.07, 0.12, 0.19, 0.28, 0.4)
    noise = cv2.GaussianBlur(rng.normal(0, 1, image.shape).astype(np.float32), (0, 0), rng.uniform(0.5, 2.5))
    noise = noise - noise.mean(2, keepdims=True)
    return _bytes(_unit(image) + noise / noise.std() * sigma)


def impulse_noise(image: np.ndarray, strength: float, rng: Rng) -> np.ndarray:
    hit = rng.random(image.shape[:2]) < _at(strength, 0, 0.003, 0.009, 0.025, 0.06, 0.13, 0.22)
    noisy = image.copy()
    noisy[hit] = np.where(rng.random((hit.sum(), 1)) < 0.5, 0, 255)
    return noisy


def speckle(image: np.ndarray, strength: float, rng: Rng) -> np.ndarray:
    sigma = _at(strength, 0, 0.06, 0.12, 0.21, 0.34, 0.52, 0.75)
    return _bytes(_unit(image) * (1 + rng.normal(0, sigma, image.shape).astype(np.float32)))


def painted(image: np.ndarray, strength: float, rng: Rng) -> np.ndarray:
    """Noise removed too eagerly: flat patches, lost texture."""
    side = 2 * round(_at(strength, 0, 1, 1.6, 2.5, 3.6, 5.2, 7)) + 1
    noisy = white_noise(image, 0.4 * strength * rng.random(), rng)
    if rng.random() < 0.5:
        return cv2.medianBlur(noisy, side)
    return cv2.bilateralFilter(noisy, side, 12 * strength + 10, side)


def shallow_focus(image: np.ndarray, strength: float, rng: Rng) -> np.ndarray:
    """Everything but one region out of focus, as portraits are meant to be."""
    height, width = image.shape[:2]
    down, right = np.mgrid[0:height, 0:width].astype(np.float32)
    middle, reach = rng.uniform(0.25, 0.75, 2) * (height, width), rng.uniform(0.2, 0.4) * min(height, width)
    distance = np.hypot(down - middle[0], right - middle[1]) / reach
    sharp = np.clip(1.5 - distance, 0, 1)[..., None]
    return np.rint(sharp * image + (1 - sharp) * lens_blur(image, strength, rng)).astype(np.uint8)


def sharpen(image: np.ndarray, strength: float, rng: Rng) -> np.ndarray:
    unit = _unit(image)
    amount = _at(strength, 0, 1.0, 2.4, 4.5, 8, 13, 20)
    return _bytes(unit + amount * (unit - cv2.GaussianBlur(unit, (0, 0), rng.uniform(0.8, 1.8))))


def contrast_down(image: np.ndarray, strength: float, rng: Rng) -> np.ndarray:
    unit, pivot = _unit(image), rng.uniform(0.25, 0.9)
    return _bytes(pivot + (unit - pivot) * _at(strength, 1, 0.75, 0.58, 0.42, 0.28, 0.17, 0.1))


def contrast_up(image: np.ndarray, strength: float, rng: Rng) -> np.ndarray:
    unit, gain = _unit(image), _at(strength, 1, 1.3, 1.7, 2.3, 3.2, 4.8, 7)
    pivot = float(unit.mean()) + rng.uniform(-0.1, 0.1)
    return _bytes(pivot + (unit - pivot) * gain)


def darken(image: np.ndarray, strength: float, rng: Rng) -> np.ndarray:
    gamma = _at(strength, 1, 1.35, 1.8, 2.4, 3.1, 4, 5)
    return _bytes(_unit(image) ** np.float32(gamma) * _at(strength, 1, 0.95, 0.85, 0.75, 0.65, 0.55, 0.5))


def brighten(image: np.ndarray, strength: float, rng: Rng) -> np.ndarray:
    lifted = _unit(image) ** np.float32(_at(strength, 1, 0.9, 0.8, 0.7, 0.6, 0.52, 0.45))
    return _bytes(lifted * _at(strength, 1, 1.05, 1.1, 1.18, 1.28, 1.4, 1.6))


def colour_cast(image: np.ndarray, strength: float, rng: Rng) -> np.ndarray:
    way = rng.normal(size=3)
    way = (way - way.mean()) / np.abs(way - way.mean()).max()
    return _bytes(_unit(image) + way.astype(np.float32) * _at(strength, 0, 0.07, 0.13, 0.2, 0.28, 0.38, 0.5))


def colour_offset(image: np.ndarray, strength: float, rng: Rng) -> np.ndarray:
    shift, angle = _at(strength, 0, 1.5, 3, 5.5, 9, 15, 22), rng.uniform(0, 2 * np.pi)
    moved = image.copy()
    for channel, sign in ((0, 1), (2, -1)):
        step = (int(np.rint(sign * shift * np.sin(angle))), int(np.rint(sign * shift * np.cos(angle))))
        moved[..., channel] = np.roll(image[..., channel], step, (0, 1))
    return moved


def posterise(image: np.ndarray, strength: float, rng: Rng) -> np.ndarray:
    steps = round(_at(strength, 64, 20, 12, 8, 5, 3, 2)) - 1
    return _bytes(np.rint(_unit(image) * steps) / steps)


def block_loss(image: np.ndarray, strength: float, rng: Rng) -> np.ndarray:
    lost = image.copy()
    side = int(rng.choice([8, 16, 32]))
    share = _at(strength, 0, 0.012, 0.03, 0.06, 0.11, 0.19, 0.3)
    for _ in range(max(1, round(share * lost.shape[0] * lost.shape[1] / side**2))):
        top, left = (int(rng.integers(0, max(1, n - side))) // 8 * 8 for n in lost.shape[:2])
        block = lost[top : top + side, left : left + side]
        block[:] = block.mean((0, 1)) if rng.random() < 0.5 else rng.integers(0, 256)
    return lost


def scan_lines(image: np.ndarray, strength: float, rng: Rng) -> np.ndarray:
    """Rows of uneven gain, or rows shifted sideways."""
    rows = image.shape[0]
    if rng.random() < 0.5:
        gain = 1 + rng.normal(0, _at(strength, 0, 0.04, 0.08, 0.15, 0.26, 0.4, 0.6), (rows, 1, 1))
        return _bytes(_unit(image) * gain.astype(np.float32))
    reach = _at(strength, 0, 0.8, 1.6, 3, 5, 8, 12)
    steps = np.rint(rng.normal(0, reach, rows)).astype(int)
    return np.stack([np.roll(row, step, 0) for row, step in zip(image, steps, strict=True)])


def vignette(image: np.ndarray, strength: float, rng: Rng) -> np.ndarray:
    down, right = (np.linspace(-1, 1, n, dtype=np.float32) for n in image.shape[:2])
    radius = np.hypot(down[:, None] - rng.uniform(-0.4, 0.4), right[None] - rng.uniform(-0.4, 0.4))
    fall = np.exp(-(radius**2) * _at(strength, 0, 0.3, 0.6, 1.1, 1.9, 3, 4.5))
    return _bytes(_unit(image) * fall[..., None])


def zoom_blur(image: np.ndarray, strength: float, rng: Rng) -> np.ndarray:
    return ZoomBlur(largest=1 + _at(strength, 0.01, 0.03, 0.06, 0.1, 0.16, 0.24, 0.33))(image, rng)


def spatter(image: np.ndarray, strength: float, rng: Rng) -> np.ndarray:
    """ImageNet-C's own severities: water drops 1 to 3, mud 4 and 5."""
    return imagenet_c("spatter", severity=min(5, max(1, round(strength))))(image, rng)


def saturate(image: np.ndarray, strength: float, rng: Rng) -> np.ndarray:
    return Saturate(gain=_at(strength, 1, 1.3, 1.6, 2, 2.8, 4.5, 8))(image, rng)


def fog(image: np.ndarray, strength: float, rng: Rng) -> np.ndarray:
    """ImageNet-C's fog, which dims what it covers; a third of the time the paper's, eq. (7), which only adds."""
    if rng.random() < 0.33:
        return Fog(density=_at(strength, 0, 0.4, 0.8, 1.3, 1.9, 2.5, 3.5), rescale=False)(image, rng)
    return imagenet_c("fog", severity=min(5, max(1, round(strength))))(image, rng)


def glass(image: np.ndarray, strength: float, rng: Rng) -> np.ndarray:
    reach = _at(strength, 0.3, 0.8, 1.5, 2.4, 3.6, 5.2, 7)
    down, right = np.indices(image.shape[:2], dtype=np.float32)
    move = rng.normal(0, reach, (2, *image.shape[:2])).astype(np.float32)
    return cv2.remap(image, right + move[0], down + move[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def dither(image: np.ndarray, strength: float, rng: Rng) -> np.ndarray:
    palette = Image.fromarray(image).quantize(round(_at(strength, 256, 64, 32, 16, 9, 5, 3)))
    return np.asarray(palette.convert("RGB"))


def ghost(image: np.ndarray, strength: float, rng: Rng) -> np.ndarray:
    share, shift = _at(strength, 0, 0.12, 0.2, 0.28, 0.37, 0.45, 0.5), _at(strength, 2, 4, 6, 9, 13, 18, 24)
    moved = np.roll(image, (round(shift * rng.uniform(-1, 1)), round(shift)), (0, 1))
    return cv2.addWeighted(image, 1 - share, moved, share, 0)


def _of(*functions: Distortion) -> dict[str, Distortion]:
    return {function.__name__: function for function in functions}


SEEN = _of(
    *(gaussian_blur, lens_blur, motion_blur, down_up, pixelate, shallow_focus, jpeg, jpeg2000, webp),
    *(
        white_noise,
        grain,
        chroma_noise,
        impulse_noise,
        speckle,
        painted,
        sharpen,
        contrast_down,
        contrast_up,
        darken,
        brighten,
    ),
    *(colour_cast, colour_offset, posterise, block_loss, scan_lines, vignette),
)
OWN = _of(zoom_blur, spatter, saturate, fog)
UNSEEN = OWN | _of(glass, dither, ghost)
