"""The colours of views: tone, clipping, casts, chroma noise, saturation and haze."""

from functools import partial

import numpy as np

from qdebias.backends.nano.loops import (
    FLOOR,
    ZERO,
    Float32Array,
    Float64Array,
    band,
    blur,
    compiled,
    log,
    mean_of_four,
    moments,
    soft_shares,
)

_HALF, _LIT, _COLOURED, _SCALE = np.float32(0.5), np.float32(0.3), np.float32(0.8), np.float32(20)
_NEAR_ZERO, _NEAR_ONE, _DARK, _PALE = np.float32(0.01), np.float32(0.99), np.float32(0.02), np.float32(0.98)
_TONES = np.exp(30 * np.arange(1, 10) / 10).astype(np.float32)
_SATURATIONS = np.exp(20 * np.array((0.1, 0.25, 0.45, 0.7, 0.9))).astype(np.float32)
_CHROMAS = _SATURATIONS[:4]
_HAZES = np.exp(30 * np.array((0.02, 0.08, 0.2, 0.4, 0.7))).astype(np.float32)
_HIGHLIGHTS = np.exp(30 * np.array((0.2, 0.5, 0.8, 0.97))).astype(np.float32)


@partial(compiled, inline="always")
def _channel_products(view: Float32Array, found: Float64Array) -> None:
    """Fill (2, 5) with the mean products of the differences down, and across, of a (3, H, W) view.

    They are red with red, green with green, blue with blue, red with green, and green with blue.
    """
    for right in range(2):
        down, height, width = 1 - right, view.shape[1] - (1 - right), view.shape[2] - right
        for y in range(height):
            a, b, c, d, e = ZERO, ZERO, ZERO, ZERO, ZERO
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


@partial(compiled, inline="always")
def _split(view: Float32Array, ends: Float32Array, planes: Float32Array, found: Float64Array) -> None:
    """Split the colours of a (3, H, W) view.

    `ends`, (2, H, W): the darkest and the brightest channel of each pixel. `planes`, (4, H, W): 20 times their
    difference and 20 times that as a share of the brightest, red less green, and yellow less blue. `found`, (12,):
    shares of the pixels above, below, black, white, with one channel below, with one channel above; three that are
    left; means of red, green and blue.
    """
    for y in range(view.shape[1]):
        red, green, blue = view[0, y], view[1, y], view[2, y]
        a, b, c, d, e, f, reds, greens, blues = 0, 0, 0, 0, 0, 0, ZERO, ZERO, ZERO
        for x in range(view.shape[2]):
            highest, lowest = max(red[x], green[x], blue[x]), min(red[x], green[x], blue[x])
            ends[0, y, x], ends[1, y, x] = lowest, highest
            planes[0, y, x] = (highest - lowest) * _SCALE
            planes[1, y, x] = (highest - lowest) / (highest + _DARK) * _SCALE
            planes[2, y, x], planes[3, y, x] = red[x] - green[x], (red[x] + green[x]) * _HALF - blue[x]
            a += highest > _NEAR_ONE
            b += lowest < _NEAR_ZERO
            c += highest < _DARK
            d += lowest > _PALE
            e += (lowest < _NEAR_ZERO) & (highest > _LIT)
            f += (highest > _NEAR_ONE) & (lowest < _COLOURED)
            reds += red[x]
            greens += green[x]
            blues += blue[x]
        for place, count in enumerate((a, b, c, d, e, f)):
            found[place] += count / view[0].size
        for place, total in enumerate((reds, greens, blues)):
            found[9 + place] += total / view[0].size


@partial(compiled, inline="always")
def _cells(ends: Float32Array, cells: Float32Array) -> None:
    """Fill (2, n, n) with the least and the largest of 5 x 5 pixels, every second, at half the resolution of `ends`."""
    side = ends.shape[1] // 2
    halves, rows = np.empty((2, side, side), np.float32), np.empty((2, side), np.float32)
    for end in range(2):
        for y in range(side):
            for x in range(side):
                halves[end, y, x] = mean_of_four(ends[end], y, x)
    low, high = halves
    for i in range(cells.shape[1]):
        top = 2 * i
        for x in range(side):
            rows[0, x] = min(low[top, x], low[top + 1, x], low[top + 2, x], low[top + 3, x], low[top + 4, x])
            rows[1, x] = max(high[top, x], high[top + 1, x], high[top + 2, x], high[top + 3, x], high[top + 4, x])
        for j in range(cells.shape[2]):
            least, largest = rows[0, 2 * j], rows[1, 2 * j]
            for x in range(2 * j + 1, 2 * j + 5):
                least, largest = min(least, rows[0, x]), max(largest, rows[1, x])
            cells[0, i, j], cells[1, i, j] = least, largest


@compiled
def _colours(views: Float32Array, planes: Float32Array, cells: Float32Array) -> Float64Array:
    """Fill (n, 4, side, side) and (n, 2, k, k), see `_split` and `_cells`; return (n, 51) of `colour`, some left."""
    side = views.shape[2]
    found, products = np.empty((len(views), 51)), np.empty((2, 5))
    ends, smooth, fine = np.empty((2, side, side), np.float32), np.empty((side, side), np.float32), np.empty(2)
    for view in range(len(views)):
        row = found[view]
        row[27:39], products[:] = 0, 0
        _split(views[view], ends, planes[view], row[27:39])
        _cells(ends, cells[view])
        _channel_products(views[view], products)
        for place in range(2):
            plane = planes[view, 2 + place]
            fine[:] = 0
            blur(plane, smooth)
            band(plane, smooth, fine)
            row[43 + place], row[45 + place] = log(fine[0]), log(fine[1] / (fine[0] + FLOOR**2) ** 2)
            red, green, blue, red_green, green_blue = products[place]
            red, green, blue = red + FLOOR**2, green + FLOOR**2, blue + FLOOR**2
            row[47 + 2 * place] = red_green / np.sqrt(red * green)
            row[48 + 2 * place] = green_blue / np.sqrt(green * blue)
    return found


def colour(views: Float32Array, light: Float32Array) -> Float64Array:
    """Measure the colours of (n, 3, side, side) views, whose luminance is (n, side, side): (n, 51)."""
    count, _, side, _ = views.shape
    planes = np.empty((count, 4, side, side), np.float32)
    cells = np.empty((count, 2, side // 4 - 2, side // 4 - 2), np.float32)
    found = _colours(views, planes, cells)
    found[:, 33:35], found[:, 35] = moments(light.reshape(count, -1)), np.ptp(light, axis=(1, 2))
    casts = moments(planes[:, 2:].reshape(2 * count, -1)).reshape(count, 2, 2)
    found[:, 39:43] = casts.transpose(0, 2, 1).reshape(count, 4)
    for powers, first, edges in (
        (np.float32(30) * light, 0, _TONES),
        (planes[:, 1], 9, _SATURATIONS),
        (planes[:, 0], 14, _CHROMAS),
        (np.float32(30) * cells[:, 0], 18, _HAZES),
        (np.float32(30) * cells[:, 1], 23, _HIGHLIGHTS),
    ):
        shares = soft_shares(np.exp(powers).reshape(count, -1), edges)
        found[:, first : first + len(edges)] = shares
    return found
