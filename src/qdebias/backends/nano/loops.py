"""Compiled loops over the pixels of views: the sums that their statistics are made of.

Floats may be added in any order that suits the CPU: sums are repeated to the bit on the same machine.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias, TypeVar

import numba
import numpy as np
import numpy.typing as npt

UInt8Array: TypeAlias = npt.NDArray[np.uint8]
Int16Array: TypeAlias = npt.NDArray[np.int16]
Float32Array: TypeAlias = npt.NDArray[np.float32]
Float64Array: TypeAlias = npt.NDArray[np.float64]

Kernel = TypeVar("Kernel", bound=Callable[..., Any])

LATTICE = 8
FLOOR = 1e-5
_TAPS = np.exp(-0.5 * (np.arange(-3, 4) * 6 / 7) ** 2)
_WINDOW = tuple((_TAPS / _TAPS.sum()).astype(np.float32)[:4])
"""Half of a Gaussian window of 7 pixels, deviation 7 / 6."""

CHUNK = 2048
"""So many floats are summed up in single precision, then added in double."""

ZERO, ONE, _QUARTER = np.float32(0), np.float32(1), np.float32(0.25)
_RED, _GREEN, _BLUE = np.float32(0.299), np.float32(0.587), np.float32(0.114)
_FAST = frozenset({"reassoc", "contract", "nsz", "nnan", "arcp"})


def compiled(kernel: Kernel, fast: frozenset[str] = _FAST, inline: str = "never") -> Kernel:
    """Compile a kernel; inline one that others call: otherwise theirs round differently once read from the cache."""
    compiler: Any = numba.njit
    options = {"nogil": True, "error_model": "numpy", "fastmath": set(fast), "inline": inline}
    try:
        code: Kernel = compiler(cache=True, **options)(kernel)
    except RuntimeError:  # numba found no folder that it may write its cache to
        code = compiler(**options)(kernel)
    return code


@partial(compiled, inline="always")
def mean_of_four(plane: Float32Array, y: int, x: int) -> np.float32:
    """Return the mean of the 2 x 2 pixels that become pixel (y, x) at half the resolution."""
    left, right = plane[2 * y, 2 * x] + plane[2 * y + 1, 2 * x], plane[2 * y, 2 * x + 1] + plane[2 * y + 1, 2 * x + 1]
    return np.float32((left + right) * _QUARTER)


@partial(compiled, fast=frozenset())  # in flat parts of an image, local deviations are what rounding leaves
def luminance(pixels: Float32Array, light: Float32Array, halves: Float32Array) -> None:
    """Fill (n, H, W) with the luminance of the first n views, (m, H / 2, W / 2) with that of views 1 to m, halved."""
    for view in range(len(light)):
        for y in range(light.shape[1]):
            for x in range(light.shape[2]):
                red, green, blue = pixels[view, 0, y, x], pixels[view, 1, y, x], pixels[view, 2, y, x]
                light[view, y, x] = _RED * red + _GREEN * green + _BLUE * blue
    for view in range(len(halves)):
        red_plane, green_plane, blue_plane = pixels[view + 1, 0], pixels[view + 1, 1], pixels[view + 1, 2]
        for y in range(halves.shape[1]):
            for x in range(halves.shape[2]):
                red, green = mean_of_four(red_plane, y, x), mean_of_four(green_plane, y, x)
                halves[view, y, x] = _RED * red + _GREEN * green + _BLUE * mean_of_four(blue_plane, y, x)


@partial(compiled, inline="always")
def blur(plane: Float32Array, smooth: Float32Array) -> None:
    """Smooth a plane by a Gaussian window of 7 pixels, edges repeated."""
    height, width = plane.shape
    row = np.empty(width + 6, np.float32)
    for y in range(height):
        a, b, c = plane[max(y - 3, 0)], plane[max(y - 2, 0)], plane[max(y - 1, 0)]
        d = plane[y]
        e, f, g = plane[min(y + 1, height - 1)], plane[min(y + 2, height - 1)], plane[min(y + 3, height - 1)]
        for x in range(width):
            near = _WINDOW[2] * (c[x] + e[x]) + _WINDOW[3] * d[x]
            row[x + 3] = _WINDOW[0] * (a[x] + g[x]) + _WINDOW[1] * (b[x] + f[x]) + near
        row[:3] = row[3]
        row[width + 3 :] = row[width + 2]
        for x in range(width):
            near = _WINDOW[2] * (row[x + 2] + row[x + 4]) + _WINDOW[3] * row[x + 3]
            smooth[y, x] = _WINDOW[0] * (row[x] + row[x + 6]) + _WINDOW[1] * (row[x + 1] + row[x + 5]) + near


@compiled
def soft_shares(values: Float32Array, edges: Float32Array) -> Float64Array:
    """Return the means of value / (value + edge) over rows of (n, m) values, (n, edges); two edges at a division."""
    shares: Float64Array = np.zeros((len(values), len(edges)))
    for row in range(len(values)):
        for start in range(0, values.shape[1], CHUNK):
            part = values[row, start : start + CHUNK]
            for place in range(0, len(edges), 2):
                other = min(place + 1, len(edges) - 1)
                edge, next_edge, a, b = edges[place], edges[other], ZERO, ZERO
                for x in range(len(part)):
                    first, second = part[x] + edge, part[x] + next_edge
                    ratio = part[x] / (first * second)
                    a += ratio * second
                    b += ratio * first
                shares[row, place] += a
                if other > place:
                    shares[row, other] += b
    shares /= values.shape[1]
    return shares


@compiled
def moments(values: Float32Array) -> Float64Array:
    """Return the mean and the standard deviation of each row of (n, m) values, (n, 2)."""
    found = np.zeros((len(values), 2))
    for row in range(len(values)):
        origin = values[row, 0]
        for start in range(0, values.shape[1], CHUNK):
            part, total = values[row, start : start + CHUNK], ZERO
            for x in range(len(part)):
                total += part[x] - origin
            found[row, 0] += total
        found[row, 0] = found[row, 0] / values.shape[1] + origin
        mean = np.float32(found[row, 0])
        for start in range(0, values.shape[1], CHUNK):
            part, total = values[row, start : start + CHUNK], ZERO
            for x in range(len(part)):
                total += (part[x] - mean) * (part[x] - mean)
            found[row, 1] += total
        found[row, 1] = np.sqrt(max(found[row, 1] / values.shape[1] - (found[row, 0] - mean) ** 2, 0.0))
    return found


@compiled
def largest_cells(sizes: Int16Array, steps: UInt8Array, cells: UInt8Array) -> None:
    """Fill (n, n) with the step of the largest value in each cell of a grid over (H, W), of one pixel or more."""
    height, width = sizes.shape
    count, largest = len(cells), np.empty(width, np.int16)
    for i in range(count):
        first, last = i * height // count, (i + 1) * height // count
        largest[:] = sizes[first]
        for y in range(first + 1, last):
            here = sizes[y]
            for x in range(width):
                if here[x] > largest[x]:
                    largest[x] = here[x]
        for j in range(count):
            left, right = j * width // count, (j + 1) * width // count
            size = largest[left]
            for x in range(left + 1, right):
                if largest[x] > size:
                    size = largest[x]
            cells[i, j] = steps[size]


@partial(compiled, inline="always")
def band(plane: Float32Array, smooth: Float32Array, found: Float64Array) -> None:
    """Add the mean square and the mean fourth power of what a blur took from a plane to (2,)."""
    for y in range(plane.shape[0]):
        one, other, a, b = plane[y], smooth[y], ZERO, ZERO
        for x in range(plane.shape[1]):
            squared = (one[x] - other[x]) * (one[x] - other[x])
            a += squared
            b += squared * squared
        found[0] += a / plane.size
        found[1] += b / plane.size


@partial(compiled, inline="always")
def log(value: float) -> float:
    """Return the logarithm of a size, which may be 0."""
    return math.log(abs(value) + FLOOR)


@compiled
def summaries(values: Float64Array) -> Float64Array:
    """Return the mean of each column of (n, m) values, then its span: (2 m,)."""
    found = np.empty(2 * values.shape[1])
    for place in range(values.shape[1]):
        column = values[:, place]
        found[place], found[values.shape[1] + place] = column.mean(), column.max() - column.min()
    return found
