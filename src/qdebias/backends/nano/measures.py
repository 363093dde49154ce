"""The statistics of views: texture, JPEG lattice, colour."""

import cv2
import numpy as np

from qdebias.backends.nano import loops
from qdebias.backends.nano.loops import FLOOR, LATTICE, Float32Array, Float64Array

_CONTRASTS = np.exp(2 * np.array((-6.5, -5.5, -4.75, -4.0, -3.25, -2.5, -1.75, -1.0))).astype(np.float32)
_QUANTILES = np.array((0.05, 0.25, 0.5, 0.75, 0.95))


def _edges(steepness: float, *edges: float) -> Float32Array:
    return np.exp(steepness * np.asarray(edges)).astype(np.float32)


_TONES = _edges(30, *(step / 10 for step in range(1, 10)))
_SATURATIONS, _CHROMAS = _edges(20, 0.1, 0.25, 0.45, 0.7, 0.9), _edges(20, 0.1, 0.25, 0.45, 0.7)
_HAZES, _HIGHLIGHTS = _edges(30, 0.02, 0.08, 0.2, 0.4, 0.7), _edges(30, 0.2, 0.5, 0.8, 0.97)


def texture(planes: list[Float32Array]) -> Float64Array:
    """Locally normalised luminance, gradients, bands and 8 x 8 blocks of n planes of any side: (n, 74)."""
    count = len(planes)
    moments, products, lags, sums, bands, steep = (
        np.zeros((count, *shape)) for shape in ((4,), (4, 4), (8,), (8,), (4, 2), ())
    )
    contrasts, quantiles = np.empty((count, 2, 10)), np.empty((count, 3, len(_QUANTILES)))
    side = 0
    for view, light in enumerate(planes):
        if len(light) != side:
            side = len(light)
            low, contrast, smooth = (np.empty_like(light) for _ in range(3))
            steps = np.empty((side - 1, side - 1), np.float32)
            table = np.empty((3, (side // LATTICE) ** 2), np.float32)
            shares = np.rint(_QUANTILES * (table.shape[1] - 1)).astype(int)
        loops.blur(light, low)
        np.multiply(light, light, out=smooth)
        loops.blur(smooth, contrast)
        loops.field_sums(light, low, contrast, moments[view], products[view], lags[view])
        loops.gradient_sums(light, steps, sums[view])
        loops.bands(light, low, bands[view])
        steep[view] = loops.blocks(light, low, table)
        for squares, found in zip((contrast.ravel(), steps.ravel()), contrasts[view], strict=True):
            loops.soft_shares(squares, _CONTRASTS, found[:8])
            np.log(squares, out=squares)
            loops.mean_and_deviation(squares, found[8:])
        table.sort()
        quantiles[view] = table[:, shares]
    second, absolute, third, fourth = moments.T
    power = second + FLOOR
    parts = [_log(power), absolute / np.sqrt(power), third / (power * np.sqrt(power)), _log(fourth / power**2)]
    contrasts[..., 9] /= 2
    edges = np.delete(contrasts, 8, axis=2)
    parts.append(edges[:, 0])
    for alike, unlike, alike_squares, unlike_squares in products.transpose(1, 2, 0):
        parts += [(alike + unlike) / power, (alike - unlike) / power, _log(alike_squares) - _log(unlike_squares)]
    parts += [lags / power[:, None], edges[:, 1], *_gradients(sums)]
    for mean, peak in bands.transpose(1, 2, 0):
        parts += [_log(mean + FLOOR**2), _log(peak / (mean + FLOOR**2) ** 2)]
    parts += [_log(quantiles[:, 0]), _log(quantiles[:, 1]), quantiles[:, 2], steep]
    return np.column_stack(parts)


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


def colour(views: Float32Array, light: list[Float32Array]) -> Float64Array:
    """Tone, clipping, casts, chroma noise, saturation and haze of (n, 3, side, side) views: (n, 51)."""
    count, _, side, _ = views.shape
    found, products, fine = np.zeros((count, 43)), np.zeros((count, 2, 5)), np.zeros((count, 2, 1, 2))
    planes, smooth = np.empty((6, side, side), np.float32), np.empty((side, side), np.float32)
    highest, lowest = np.empty((2, side // 2, side // 2), np.float32)
    window, cells = np.ones((5, 5), np.uint8), (slice(2, -2, 2), slice(2, -2, 2))
    moments = np.empty((6, 2))
    for view in range(count):
        row = found[view]
        loops.split_colours(views[view], planes, row[27:33])
        loops.channel_products(views[view], products[view])
        loops.halve(planes[0], highest)
        loops.halve(planes[1], lowest)
        for plane, sums in zip(planes[4:], fine[view], strict=True):
            loops.blur(plane, smooth)
            loops.bands(plane, smooth, sums)
        flat = [light[view].ravel(), *planes[4:].reshape(2, -1), *views[view].reshape(3, -1)]
        for values, pair in zip(flat, moments, strict=True):
            loops.mean_and_deviation(values, pair)
        row[33:35], row[35], row[36:39], row[39:] = (
            moments[0],
            np.ptp(light[view]),
            moments[3:, 0],
            moments[1:3].T.ravel(),
        )
        soft = (
            (flat[0], 30, _TONES, row[:9]),
            (planes[3].ravel(), 20, _SATURATIONS, row[9:14]),
            (planes[2].ravel(), 20, _CHROMAS, row[14:18]),
            (cv2.erode(lowest, window)[cells].ravel(), 30, _HAZES, row[18:23]),
            (cv2.dilate(highest, window)[cells].ravel(), 30, _HIGHLIGHTS, row[23:27]),
        )
        for values, steepness, edges, shares in soft:
            powers = np.multiply(values, np.float32(steepness), out=smooth.ravel()[: len(values)])
            loops.soft_shares(np.exp(powers, out=powers), edges, shares)
    second, fourth = fine[:, :, 0].transpose(2, 0, 1)
    red, green, blue = (products[..., :3] + FLOOR**2).transpose(2, 0, 1)
    agreement = products[..., 3] / np.sqrt(red * green), products[..., 4] / np.sqrt(green * blue)
    noise = _log(second), _log(fourth / (second + FLOOR**2) ** 2)
    return np.column_stack([found, *noise, np.stack(agreement, axis=2).reshape(count, 4)])


def lattice(light: list[Float32Array]) -> Float64Array:
    """Differences between neighbours, by their place on the 8-pixel lattice, and how many are exactly 0: (n, 16)."""
    planes = [*light, *(np.ascontiguousarray(plane.T) for plane in light)]
    count, side = len(planes), len(light[0])
    both, pairs = np.zeros((2, count, side)), np.zeros((count, 2))
    columns, flat_columns = both[..., :-1]
    for plane, *found in zip(planes, columns, flat_columns, pairs, strict=True):
        loops.neighbour_sums(plane, *found)
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
    return np.concatenate(np.split(np.stack(parts, axis=1), 2), axis=1)


def _log(values: Float64Array) -> Float64Array:
    return np.asarray(np.log(np.abs(values) + FLOOR))
