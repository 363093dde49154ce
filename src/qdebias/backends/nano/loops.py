"""Loops over the pixels of one view at a time, compiled: what the statistics of a view are made of.

Floats may be added in any order that suits the CPU: sums are repeated to the bit on the same machine.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import numba
import numpy as np
import numpy.typing as npt

Float32Array: TypeAlias = npt.NDArray[np.float32]
Float64Array: TypeAlias = npt.NDArray[np.float64]
Int16Array: TypeAlias = npt.NDArray[np.int16]
Int64Array: TypeAlias = npt.NDArray[np.int64]

LATTICE = 8
FLOOR = 1e-5
_TAPS = np.exp(-0.5 * (np.arange(-3, 4) * 6 / 7) ** 2)
_WINDOW = tuple((_TAPS / _TAPS.sum()).astype(np.float32)[:4])
"""Half of a Gaussian window of 7 pixels, deviation 7 / 6."""

_ZERO, _ONE, _AREA = np.float32(0), np.float32(1), np.float32(1 / LATTICE**2)
_HALF, _FLAT, _STEEP = np.float32(0.5), np.float32(0.6 / 255), np.float32(0.03)
_NEAR_ZERO, _NEAR_ONE, _DARK, _PALE = np.float32(0.01), np.float32(0.99), np.float32(0.02), np.float32(0.98)
_LIT, _COLOURED = np.float32(0.3), np.float32(0.8)
_SMALL, _FIELD_FLOOR = np.float32(FLOOR**2), np.float32(FLOOR * 300)


def _compiled(kernel: Callable[..., None]) -> Callable[..., None]:
    compiler: Any = numba.njit
    options = {"nogil": True, "error_model": "numpy", "fastmath": {"reassoc", "contract", "nsz", "nnan", "arcp"}}
    try:
        code: Callable[..., None] = compiler(cache=True, **options)(kernel)
    except RuntimeError:  # numba found no folder that it may write its cache to
        code = compiler(**options)(kernel)
    return code


@_compiled
def blur_plane(plane: Float32Array, smooth: Float32Array) -> None:
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
def mean_sigmoids(below: Float32Array, factors: Float32Array, found: Float64Array) -> None:
    """Fill (n, factors) with the means of 1 / (1 + factor * value) over each row of (n, values)."""
    for row in range(len(below)):
        found[row] = 0
        for start in range(0, below.shape[1], 512):
            part = below[row, start : start + 512]
            for place in range(len(factors)):
                factor, total = factors[place], _ZERO
                for x in range(len(part)):
                    total += _ONE / (_ONE + factor * part[x])
                found[row, place] += total
        found[row] /= below.shape[1]


@_compiled
def means_and_deviations(flat: Float32Array, found: Float64Array) -> None:
    """Fill (2, n, c) with the mean and the standard deviation of each row of (n, c, values)."""
    for row in range(flat.shape[0]):
        for place in range(flat.shape[1]):
            values, total, squares = flat[row, place], 0.0, 0.0
            for x in range(len(values)):
                total += values[x]
            mean = total / len(values)
            for x in range(len(values)):
                squares += (values[x] - mean) ** 2
            found[0, row, place], found[1, row, place] = mean, np.sqrt(squares / len(values))


@_compiled
def field_sums(  # noqa: C901  plain loops, compiled as one
    light: Float32Array,
    low: Float32Array,
    deviation: Float32Array,
    moments: Float64Array,
    products: Float64Array,
    lags: Float64Array,
) -> None:
    """Sum up (luminance - local mean) / local deviation of a view, and turn mean squares into deviations in place.

    Args:
        light: (H, W) luminance.
        low: Its local mean.
        deviation: The local mean of its squares; afterwards its local deviation.
        moments: (4,) means of squares, absolute values, third and fourth powers.
        products: (4, 4) for each neighbour the means of the positive products, the negative ones, and their squares.
        lags: (8,) means of products across and down at 2, 3, 4 and 6 pixels.
    """
    height, width = light.shape
    field = np.empty_like(light)
    for y in range(height):
        a, b, c, d = _ZERO, _ZERO, _ZERO, _ZERO
        for x in range(width):
            spread = np.sqrt(max(deviation[y, x] - low[y, x] * low[y, x], _ZERO))
            value = (light[y, x] - low[y, x]) / (spread + _FIELD_FLOOR)
            squared = value * value
            deviation[y, x], field[y, x] = spread, value
            a += squared
            b += abs(value)
            c += squared * value
            d += squared * squared
        for place, part in enumerate((a, b, c, d)):
            moments[place] += part / (height * width)
    for place in range(4):
        down, right = min(place, 1), (1, 0, 1, -1)[place]
        first, last = max(0, -right), width - max(0, right)
        for y in range(height - down):
            here, there = field[y], field[y + down]
            a, b, c, d = _ZERO, _ZERO, _ZERO, _ZERO
            for x in range(first, last):
                product = here[x] * there[x + right]
                up, under = max(product, _ZERO), min(product, _ZERO)
                a += up
                b += under
                c += up * up
                d += under * under
            for number, part in enumerate((a, b, c, d)):
                products[place, number] += part / ((height - down) * (last - first))
    for place in range(8):
        lag = (2, 3, 4, 6)[place // 2]
        down, right = lag * (place % 2), lag * (1 - place % 2)
        for y in range(height - down):
            here, there = field[y], field[y + down]
            a = _ZERO
            for x in range(width - right):
                a += here[x] * there[x + right]
            lags[place] += a / ((height - down) * (width - right))


@_compiled
def gradient_sums(  # noqa: C901  plain loops, compiled as one
    plane: Float32Array, steps: Float32Array, found: Float64Array
) -> None:
    """Size of the gradient at each pixel, and mean squares of differences.

    Args:
        plane: (side, side).
        steps: (side - 1, side - 1).
        found: (8,) across, down, falling, rising; second differences down, across; fourth ones down, across.
    """
    side = len(plane)
    curves = np.zeros((2, side, side), np.float32)
    for y in range(side):
        last, here, after = plane[max(y - 1, 0)], plane[y], plane[min(y + 1, side - 1)]
        a, b, c, d, e, f = _ZERO, _ZERO, _ZERO, _ZERO, _ZERO, _ZERO
        if y < side - 1:
            for x in range(side - 1):
                across, down = here[x + 1] - here[x], after[x] - here[x]
                falling, rising = after[x + 1] - here[x], after[x] - here[x + 1]
                steps[y, x] = np.sqrt(across * across + down * down + _SMALL)
                a += across * across
                b += down * down
                c += falling * falling
                d += rising * rising
        if 0 < y < side - 1:
            for x in range(side):
                curve = (after[x] - here[x]) - (here[x] - last[x])
                curves[0, y, x] = curve
                e += curve * curve
        for x in range(1, side - 1):
            curve = (here[x + 1] - here[x]) - (here[x] - here[x - 1])
            curves[1, y, x] = curve
            f += curve * curve
        for place, part in enumerate((a, b, c, d, e, f)):
            found[place] += part
    for y in range(side):
        a, b = _ZERO, _ZERO
        if 1 < y < side - 2:
            for x in range(side):
                curve = (curves[0, y + 1, x] - curves[0, y, x]) - (curves[0, y, x] - curves[0, y - 1, x])
                a += curve * curve
        for x in range(2, side - 2):
            curve = (curves[1, y, x + 1] - curves[1, y, x]) - (curves[1, y, x] - curves[1, y, x - 1])
            b += curve * curve
        found[6] += a
        found[7] += b
    found[:4] /= (side - 1) ** 2
    found[4:6] /= side * (side - 2)
    found[6:] /= side * (side - 4)


@_compiled
def blocks(
    light: Float32Array, low: Float32Array, noise: Float32Array, extent: Float32Array, step: Float32Array
) -> None:
    """Fine noise, range and strongest edge of each 8 x 8 block of a view."""
    height, width = light.shape
    place = 0
    for top in range(0, height, LATTICE):
        for left in range(0, width, LATTICE):
            total, highest, lowest, steepest = _ZERO, _ZERO, _ONE, _ZERO
            for y in range(top, top + LATTICE):
                for x in range(left, left + LATTICE):
                    value = light[y, x]
                    fine = value - low[y, x]
                    total += fine * fine
                    highest, lowest = max(highest, value), min(lowest, value)
                    across, down = light[y, min(x + 1, width - 1)] - value, light[min(y + 1, height - 1), x] - value
                    steepest = max(steepest, max(abs(across), abs(down)))
            noise[place], extent[place], step[place] = total * _AREA, highest - lowest, steepest
            place += 1


@_compiled
def largest_of_cells(values: Int16Array, rows: Int64Array, columns: Int64Array, found: Int16Array) -> None:
    """Fill (cells down, cells across) with the largest size of the values in each cell.

    Args:
        values: (H, W).
        rows: Where each cell begins, and H; a cell of no rows takes the one at its beginning.
        columns: The same across.
        found: Filled.
    """
    width = values.shape[1]
    highest = np.empty(width, np.int16)
    for down in range(len(rows) - 1):
        highest[:] = 0
        for y in range(rows[down], max(rows[down + 1], rows[down] + 1)):
            here = values[y]
            for x in range(width):
                highest[x] = max(highest[x], abs(here[x]))
        for across in range(len(columns) - 1):
            first, last = columns[across], max(columns[across + 1], columns[across] + 1)
            found[down, across] = highest[first:last].max()


@_compiled
def even_moments(planes: Float32Array, low: Float32Array, found: Float64Array) -> None:
    """Fill (2, n) with the mean squares and the mean fourth powers of the differences of (n, H, W) planes."""
    for place in range(len(planes)):
        for y in range(planes.shape[1]):
            one, other, a, b = planes[place, y], low[place, y], _ZERO, _ZERO
            for x in range(planes.shape[2]):
                squared = (one[x] - other[x]) * (one[x] - other[x])
                a += squared
                b += squared * squared
            found[0, place] += a
            found[1, place] += b
    found /= planes.shape[1] * planes.shape[2]


@_compiled
def split_colours(view: Float32Array, extremes: Float32Array, opponents: Float32Array, counts: Float64Array) -> None:
    """Split the colours of a view.

    Args:
        view: (3, H, W).
        extremes: (2, H, W) the brightest and the darkest channel of each pixel.
        opponents: (2, H, W) red less green, and yellow less blue.
        counts: (6,) how many pixels are clipped: above, below, black, white, one channel below, one channel above.
    """
    for y in range(view.shape[1]):
        red, green, blue = view[0, y], view[1, y], view[2, y]
        a, b, c, d, e, f = 0, 0, 0, 0, 0, 0
        for x in range(view.shape[2]):
            highest, lowest = max(red[x], green[x], blue[x]), min(red[x], green[x], blue[x])
            extremes[0, y, x], extremes[1, y, x] = highest, lowest
            opponents[0, y, x], opponents[1, y, x] = red[x] - green[x], (red[x] + green[x]) * _HALF - blue[x]
            a += highest > _NEAR_ONE
            b += lowest < _NEAR_ZERO
            c += highest < _DARK
            d += lowest > _PALE
            e += (lowest < _NEAR_ZERO) & (highest > _LIT)
            f += (highest > _NEAR_ONE) & (lowest < _COLOURED)
        for place, part in enumerate((a, b, c, d, e, f)):
            counts[place] += part


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
    """Sum up the differences across of a (H, W) plane.

    Args:
        plane: Luminance.
        sizes: (W - 1,) mean sizes of each column.
        flats: (W - 1,) shares of each column that are next to 0.
        pairs: (2,) shares of the neighbours that are both next to 0, and of those next to 0 behind a steep one.
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
