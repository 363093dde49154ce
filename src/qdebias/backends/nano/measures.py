"""The statistics of views: texture, JPEG lattice, colour. Each maps n views of values in [0, 1] to (n, values)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from qdebias.backends.nano.loops import (
    FLOOR,
    LATTICE,
    Float32Array,
    Float64Array,
    blocks,
    blur_plane,
    channel_products,
    even_moments,
    field_sums,
    gradient_sums,
    mean_sigmoids,
    means_and_deviations,
    neighbour_sums,
    split_colours,
)

_CONTRAST = (-6.5, -5.5, -4.75, -4.0, -3.25, -2.5, -1.75, -1.0)
_TONE = tuple(step / 10 for step in range(1, 10))
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_ONE = np.float32(1)


def texture(light: Float32Array) -> Float64Array:
    """Locally normalised luminance, gradients, bands and 8 x 8 blocks: (n, side, side) luminance to (n, 74)."""
    count, side, _ = light.shape
    low, deviation = blur(light), blur(light * light)
    steps = np.empty((count, side - 1, side - 1), np.float32)
    moments, products, lags, sums = (np.zeros((count, *shape)) for shape in ((4,), (4, 4), (8,), (8,)))
    tables = np.empty((3, count, (side // LATTICE) ** 2), np.float32)  # noise, extent, step
    for view in range(count):
        field_sums(light[view], low[view], deviation[view], moments[view], products[view], lags[view])
        gradient_sums(light[view], steps[view], sums[view])
        blocks(light[view], low[view], *tables[:, view])
    noise, extent, step = tables
    steepness, weight = step / (extent + np.float32(0.02)), extent * extent + np.float32(FLOOR)
    parts = [
        *_normalised(moments, deviation, products, lags),
        _contrasts(steps),
        *_gradients(sums),
        *_bands(light, low),
        *(quantiles(table, _QUANTILES) for table in (_log(noise), _log(extent), steepness)),
        (steepness * weight).sum(1) / weight.sum(1),
    ]
    return np.column_stack(parts)


def colour(views: Float32Array, light: Float32Array) -> Float64Array:
    """Tone, clipping, casts, chroma noise, saturation and haze of (n, 3, side, side) views: (n, 51)."""
    count, _, *size = views.shape
    extremes, opponents = (np.empty((count, 2, *size), np.float32) for _ in range(2))
    clipped, products = np.zeros((count, 6)), np.zeros((count, 2, 5))
    for view in range(count):
        split_colours(views[view], extremes[view], opponents[view], clipped[view])
        channel_products(views[view], products[view])
    brightest, darkest = extremes.transpose(1, 0, 2, 3)
    chroma = brightest - darkest
    parts = [
        _soft_shares(light, _TONE, 30),
        _soft_shares(chroma / (brightest + np.float32(0.02)), (0.1, 0.25, 0.45, 0.7, 0.9), 20),
        _soft_shares(chroma, (0.1, 0.25, 0.45, 0.7), 20),
        _soft_shares(-_highest(halved(-darkest)), (0.02, 0.08, 0.2, 0.4, 0.7), 30),
        _soft_shares(_highest(halved(brightest)), (0.2, 0.5, 0.8, 0.97), 30),
        clipped / light[0].size,
        _moments(light),
        (light.max((1, 2)) - light.min((1, 2)))[:, None],
        _moments(views)[:, :3],
        _moments(opponents),
        *_chroma_noise(opponents.reshape(-1, *size)),
        _agreement(products),
    ]
    return np.column_stack(parts)


def lattice(light: Float32Array) -> Float64Array:
    """Differences between neighbours, by their place on the 8-pixel lattice, and how many are exactly 0: (n, 16)."""
    return np.concatenate([_lattice(planes) for planes in (light, light.transpose(0, 2, 1))], axis=1)


def luma(views: Float32Array) -> Float32Array:
    """Map (n, 3, H, W) to (n, H, W)."""
    red, green, blue = (views[:, place] * np.float32(weight) for place, weight in enumerate((0.299, 0.587, 0.114)))
    light: Float32Array = red + green + blue
    return light


def halved(planes: Float32Array) -> Float32Array:
    """Map (..., H, W) to the means of 2 x 2 pixels, (..., H / 2, W / 2)."""
    rows = planes[..., ::2, :] + planes[..., 1::2, :]
    means: Float32Array = (rows[..., ::2] + rows[..., 1::2]) * np.float32(0.25)
    return means


def quantiles(values: npt.NDArray[np.floating], shares: Sequence[float]) -> Float64Array:
    """Map (n, values) to (n, shares): the values below which these shares of each row lie."""
    places = [round(share * (values.shape[1] - 1)) for share in shares]
    return np.sort(values, axis=1)[:, places].astype(np.float64)


def _contrasts(values: Float32Array) -> Float64Array:
    """Share of the logarithms of (n, H, W) above each edge, and their deviation: (n, 9)."""
    shares = _shares(_ONE / (values * values), _CONTRAST, 2)
    return np.concatenate([shares, _moments(np.log(values))[:, 1:]], axis=1)


def _soft_shares(values: Float32Array, edges: Sequence[float], steepness: float) -> Float64Array:
    return _shares(np.exp(np.float32(-steepness) * values), edges, steepness)


def _shares(below: Float32Array, edges: Sequence[float], steepness: float) -> Float64Array:
    """Share of values above each edge, counted softly, by a sigmoid, so that rounding cannot tip it.

    Args:
        below: (n, H, W) of exp(-steepness * values).
        edges: Of the values.
        steepness: Of the sigmoid.
    """
    found = np.empty((len(below), len(edges)))
    factors = np.exp(steepness * np.asarray(edges)).astype(np.float32)
    mean_sigmoids(np.ascontiguousarray(below).reshape(len(below), -1), factors, found)
    return found


def _moments(planes: Float32Array) -> Float64Array:
    """Mean, then deviation, over the last two dimensions: (n, H, W) or (n, c, H, W) to (n, 2 c)."""
    flat = planes.reshape(len(planes), -1, planes.shape[-2] * planes.shape[-1])
    found = np.empty((2, *flat.shape[:2]))
    means_and_deviations(flat, found)
    return np.concatenate(list(found), axis=1)


def _highest(planes: Float32Array) -> Float32Array:
    """Largest of each 5 x 5 pixels, every other pixel."""
    for _ in range(2):
        last = planes.shape[1] - 4
        planes = np.maximum.reduce([planes[:, start : last + start : 2] for start in range(5)]).transpose(0, 2, 1)
    return planes


def _log(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.asarray(np.log(np.abs(values) + values.dtype.type(FLOOR)))


def blur(planes: Float32Array) -> Float32Array:
    """Smooth (n, H, W) by a Gaussian window of 7 pixels, edges repeated."""
    smooth = np.empty_like(planes)
    for plane, found in zip(planes, smooth, strict=True):
        blur_plane(plane, found)
    return smooth


def _normalised(
    moments: Float64Array, deviation: Float32Array, products: Float64Array, lags: Float64Array
) -> list[Float64Array]:
    """Moments, neighbour products and correlations of (luminance - local mean) / local deviation."""
    second, absolute, third, fourth = moments.T
    power = second + FLOOR
    parts = [_log(power), absolute / np.sqrt(power), third / (power * np.sqrt(power)), _log(fourth / power**2)]
    parts.append(_contrasts(deviation + np.float32(FLOOR)))
    for alike, unlike, alike_squares, unlike_squares in products.transpose(1, 2, 0):
        parts += [(alike + unlike) / power, (alike - unlike) / power, _log(alike_squares) - _log(unlike_squares)]
    return [*parts, lags / power[:, None]]


def _gradients(sums: Float64Array) -> list[Float64Array]:
    """How directed and how smooth differences of luminance are."""
    logs = _log(sums)
    power, (second_down, second_across), (fourth_down, fourth_across) = logs[:, :4], logs[:, 4:6].T, logs[:, 6:].T
    return [
        power.mean(1),
        np.ptp(power, axis=1),
        power[:, 0] - power[:, 1],
        power[:, 2] - power[:, 3],
        second_down - power[:, 1],
        second_across - power[:, 0],
        fourth_down - second_down,
        fourth_across - second_across,
    ]


def _bands(light: Float32Array, low: Float32Array) -> list[Float64Array]:
    """Energy and peakedness of four bands of a Laplacian pyramid."""
    parts = []
    for level in range(4):
        if level:
            light = halved(low)
            low = blur(light)
        second, fourth = _even_moments(light, low)
        power = second + FLOOR**2
        parts += [_log(power), _log(fourth / power**2)]
    return parts


def _chroma_noise(planes: Float32Array) -> list[Float64Array]:
    """Energy and peakedness of fine colour."""
    second, fourth = _even_moments(planes, blur(planes))
    return [part.reshape(-1, 2) for part in (_log(second), _log(fourth / (second + FLOOR**2) ** 2))]


def _agreement(products: Float64Array) -> Float64Array:
    """Correlation of the differences of red and green, and of green and blue, down and across."""
    red, green, blue = (products[..., :3] + FLOOR**2).transpose(2, 0, 1)
    pairs = products[..., 3] / np.sqrt(red * green), products[..., 4] / np.sqrt(green * blue)
    return np.stack(pairs, axis=2).reshape(len(products), 4)


def _even_moments(planes: Float32Array, low: Float32Array) -> Float64Array:
    """Means of the squares and of the fourth powers of the difference of two planes: (2, n)."""
    found = np.zeros((2, len(planes)))
    even_moments(planes, low, found)
    return found


def _lattice(light: Float32Array) -> Float64Array:
    """Statistics of the differences across: (n, H, W) to (n, 8)."""
    count, _, side = light.shape
    both, pairs = np.zeros((2, count, side)), np.zeros((count, 2))
    columns, flat_columns = both[..., :-1]
    for plane, *found in zip(np.ascontiguousarray(light), columns, flat_columns, pairs, strict=True):
        neighbour_sums(plane, *found)
    of_phase = (side + LATTICE - 2 - np.arange(LATTICE)) // LATTICE
    phases, flat_phases = both.reshape(2, count, -1, LATTICE).sum(2) / of_phase
    profile = columns - columns.mean(1, keepdims=True)
    power = (profile * profile).mean(1) + FLOOR**2
    middle = np.sort(phases, axis=1)
    parts = [
        _log(phases[:, -1]) - _log(phases[:, :-1].mean(1)),
        _log(middle[:, -1]) - _log(middle[:, LATTICE // 2]),
        flat_columns.mean(1),
        flat_phases[:, -1] - flat_phases[:, :-1].mean(1),
        *pairs.T,
        np.max([np.vecdot(profile[:, lag:], profile[:, :-lag]) / (side - 1 - lag) for lag in range(3, 17)], 0) / power,
        _log(columns.max(1)) - _log(columns.mean(1)),
    ]
    return np.stack(parts, axis=1)
