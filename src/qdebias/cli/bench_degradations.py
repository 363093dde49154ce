"""`qdebias bench degrade`: the degradations, beside the same arithmetic written plainly with SciPy and scikit-image.

The plain form follows the published definitions, and the tests compare pixels with it. The steps, their precision and
the order of the random draws are those of ImageNet-C (Hendrycks & Dietterich, 2019), so equal streams must give equal
images. Images are (H, W, 3) uint8; parameters have the names and meanings of `qdebias.degrade`. It needs the extra
`bench`. Times are medians of processor time on one thread: of the reference, of ours with numpy's RandomState ("same
draws"), which gives the reference's noise, and of ours with the generator that scoring uses ("own draws").
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from qdebias.cli.bench import photo_like
from qdebias.degrade import Degradation, Fog, Saturate, Spatter, ZoomBlur, imagenet_c, noise_rng
from qdebias.degrade.base import Rng
from qdebias.image import RgbImage, digest

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
    from skimage.filters import gaussian

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


def saturate(image: RgbImage, gain: float, offset: float) -> RgbImage:
    """Return the image with another saturation."""
    from skimage.color import hsv2rgb, rgb2hsv

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


ZOOM = cast(ZoomBlur, imagenet_c("zoom_blur", 3))
PAIRS: Mapping[str, tuple[Degradation, Callable[[RgbImage, Rng], RgbImage]]] = {
    "zoom blur": (ZOOM, lambda image, _: zoom_blur(image, ZOOM.factors, original_again=True)),
    "spatter": (Spatter(), lambda image, rng: water(image, rng, (0.65, 0.3), 2, 0.68, strength=0.5)),
    "saturate": (Saturate(), lambda image, _: saturate(image, 2.0, 0.0)),
    "fog": (Fog(), lambda image, rng: fog(image, rng, 2.5, 1.5, rescale=True)),
}
"""Each degradation as the released code sets it, and its reference."""


def milliseconds(run: Callable[[], object], repeat: int) -> float:
    """Return the median processor time of a call."""
    times = []
    for _ in range(repeat):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return 1000 * statistics.median(times)


def measure(width: int, height: int, repeat: int) -> list[dict[str, Any]]:
    """Return a row for each degradation, then one for all four; ours are timed three times as often as the reference.

    `most_apart` is the largest difference to the reference in grey levels, `share_apart` the share of values that are
    more than one apart.
    """
    image = photo_like(0, width, height)
    rows: list[dict[str, Any]] = []
    threads, key = cv2.getNumThreads(), digest(image)
    cv2.setNumThreads(1)
    try:
        for name, (ours, slow) in PAIRS.items():
            got = ours(image, np.random.RandomState(0)).astype(int)  # compiles
            apart = np.abs(got - slow(image, np.random.RandomState(0)))
            row = {
                "reference_ms": milliseconds(lambda: slow(image, np.random.RandomState(0)), repeat),  # noqa: B023
                "same_draws_ms": milliseconds(lambda: ours(image, np.random.RandomState(0)), 3 * repeat),  # noqa: B023
                "own_draws_ms": milliseconds(lambda: ours(image, noise_rng(0, key, name)), 3 * repeat),  # noqa: B023
                "most_apart": int(apart.max()),
                "share_apart": float((apart > 1).mean()),
            }
            rows.append({"name": name, "width": width, "height": height, **row})
    finally:
        cv2.setNumThreads(threads)
    together = {name: sum(row[name] for row in rows) for name in ("reference_ms", "same_draws_ms", "own_draws_ms")}
    worst = {
        "most_apart": max(row["most_apart"] for row in rows),
        "share_apart": statistics.fmean(row["share_apart"] for row in rows),
    }
    return [*rows, {"name": "all four", "width": width, "height": height, **together, **worst}]
