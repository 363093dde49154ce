"""Loops over the pixels of one view at a time, compiled: what the statistics of a view are made of.

Floats may be added in any order that suits the CPU: sums are repeated to the bit on the same machine.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias, TypeVar

import numba
import numpy as np
import numpy.typing as npt

Float32Array: TypeAlias = npt.NDArray[np.float32]
Float64Array: TypeAlias = npt.NDArray[np.float64]
Int16Array: TypeAlias = npt.NDArray[np.int16]
Int64Array: TypeAlias = npt.NDArray[np.int64]

Kernel = TypeVar("Kernel", bound=Callable[..., Any])

LATTICE = 8
FLOOR = 1e-5
_TAPS = np.exp(-0.5 * (np.arange(-3, 4) * 6 / 7) ** 2)
_WINDOW = tuple((_TAPS / _TAPS.sum()).astype(np.float32)[:4])
"""Half of a Gaussian window of 7 pixels, deviation 7 / 6."""

_CHUNK = 2048
"""So many floats are summed up in single precision, then added in double."""

_REACH = 6
"""Largest distance of pixels whose products are summed up."""

_ZERO, _ONE, _AREA = np.float32(0), np.float32(1), np.float32(1 / LATTICE**2)
_QUARTER, _HALF, _FLAT, _STEEP = np.float32(0.25), np.float32(0.5), np.float32(0.6 / 255), np.float32(0.03)
_NEAR_ZERO, _NEAR_ONE, _DARK, _PALE = np.float32(0.01), np.float32(0.99), np.float32(0.02), np.float32(0.98)
_LIT, _COLOURED = np.float32(0.3), np.float32(0.8)
_RED, _GREEN, _BLUE = np.float32(0.299), np.float32(0.587), np.float32(0.114)
_FAST = frozenset({"reassoc", "contract", "nsz", "nnan", "arcp"})
_SMALL, _FIELD_FLOOR, _FLOOR = np.float32(FLOOR**2), np.float32(FLOOR * 300), np.float32(FLOOR)


def _compiled(kernel: Kernel, fast: frozenset[str] = _FAST, inline: str = "never") -> Kernel:
    """Compile a kernel; inline one that others call: otherwise theirs round differently once read from the cache."""
    compiler: Any = numba.njit
    options = {"nogil": True, "error_model": "numpy", "fastmath": set(fast), "inline": inline}
    try:
        code: Kernel = compiler(cache=True, **options)(kernel)
    except RuntimeError:  # numba found no folder that it may write its cache to
        code = compiler(**options)(kernel)
    return code


@partial(_compiled, fast=frozenset())  # in flat parts of an image, local deviations are what rounding leaves
def luma(view: Float32Array, light: Float32Array) -> None:
    """Fill (H, W) from a (3, H, W) view."""
    for y in range(view.shape[1]):
        for x in range(view.shape[2]):
            light[y, x] = _RED * view[0, y, x] + _GREEN * view[1, y, x] + _BLUE * view[2, y, x]


@partial(_compiled, fast=frozenset(), inline="always")
def halve(plane: Float32Array, half: Float32Array) -> None:
    """Fill (H / 2, W / 2) with the means of 2 x 2 pixels."""
    for y in range(half.shape[0]):
        above, below = plane[2 * y], plane[2 * y + 1]
        for x in range(half.shape[1]):
            half[y, x] = ((above[2 * x] + below[2 * x]) + (above[2 * x + 1] + below[2 * x + 1])) * _QUARTER


@partial(_compiled, inline="always")
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


@_compiled
def soft_shares(values: Float32Array, edges: Float32Array, found: Float64Array) -> None:
    """Fill (edges,) with the means of value / (value + edge) over (n,) values, two edges at a division."""
    found[:] = 0
    for start in range(0, len(values), _CHUNK):
        part = values[start : start + _CHUNK]
        for place in range(0, len(edges), 2):
            other = min(place + 1, len(edges) - 1)
            edge, next_edge, a, b = edges[place], edges[other], _ZERO, _ZERO
            for x in range(len(part)):
                first, second = part[x] + edge, part[x] + next_edge
                ratio = part[x] / (first * second)
                a += ratio * second
                b += ratio * first
            found[place] += a
            if other > place:
                found[other] += b
    found /= len(values)


@_compiled
def mean_and_deviation(values: Float32Array, found: Float64Array) -> None:
    """Fill (2,) with the mean and the standard deviation of (n,) values."""
    found[:], origin = 0, values[0]
    for start in range(0, len(values), _CHUNK):
        part, total = values[start : start + _CHUNK], _ZERO
        for x in range(len(part)):
            total += part[x] - origin
        found[0] += total
    found[0] = found[0] / len(values) + origin
    mean = np.float32(found[0])
    for start in range(0, len(values), _CHUNK):
        part, total = values[start : start + _CHUNK], _ZERO
        for x in range(len(part)):
            total += (part[x] - mean) * (part[x] - mean)
        found[1] += total
    found[1] = np.sqrt(max(found[1] / len(values) - (found[0] - mean) ** 2, 0.0))


@_compiled
def bands(light: Float32Array, low: Float32Array, found: Float64Array) -> None:
    """Fill (levels, 2) with the mean squares and mean fourth powers of the bands of a Laplacian pyramid."""
    plane, smooth = light, low
    for level in range(len(found)):
        if level:
            half = np.empty((plane.shape[0] // 2, plane.shape[1] // 2), np.float32)
            halve(smooth, half)
            plane, smooth = half, np.empty_like(half)
            blur(plane, smooth)
        for y in range(plane.shape[0]):
            one, other, a, b = plane[y], smooth[y], _ZERO, _ZERO
            for x in range(plane.shape[1]):
                squared = (one[x] - other[x]) * (one[x] - other[x])
                a += squared
                b += squared * squared
            found[level, 0] += a / plane.size
            found[level, 1] += b / plane.size


@_compiled
def field_sums(
    light: Float32Array,
    low: Float32Array,
    contrast: Float32Array,
    moments: Float64Array,
    products: Float64Array,
    lags: Float64Array,
) -> None:
    """Sum up (luminance - local mean) / local deviation of a view, (H, W); `contrast` has the local mean of squares.

    It is overwritten with the squares of the local deviation. `moments`, (4,): means of squares, absolute values, third
    and fourth powers. `products`, (4, 4): for each neighbour the means of the positive products, the negative ones, and
    their squares. `lags`, (8,): means of products across and down at 2, 3, 4 and 6 pixels.
    """
    height, width = light.shape
    pitch = width + _REACH
    field = np.zeros((height + _REACH) * pitch, np.float32)  # zeros behind each row and at the end add nothing
    for y in range(height):
        a, b, c, d = _ZERO, _ZERO, _ZERO, _ZERO
        for x in range(width):
            spread = np.sqrt(max(contrast[y, x] - low[y, x] * low[y, x], _ZERO))
            contrast[y, x] = (spread + _FLOOR) * (spread + _FLOOR)
            value = (light[y, x] - low[y, x]) / (spread + _FIELD_FLOOR)
            field[y * pitch + x] = value
            squared = value * value
            a += squared
            b += abs(value)
            c += squared * value
            d += squared * squared
        for place, part in enumerate((a, b, c, d)):
            moments[place] += part / light.size
    for place in range(4):
        down, right = min(place, 1), (1, 0, 1, -1)[place]
        _signed_products(field[: height * pitch], field[down * pitch + right :], products[place])
        products[place] /= (height - down) * (width - abs(right))
    for place in range(8):
        lag = (2, 3, 4, 6)[place // 2]
        down, right = lag * (place % 2), lag * (1 - place % 2)
        for start in range(0, height * pitch, _CHUNK):
            here, a = field[start : min(start + _CHUNK, height * pitch)], _ZERO
            there = field[start + down * pitch + right :]
            for x in range(len(here)):
                a += here[x] * there[x]
            lags[place] += a / ((height - down) * (width - right))


@partial(_compiled, inline="always")
def _signed_products(here: Float32Array, there: Float32Array, found: Float64Array) -> None:
    for start in range(0, len(here), _CHUNK):
        one, other = here[start : start + _CHUNK], there[start:]
        a, b, c, d = _ZERO, _ZERO, _ZERO, _ZERO
        for x in range(len(one)):
            product = one[x] * other[x]
            above, below = max(product, _ZERO), min(product, _ZERO)
            a += above
            b += below
            c += above * above
            d += below * below
        for place, part in enumerate((a, b, c, d)):
            found[place] += part


@partial(_compiled, inline="always")
def _squared_curves(a: Float32Array, b: Float32Array, c: Float32Array) -> np.float32:
    total = _ZERO
    for x in range(len(a)):
        curve = (c[x] - b[x]) - (b[x] - a[x])
        total += curve * curve
    return total


@partial(_compiled, inline="always")
def _squared_wiggles(a: Float32Array, b: Float32Array, c: Float32Array, d: Float32Array, e: Float32Array) -> np.float32:
    total = _ZERO
    for x in range(len(a)):
        wiggle = ((e[x] - d[x]) - (d[x] - c[x])) - 2 * ((d[x] - c[x]) - (c[x] - b[x])) + ((c[x] - b[x]) - (b[x] - a[x]))
        total += wiggle * wiggle
    return total


@_compiled
def gradient_sums(plane: Float32Array, steps: Float32Array, found: Float64Array) -> None:
    """Fill (side - 1, side - 1) with the squared size of the gradient at each pixel, and (8,) with mean squares.

    These are of differences across, down, falling, rising; second differences down, across; fourth ones down, across.
    """
    side = len(plane)
    for y in range(side):
        here, after = plane[y], plane[min(y + 1, side - 1)]
        a, b, c, d = _ZERO, _ZERO, _ZERO, _ZERO
        if y < side - 1:
            for x in range(side - 1):
                across, down = here[x + 1] - here[x], after[x] - here[x]
                falling, rising = after[x + 1] - here[x], after[x] - here[x + 1]
                steps[y, x] = across * across + down * down + _SMALL
                a += across * across
                b += down * down
                c += falling * falling
                d += rising * rising
        for place, part in enumerate((a, b, c, d)):
            found[place] += part
        if 0 < y < side - 1:
            found[4] += _squared_curves(plane[y - 1], here, after)
        found[5] += _squared_curves(here[:-2], here[1:-1], here[2:])
        if 1 < y < side - 2:
            found[6] += _squared_wiggles(plane[y - 2], plane[y - 1], here, after, plane[y + 2])
        found[7] += _squared_wiggles(here[:-4], here[1:-3], here[2:-2], here[3:-1], here[4:])
    found[:4] /= (side - 1) ** 2
    found[4:6] /= side * (side - 2)
    found[6:] /= side * (side - 4)


@_compiled
def blocks(light: Float32Array, low: Float32Array, found: Float32Array) -> np.float32:
    """Fill (3, blocks) with noise, range and steepness of each 8 x 8 block; return the mean steepness by range."""
    height, width = light.shape
    steep, weights = _ZERO, _ZERO
    total, highest, lowest, steepest = np.empty((4, width), np.float32)
    place = 0
    for top in range(0, height, LATTICE):
        total[:], highest[:], lowest[:], steepest[:] = 0, 0, 1, 0
        for y in range(top, top + LATTICE):
            here, after, smooth = light[y], light[min(y + 1, height - 1)], low[y]
            for x in range(width):
                fine = here[x] - smooth[x]
                total[x] += fine * fine
                highest[x], lowest[x] = max(highest[x], here[x]), min(lowest[x], here[x])
                steepest[x] = max(steepest[x], abs(after[x] - here[x]))
            for x in range(width - 1):
                steepest[x] = max(steepest[x], abs(here[x + 1] - here[x]))
        for left in range(0, width, LATTICE):
            a, b, c, d = _ZERO, _ZERO, _ONE, _ZERO
            for x in range(left, left + LATTICE):
                a += total[x]
                b, c, d = max(b, highest[x]), min(c, lowest[x]), max(d, steepest[x])
            found[0, place], found[1, place], found[2, place] = a * _AREA, b - c, d / (b - c + _DARK)
            weight = (b - c) * (b - c) + _FLOOR
            steep += found[2, place] * weight
            weights += weight
            place += 1
    return steep / weights


@_compiled
def largest_rows(values: Int16Array, starts: Int64Array, found: Int16Array) -> None:
    """Fill (n, W) with the largest of the rows from each start to the next; at least of the one that it names."""
    for place in range(len(starts)):
        last = starts[place + 1] if place + 1 < len(starts) else len(values)
        found[place] = values[starts[place]]
        for y in range(starts[place] + 1, last):
            here = values[y]
            for x in range(len(here)):
                if here[x] > found[place, x]:
                    found[place, x] = here[x]


@_compiled
def split_colours(view: Float32Array, planes: Float32Array, clipped: Float64Array) -> None:
    """Split the colours of a (3, H, W) view.

    `planes`, (6, H, W): the brightest and the darkest channel of each pixel, their difference, that as a share of the
    brightest, red less green, and yellow less blue. `clipped`, (6,): shares of the pixels above, below, black, white,
    with one channel below, with one channel above.
    """
    for y in range(view.shape[1]):
        red, green, blue = view[0, y], view[1, y], view[2, y]
        a, b, c, d, e, f = 0, 0, 0, 0, 0, 0
        for x in range(view.shape[2]):
            highest, lowest = max(red[x], green[x], blue[x]), min(red[x], green[x], blue[x])
            planes[0, y, x], planes[1, y, x], planes[2, y, x] = highest, lowest, highest - lowest
            planes[3, y, x] = (highest - lowest) / (highest + _DARK)
            planes[4, y, x], planes[5, y, x] = red[x] - green[x], (red[x] + green[x]) * _HALF - blue[x]
            a += highest > _NEAR_ONE
            b += lowest < _NEAR_ZERO
            c += highest < _DARK
            d += lowest > _PALE
            e += (lowest < _NEAR_ZERO) & (highest > _LIT)
            f += (highest > _NEAR_ONE) & (lowest < _COLOURED)
        for place, part in enumerate((a, b, c, d, e, f)):
            clipped[place] += part / view[0].size


@_compiled
def channel_products(view: Float32Array, found: Float64Array) -> None:
    """Fill (2, 5) with the mean products of the differences down, and across, of a (3, H, W) view.

    They are red with red, green with green, blue with blue, red with green, and green with blue.
    """
    for right in range(2):
        down, height, width = 1 - right, view.shape[1] - (1 - right), view.shape[2] - right
        for y in range(height):
            a, b, c, d, e = _ZERO, _ZERO, _ZERO, _ZERO, _ZERO
            for x in range(width):
                red = view[0, y + down, x + right] - view[0, y, x]
                green = view[1, y + down, x + right] - view[1, y, x]
                blue = view[2, y + down, x + right] - view[2, y, x]
                a += red * red
                b += green * green
                c += blue * blue
                d += red * green
                e += green * blue
            for place, part in enumerate((a, b, c, d, e)):
                found[right, place] += part / (height * width)


@_compiled
def neighbour_sums(plane: Float32Array, sizes: Float64Array, flats: Float64Array, pairs: Float64Array) -> None:
    """Measure the differences across of a (H, W) plane: for each column their mean size and the share next to 0.

    `pairs`, (2,): the shares of the neighbours that are both next to 0, and of those next to 0 behind a steep one.
    """
    height, columns = plane.shape[0], plane.shape[1] - 1
    flat, steep = np.empty(columns, np.uint8), np.empty(columns, np.uint8)
    for y in range(height):
        here = plane[y]
        for x in range(columns):
            size = abs(here[x + 1] - here[x])
            sizes[x] += size
            flat[x], steep[x] = size < _FLAT, size > _STEEP
            flats[x] += flat[x]
        both, behind = 0, 0
        for x in range(columns - 1):
            both += flat[x + 1] & flat[x]
            behind += flat[x + 1] & steep[x]
        pairs[0] += both / (height * (columns - 1))
        pairs[1] += behind / (height * (columns - 1))
    sizes /= height
    flats /= height
