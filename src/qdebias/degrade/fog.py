"""Fog: a bright fractal haze over the image."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qdebias.degrade.base import Rng, compiled, rgb_view
from qdebias.errors import ImageError, SettingError
from qdebias.image import RgbImage

LONGEST_SIDE = 32768  # the longest side of an image in fog, in pixels, for which 2 GiB of the fractal are held
_STRIPE = 1 << 17  # values of noise that are drawn at a time; a power of two

Field = npt.NDArray[np.float32]
Noise = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fog:
    """Haze F of density k added to the image, and the sum scaled back: x' = (x + k F) max(x) / (max(x) + k).

    So it is in ImageNet-C (Hendrycks & Dietterich, 2019), which the paper refers to, and in its released code. Its
    eq. (7) prints clip(x + k F, 0, 1), which turns most of a bright image white, against its own words that the
    semantics stay recognisable.

    F is a plasma fractal, made by the diamond-square algorithm (Fournier, Fussell & Carpenter, 1982). It has one value
    per pixel, the same for red, green and blue, and spans [0, 1].

    Attributes:
        density: k of eq. (7). Paper and released code (ImageNet-C's severity 4): 2.5.
        decay: By how much the fractal's roughness shrinks from one scale to the next finer one, at least 1. The
            paper gives none; released code: 1.5.
        rescale: Whether the sum is scaled back, so that nothing is clipped; without, eq. (7) as it is printed.
    """

    density: float = 2.5
    decay: float = 1.5
    rescale: bool = True

    def __post_init__(self) -> None:
        if not (0 <= self.density <= 1000 and 1 <= self.decay <= 1000):
            raise SettingError(
                f"fog needs a density in [0, 1000] and a decay in [1, 1000], got density={self.density}, "
                f"decay={self.decay}; the paper takes density=2.5, the released code decay=1.5"
            )

    def __call__(self, image: RgbImage, rng: Rng) -> RgbImage:
        """Return the degraded copy, (H, W, 3)."""
        image = rgb_view(image)
        field = plasma(image.shape[:2], self.decay, rng)
        brightest = image.max() / 255
        scale = brightest / (brightest + self.density) if self.rescale and self.density else 1.0
        foggy = np.empty_like(image)
        _add_haze(image, field, self.density, scale, foggy)
        return foggy


def plasma(shape: tuple[int, ...], decay: float, rng: Rng) -> Field:
    """Return the (H, W) corner of a plasma fractal: rough at every scale, decay² times less at each finer one.

    The whole fractal is a square whose side is the next power of two; its least value is 0 and its largest 1.
    """
    if max(shape) > LONGEST_SIDE:
        raise ImageError(
            f"fog on {shape[1]} x {shape[0]} would need a fractal of {max(shape)} squared, more than memory holds; "
            f"{LONGEST_SIDE} is the longest side, so make the image smaller, for instance with max_side"
        )
    grid, roughness = np.zeros((2, 2), np.float32), 100.0
    while (side := 2 * len(grid) - 1) <= max(shape):
        grid, _, _ = _refine(grid, roughness**2, rng, (side, side))
        grid[-1], grid[:, -1] = grid[0], grid[:, 0]
        roughness /= decay
    field, lowest, highest = _refine(grid, roughness**2, rng, shape)
    return np.asarray((field - lowest) / (highest - lowest), np.float32)


def _refine(grid: Field, amplitude: float, rng: Rng, shape: tuple[int, ...]) -> tuple[Field, np.float32, np.float32]:
    """Return a corner of the grid at twice its resolution, with the least and the largest value of the whole.

    Each new point is the mean of its four neighbours, plus noise, uniform in [-amplitude, amplitude). The grid is
    (n + 1, n + 1) and wraps around: its last row and column repeat the first. Only the corner is held, at most
    (2n + 1, 2n + 1), of which the last row and column are left empty, so that memory does not follow the square of the
    longer side; and the noise is drawn in stripes, which gives what one draw would.
    """
    corner, right, below, opposite = grid[:-1, :-1], grid[:-1, 1:], grid[1:, :-1], grid[1:, 1:]
    n = len(corner)  # a power of two, so that all stripes are of one height
    height = min(n, max(1, _STRIPE // n))
    stripes = [slice(start, start + height) for start in range(0, n, height)]
    finer, lowest, highest = np.empty(shape, np.float32), grid.min(), grid.max()
    square, edge = np.empty(corner.shape, np.float32), np.empty((height, n), np.float32)

    def write(values: Field, row: int, column: int) -> None:
        """Write values to every second row and column from a place on, as far as the corner reaches."""
        nonlocal lowest, highest
        lowest, highest = min(lowest, values.min()), max(highest, values.max())
        held = finer[row : row + 2 * len(values) : 2, column : column + 2 * n : 2]
        held[:] = values[: held.shape[0], : held.shape[1]]

    def fill(rows: slice, second: Field, third: Field, fourth: Field, out: Field) -> None:
        noise = rng.uniform(-amplitude, amplitude, out.shape)
        _mean_plus_noise(corner[rows], second, third, fourth, noise, out)

    write(corner, 0, 0)
    for rows in stripes:
        fill(rows, right[rows], below[rows], opposite[rows], square[rows])
        write(square[rows], 2 * rows.start + 1, 1)
    for rows in stripes:
        above = square[np.arange(rows.start - 1, rows.stop - 1)]
        fill(rows, right[rows], square[rows], above, edge)
        write(edge, 2 * rows.start, 1)
    for rows in stripes:
        fill(rows, below[rows], square[rows], np.roll(square[rows], 1, axis=1), edge)
        write(edge, 2 * rows.start + 1, 0)
    return finer, lowest, highest


@compiled
def _mean_plus_noise(a: Field, b: Field, c: Field, d: Field, noise: Noise, out: Field) -> None:
    quarter = np.float32(0.25)
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = (a[i, j] + b[i, j] + c[i, j] + d[i, j]) * quarter + np.float32(noise[i, j])


@compiled
def _add_haze(image: RgbImage, field: Field, density: float, scale: float, foggy: RgbImage) -> None:
    height, width, _ = image.shape
    rows, out = image.reshape(height, 3 * width), foggy.reshape(height, 3 * width)
    haze = np.empty(3 * width, np.float32)
    white, factor, strength = np.float32(255), np.float32(scale), np.float32(255 * density * scale)
    for v in range(height):
        for u in range(width):
            haze[3 * u] = haze[3 * u + 1] = haze[3 * u + 2] = strength * field[v, u]
        for k in range(3 * width):
            out[v, k] = np.uint8(min(rows[v, k] * factor + haze[k], white))
