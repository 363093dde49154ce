"""Fog: a bright fractal haze over the image."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qdebias.degrade.base import Rng, rgb_view
from qdebias.degrade.compiled import compiled
from qdebias.errors import SettingError
from qdebias.image import RgbImage

Field = npt.NDArray[np.float32]
Noise = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fog:
    """Haze F of density k added to the image, eq. (7) of the paper: x' = clip(x + k F, 0, 1).

    F is a plasma fractal, made by the diamond-square algorithm (Fournier, Fussell & Carpenter, 1982) as in ImageNet-C
    (Hendrycks & Dietterich, 2019). It has one value per pixel, the same for red, green and blue, and spans [0, 1].

    Attributes:
        density: k of eq. (7). Paper: 2.5; released code (ImageNet-C's severity 4): 2.5.
        decay: By how much the fractal's roughness shrinks from one scale to the next finer one, at least 1. The
            paper gives none; released code: 1.5.
        rescale: Whether the sum is scaled back by max(x) / (max(x) + k), so that nothing is clipped. The paper's
            eq. (7) does not; ImageNet-C and the released code do, which leaves a much darker and less foggy image.
    """

    density: float = 2.5
    decay: float = 1.5
    rescale: bool = False

    def __post_init__(self) -> None:
        if not (0 <= self.density <= 1000 and 1 <= self.decay <= 1000):
            raise SettingError(
                f"fog needs a density in [0, 1000] and a decay in [1, 1000], got density={self.density}, "
                f"decay={self.decay}; the paper takes density=2.5, the released code decay=1.5"
            )

    def __call__(self, image: RgbImage, rng: Rng) -> RgbImage:
        """Return the foggy copy of a (H, W, 3) image."""
        image = rgb_view(image)
        field = plasma(image.shape[:2], self.decay, rng)
        brightest = image.max() / 255
        scale = brightest / (brightest + self.density) if self.rescale and self.density else 1.0
        foggy = np.empty_like(image)
        _add_haze(image, field, self.density, scale, foggy)
        return foggy


def plasma(shape: tuple[int, ...], decay: float, rng: Rng) -> Field:
    """Return a corner of a plasma fractal: rough at every scale, decay² times less at each finer one.

    The whole fractal is a square whose side is the next power of two; its least value is 0 and its largest 1.

    Args:
        shape: (H, W).
        decay: See `Fog`.
        rng: Source of noise.

    Returns:
        (H, W) float32, in [0, 1].
    """
    grid = np.zeros((2, 2), np.float32)
    roughness = 100.0
    while len(grid) <= max(shape):
        grid = _refine(grid, roughness**2, rng)
        roughness /= decay
    corner = grid[: shape[0], : shape[1]]
    lowest, highest = grid.min(), grid.max()
    return np.asarray((corner - lowest) / (highest - lowest), np.float32)


def _refine(grid: Field, amplitude: float, rng: Rng) -> Field:
    """Return the grid at twice its resolution: each new point is the mean of its four neighbours, plus noise.

    Args:
        grid: (n + 1, n + 1); it wraps around, its last row and column repeat the first.
        amplitude: The noise is uniform in [-amplitude, amplitude).
        rng: Source of noise.

    Returns:
        (2n + 1, 2n + 1), wrapping around likewise.
    """
    n = len(grid) - 1
    finer = np.empty((2 * n + 1, 2 * n + 1), np.float32)
    finer[::2, ::2] = grid
    corner, right, below = grid[:-1, :-1], grid[:-1, 1:], grid[1:, :-1]

    square = finer[1::2, 1::2]
    _mean_plus_noise(corner, right, below, grid[1:, 1:], rng.uniform(-amplitude, amplitude, (n, n)), square)
    wrapped = np.pad(square, ((1, 0), (1, 0)), mode="wrap")
    square, above, left = wrapped[1:, 1:], wrapped[:-1, 1:], wrapped[1:, :-1]
    _mean_plus_noise(corner, right, square, above, rng.uniform(-amplitude, amplitude, (n, n)), finer[:-1:2, 1::2])
    _mean_plus_noise(corner, below, square, left, rng.uniform(-amplitude, amplitude, (n, n)), finer[1::2, :-1:2])
    finer[-1], finer[:, -1] = finer[0], finer[:, 0]
    return finer


@compiled
def _mean_plus_noise(a: Field, b: Field, c: Field, d: Field, noise: Noise, out: Field) -> None:
    """Write the mean of four neighbours plus noise."""
    quarter = np.float32(0.25)
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = (a[i, j] + b[i, j] + c[i, j] + d[i, j]) * quarter + np.float32(noise[i, j])


@compiled
def _add_haze(image: RgbImage, field: Field, density: float, scale: float, foggy: RgbImage) -> None:
    """Write clip((x + density field) scale)."""
    height, width, _ = image.shape
    white = np.float32(255)
    factor = np.float32(scale)
    strength = np.float32(255 * density * scale)
    for v in range(height):
        for u in range(width):
            haze = strength * field[v, u]
            foggy[v, u, 0] = np.uint8(min(image[v, u, 0] * factor + haze, white))
            foggy[v, u, 1] = np.uint8(min(image[v, u, 1] * factor + haze, white))
            foggy[v, u, 2] = np.uint8(min(image[v, u, 2] * factor + haze, white))
