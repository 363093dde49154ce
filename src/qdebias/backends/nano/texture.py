"""The texture of luminance: its locally normalised field, gradients, bands, 8 x 8 blocks, and the lattice of JPEG."""

from functools import partial

import numpy as np

from qdebias.backends.nano.loops import (
    CHUNK,
    FLOOR,
    LATTICE,
    ONE,
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

_CONTRASTS = np.exp(2 * np.array((-6.5, -5.5, -4.75, -4.0, -3.25, -2.5, -1.75, -1.0))).astype(np.float32)
_QUANTILES = np.array((0.05, 0.25, 0.5, 0.75, 0.95))

_REACH = 6
"""Largest distance of pixels whose products are summed up."""

_AREA, _DARK = np.float32(1 / LATTICE**2), np.float32(0.02)
_FLAT, _STEEP = np.float32(0.6 / 255), np.float32(0.03)
_SMALL, _FIELD_FLOOR, _FLOOR = np.float32(FLOOR**2), np.float32(FLOOR * 300), np.float32(FLOOR)


@partial(compiled, inline="always")
def _field_sums(light: Float32Array, low: Float32Array, contrast: Float32Array, found: Float64Array) -> None:
    """Sum up (luminance - local mean) / local deviation of a view, (H, W); `contrast` has the local mean of squares.

    It is overwritten with the squares of the local deviation. `found`, (28,): means of squares, absolute values, third
    and fourth powers; for each of four neighbours the means of the positive products, the negative ones, and their
    squares; means of products across and down at 2, 3, 4 and 6 pixels.
    """
    height, width = light.shape
    pitch = width + _REACH
    field = np.zeros((height + _REACH) * pitch, np.float32)  # zeros behind each row and at the end add nothing
    for y in range(height):
        a, b, c, d = ZERO, ZERO, ZERO, ZERO
        for x in range(width):
            spread = np.sqrt(max(contrast[y, x] - low[y, x] * low[y, x], ZERO))
            contrast[y, x] = (spread + _FLOOR) * (spread + _FLOOR)
            value = (light[y, x] - low[y, x]) / (spread + _FIELD_FLOOR)
            field[y * pitch + x] = value
            squared = value * value
            a += squared
            b += abs(value)
            c += squared * value
            d += squared * squared
        for place, part in enumerate((a, b, c, d)):
            found[place] += part / light.size
    for place in range(4):
        down, right = min(place, 1), (1, 0, 1, -1)[place]
        area = (height - down) * (width - abs(right))
        for start in range(0, height * pitch, CHUNK):
            one, other = field[start : min(start + CHUNK, height * pitch)], field[start + down * pitch + right :]
            a, b, c, d = ZERO, ZERO, ZERO, ZERO
            for x in range(len(one)):
                product = one[x] * other[x]
                above, below = max(product, ZERO), min(product, ZERO)
                a += above
                b += below
                c += above * above
                d += below * below
            for kind, part in enumerate((a, b, c, d)):
                found[4 + 4 * place + kind] += part / area
    _lag_sums(field, height, width, found[20:])


@partial(compiled, inline="always")
def _lag_sums(field: Float32Array, height: int, width: int, found: Float64Array) -> None:
    """Add the mean products of the field across and down at 2, 3, 4 and 6 pixels to (8,)."""
    pitch = width + _REACH
    for place in range(8):
        lag = (2, 3, 4, 6)[place // 2]
        down, right = lag * (place % 2), lag * (1 - place % 2)
        for start in range(0, height * pitch, CHUNK):
            one, other = field[start : min(start + CHUNK, height * pitch)], field[start + down * pitch + right :]
            total = ZERO
            for x in range(len(one)):
                total += one[x] * other[x]
            found[place] += total / ((height - down) * (width - right))


@partial(compiled, inline="always")
def _squared_curves(a: Float32Array, b: Float32Array, c: Float32Array) -> np.float32:
    total = ZERO
    for x in range(len(a)):
        curve = (c[x] - b[x]) - (b[x] - a[x])
        total += curve * curve
    return total


@partial(compiled, inline="always")
def _squared_wiggles(a: Float32Array, b: Float32Array, c: Float32Array, d: Float32Array, e: Float32Array) -> np.float32:
    total = ZERO
    for x in range(len(a)):
        wiggle = ((e[x] - d[x]) - (d[x] - c[x])) - 2 * ((d[x] - c[x]) - (c[x] - b[x])) + ((c[x] - b[x]) - (b[x] - a[x]))
        total += wiggle * wiggle
    return total


@partial(compiled, inline="always")
def _gradient_sums(plane: Float32Array, steps: Float32Array, found: Float64Array) -> None:
    """Fill ((side - 1)²,) with the squared size of the gradient at each pixel, and (8,) with mean squares.

    These are of differences across, down, falling, rising; second differences down, across; fourth ones down, across.
    """
    side = len(plane)
    for y in range(side):
        here, after = plane[y], plane[min(y + 1, side - 1)]
        a, b, c, d = ZERO, ZERO, ZERO, ZERO
        if y < side - 1:
            row = steps[y * (side - 1) : (y + 1) * (side - 1)]
            for x in range(side - 1):
                across, down = here[x + 1] - here[x], after[x] - here[x]
                falling, rising = after[x + 1] - here[x], after[x] - here[x + 1]
                row[x] = across * across + down * down + _SMALL
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


@partial(compiled, inline="always")
def _blocks(light: Float32Array, low: Float32Array, found: Float32Array) -> np.float32:
    """Fill (3, blocks) with noise, range and steepness of each 8 x 8 block; return the mean steepness by range."""
    height, width = light.shape
    steep, weights = ZERO, ZERO
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
            a, b, c, d = ZERO, ZERO, ONE, ZERO
            for x in range(left, left + LATTICE):
                a += total[x]
                b, c, d = max(b, highest[x]), min(c, lowest[x]), max(d, steepest[x])
            found[0, place], found[1, place], found[2, place] = a * _AREA, b - c, d / (b - c + _DARK)
            weight = (b - c) * (b - c) + _FLOOR
            steep += found[2, place] * weight
            weights += weight
            place += 1
    return steep / weights


@compiled
def _local_sums(light: Float32Array, low: Float32Array, contrast: Float32Array, steps: Float32Array) -> Float64Array:
    """Return the sums of the field and of the gradients of (n, side, side) planes, (n, 36), and smooth the planes.

    Fills (n, side²) and (n, (side - 1)²) with the squares of local deviations and of gradients.
    """
    side = light.shape[1]
    found, squares = np.zeros((len(light), 36)), np.empty((side, side), np.float32)
    for view in range(len(light)):
        plane, spread = light[view], contrast[view].reshape(side, side)
        for y in range(side):
            for x in range(side):
                squares[y, x] = plane[y, x] * plane[y, x]
        blur(plane, low[view])
        blur(squares, spread)
        _field_sums(plane, low[view], spread, found[view, :28])
        _gradient_sums(plane, steps[view], found[view, 28:])
    return found


@compiled
def _coarse_sums(light: Float32Array, low: Float32Array, blocks: Float32Array) -> Float64Array:
    """Return the sums of four bands of a Laplacian pyramid of (n, side, side) planes and their steepness, (n, 9).

    Fills (n, 3, blocks).
    """
    found = np.zeros((len(light), 9))
    for view in range(len(light)):
        found[view, 8] = _blocks(light[view], low[view], blocks[view])
        plane, smooth = light[view], low[view]
        for level in range(4):
            if level:
                half = np.empty((plane.shape[0] // 2, plane.shape[1] // 2), np.float32)
                for y in range(half.shape[0]):
                    for x in range(half.shape[1]):
                        half[y, x] = mean_of_four(smooth, y, x)
                plane, smooth = half, np.empty_like(half)
                blur(plane, smooth)
            band(plane, smooth, found[view, 2 * level : 2 * level + 2])
    return found


@compiled
def _textures(
    local: Float64Array, coarse: Float64Array, shares: Float64Array, logs: Float64Array, quantiles: Float32Array
) -> Float64Array:
    """Return the 74 statistics of each plane, (n, 74), from its sums: (n, 36), (n, 9), (2, n, 8), (2, n), (n, 3, 5)."""
    textures = np.empty((len(local), 74))
    for view in range(len(local)):
        row, sums = textures[view], local[view]
        power = sums[0] + FLOOR
        row[0], row[1] = log(power), sums[1] / np.sqrt(power)
        row[2], row[3] = sums[2] / (power * np.sqrt(power)), log(sums[3] / power**2)
        for place in range(4):
            alike, unlike, alike_squares, unlike_squares = sums[4 + 4 * place : 8 + 4 * place]
            row[13 + 3 * place], row[14 + 3 * place] = (alike + unlike) / power, (alike - unlike) / power
            row[15 + 3 * place] = log(alike_squares) - log(unlike_squares)
        for place in range(8):
            row[4 + place], row[33 + place] = shares[0, view, place], shares[1, view, place]
            row[25 + place] = sums[20 + place] / power
        row[12], row[41] = logs[0, view] / 2, logs[1, view] / 2
        across, down, falling, rising = log(sums[28]), log(sums[29]), log(sums[30]), log(sums[31])
        row[42] = (across + down + falling + rising) / 4
        row[43] = max(across, down, falling, rising) - min(across, down, falling, rising)
        row[44], row[45] = across - down, falling - rising
        row[46], row[47] = log(sums[32]) - down, log(sums[33]) - across
        row[48], row[49] = log(sums[34]) - log(sums[32]), log(sums[35]) - log(sums[33])
        for level in range(4):
            mean, peak = coarse[view, 2 * level], coarse[view, 2 * level + 1]
            row[50 + 2 * level], row[51 + 2 * level] = log(mean + FLOOR**2), log(peak / (mean + FLOOR**2) ** 2)
        for place in range(5):
            row[58 + place], row[63 + place] = log(quantiles[view, 0, place]), log(quantiles[view, 1, place])
            row[68 + place] = quantiles[view, 2, place]
        row[73] = coarse[view, 8]
    return textures


def texture(light: Float32Array) -> Float64Array:
    """Locally normalised luminance, gradients, bands and 8 x 8 blocks of (n, side, side) planes: (n, 74)."""
    count, side, _ = light.shape
    low, contrast = np.empty_like(light), np.empty((count, side**2), np.float32)
    steps, blocks = (
        np.empty((count, (side - 1) ** 2), np.float32),
        np.empty((count, 3, (side // LATTICE) ** 2), np.float32),
    )
    local, coarse = _local_sums(light, low, contrast, steps), _coarse_sums(light, low, blocks)
    shares = [soft_shares(squares, _CONTRASTS) for squares in (contrast, steps)]
    logs = [moments(np.log(squares, out=squares))[:, 1] for squares in (contrast, steps)]
    blocks.sort()
    quantiles = blocks[:, :, np.rint(_QUANTILES * (blocks.shape[2] - 1)).astype(int)]
    return _textures(local, coarse, np.stack(shares), np.stack(logs), quantiles)


@compiled
def lattice(light: Float32Array) -> Float64Array:
    """Differences between neighbours, by their place on the 8-pixel lattice, and how many are exactly 0: (n, 16).

    The first half is of differences across, the other of those down.
    """
    side, found = light.shape[1], np.zeros((len(light), 16))
    flat, steep = np.empty(side - 1, np.uint8), np.empty(side - 1, np.uint8)
    for view in range(len(light)):
        for turned in range(2):
            plane, row = light[view].T.copy() if turned else light[view], found[view, 8 * turned : 8 * turned + 8]
            sizes, flats = np.zeros(side - 1), np.zeros(side - 1)  # of each column: mean size, share next to 0
            for y in range(side):
                here, both, behind = plane[y], 0, 0
                for x in range(side - 1):
                    size = abs(here[x + 1] - here[x])
                    sizes[x] += size
                    flat[x], steep[x] = size < _FLAT, size > _STEEP
                    flats[x] += flat[x]
                for x in range(side - 2):
                    both += flat[x + 1] & flat[x]
                    behind += flat[x + 1] & steep[x]
                row[4] += both / (side * (side - 2))  # neighbours that are both next to 0
                row[5] += behind / (side * (side - 2))  # those next to 0 behind a steep one
            sizes /= side
            flats /= side
            phases, flat_phases = np.empty(LATTICE), np.empty(LATTICE)
            for phase in range(LATTICE):
                phases[phase], flat_phases[phase] = sizes[phase::LATTICE].mean(), flats[phase::LATTICE].mean()
            row[0] = log(phases[-1]) - log(phases[:-1].mean())
            row[2], row[3] = flats.mean(), flat_phases[-1] - flat_phases[:-1].mean()
            phases.sort()
            row[1] = log(phases[-1]) - log(phases[LATTICE // 2])
            profile, repeated = sizes - sizes.mean(), -np.inf
            for lag in range(3, 17):
                repeated = max(repeated, (profile[lag:] * profile[:-lag]).mean())
            row[6] = repeated / ((profile * profile).mean() + FLOOR**2)
            row[7] = log(sizes.max()) - log(sizes.mean())
    return found
