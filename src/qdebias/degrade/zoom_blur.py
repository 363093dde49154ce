"""Zoom blur: the camera moves towards the object while the shutter is open."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qdebias.degrade.base import Rng, compiled, rgb_view
from qdebias.errors import SettingError
from qdebias.image import RgbImage

IntArray = npt.NDArray[np.int32]
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoomBlur:
    """Mean of zoomed copies, eq. (3) of the paper: x' = (1/n) Σ x_z over z = 1, 1 + step, ..., largest.

    How a copy x_z is made, the paper does not say; here as in ImageNet-C (Hendrycks & Dietterich, 2019), which the
    released code runs: the middle ⌈H/z⌉ x ⌈W/z⌉ pixels, enlarged z times, bilinear, corner pixel on corner pixel.

    Attributes:
        largest: Largest zoom factor. Paper: 1.10; released code (ImageNet-C's severity 3): 1.20.
        step: Distance between factors. Paper: 0.01, so n = 11; released code: 0.02.
        original_again: Whether the mean counts the original once more, beside its copy with z = 1. The paper's
            eq. (3) does not; ImageNet-C and the released code do.
        black_edges: Whether a copy's last row or column is black where rounding puts it outside the crop, by about
            1e-13 pixels. In ImageNet-C and the released code, SciPy does so at one size in fifty or rarer.
    """

    largest: float = 1.10
    step: float = 0.01
    original_again: bool = False
    black_edges: bool = False

    def __post_init__(self) -> None:
        if not (1 < self.largest <= 8 and 0.001 <= self.step <= self.largest - 1 + 1e-9):
            raise SettingError(
                f"zoom blur goes from factor 1 to largest (over 1, at most 8) in steps of 0.001 to largest - 1, "
                f"got largest={self.largest}, step={self.step}; the paper takes largest=1.10, step=0.01"
            )

    @property
    def factors(self) -> tuple[float, ...]:
        """The n zoom factors z, from 1 to `largest`; a largest that is a whole number of steps away counts."""
        steps = math.floor((self.largest - 1) / self.step + 1e-6)
        spacing = (1 + self.step) - 1  # as numpy.arange rounds it: the same factors as the reference, to the last bit
        return tuple(1 + i * spacing for i in range(steps + 1))

    def __call__(self, image: RgbImage, rng: Rng) -> RgbImage:  # noqa: ARG002
        """Return the degraded copy, (H, W, 3)."""
        image = rgb_view(image)
        height, width, _ = image.shape
        factors = (1.0, *self.factors) if self.original_again else self.factors
        top, down = _samples(height, factors, self.black_edges)
        left, right = _samples(width, factors, self.black_edges)
        blurred = np.empty_like(image)
        _mean_of_zooms(np.pad(image, ((0, 1), (0, 1), (0, 0))), top, down, left, right, blurred)
        return blurred


def _samples(length: int, factors: tuple[float, ...], black_edges: bool) -> tuple[IntArray, FloatArray]:
    """Return where each of the n copies samples an axis: (n, length) index of the pixel before, and distance from it.

    A sample that is black lies upon the pixel with index `length`, after the last one.
    """
    index = np.empty((len(factors), length), np.int32)
    distance = np.empty((len(factors), length), np.float32)
    for row, factor in enumerate(factors):
        crop = math.ceil(length / factor)
        enlarged = round(crop * factor)
        position = np.arange(length) * ((crop - 1) / (enlarged - 1))
        before = np.minimum(position.astype(np.int32), crop - 2)
        index[row] = (length - crop) // 2 + before
        distance[row] = position - before
        if black_edges:
            outside = position > crop - 1
            index[row, outside], distance[row, outside] = length - 1, 1
    return index, distance


@compiled
def _mean_of_zooms(
    image: RgbImage, top: IntArray, down: FloatArray, left: IntArray, right: FloatArray, blurred: RgbImage
) -> None:
    """Write the mean of the n zoomed copies, row by row: blend two rows, then neighbours in the blended row.

    `image` has a black row and column at its end; the rest is from `_samples`, for rows and for columns. Columns that
    are sampled from adjacent pixels form runs, which the CPU computes several pixels at a time.
    """
    height, width, _ = blurred.shape
    rows = image.reshape(height + 1, 3 * (width + 1))
    line = np.empty(3 * (width + 1), np.float32)
    total = np.empty(3 * width, np.float32)
    count = np.float32(len(top))
    ends = np.empty(left.shape, np.int32)  # the column after the run that each column is in
    shares = np.empty((len(left), 3 * width), np.float32)
    for z in range(len(left)):
        for u in range(width - 1, -1, -1):
            ends[z, u] = ends[z, u + 1] if u + 1 < width and left[z, u + 1] == left[z, u] + 1 else u + 1
            shares[z, 3 * u : 3 * u + 3] = right[z, u]
    for v in range(height):
        total[:] = 0
        for z in range(len(top)):
            above, below, share = rows[top[z, v]], rows[top[z, v] + 1], down[z, v]
            for k in range(len(line)):
                a = np.float32(above[k])
                line[k] = a + share * (np.float32(below[k]) - a)
            u = 0
            while u < width:
                run, part = total[3 * u : 3 * ends[z, u]], shares[z, 3 * u :]
                here, after = line[3 * left[z, u] :], line[3 * left[z, u] + 3 :]
                for k in range(len(run)):
                    run[k] += here[k] + part[k] * (after[k] - here[k])
                u = ends[z, u]
        out = blurred[v].reshape(3 * width)
        for k in range(len(total)):
            out[k] = np.uint8(total[k] / count)
