"""The statistics of one view: texture, JPEG lattice, colour. Each maps (n, 3, side, side) in [0, 1] to (n, values)."""

import math
from collections.abc import Sequence
from functools import cache

import torch
from torch.nn import functional

LATTICE = 8
_FLOOR = 1e-5
_CONTRAST = (-6.5, -5.5, -4.75, -4.0, -3.25, -2.5, -1.75, -1.0)
_TONE = tuple(step / 10 for step in range(1, 10))
_SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)


def texture(view: torch.Tensor) -> torch.Tensor:
    """Locally normalised luminance, gradients, bands and 8 x 8 blocks of a view."""
    light = luma(view)
    low = _blur(light)
    return torch.cat([_normalised(light, low), _gradients(light), _bands(light, low), _blocks(light, low)], dim=1)


def lattice(view: torch.Tensor) -> torch.Tensor:
    """Differences between neighbours, by their place on the 8-pixel lattice, and how many are exactly 0."""
    light = luma(view)
    parts = []
    for steps in (light.diff(dim=3), light.diff(dim=2).transpose(2, 3)):
        flat = (steps.abs() < 0.6 / 255).float()
        columns = steps.abs().mean(dim=(1, 2))
        phases = _phases(columns)
        rest = (phases.sum(1) - phases[:, -1]) / (LATTICE - 1)
        middle = phases.sort(dim=1).values
        flat_phases = _phases(flat.mean(dim=(1, 2)))
        parts += [
            _log(phases[:, -1]) - _log(rest),
            _log(middle[:, -1]) - _log(middle[:, LATTICE // 2]),
            flat.mean(dim=(1, 2, 3)),
            flat_phases[:, -1] - flat_phases[:, :-1].mean(1),
            (flat[..., 1:] * flat[..., :-1]).mean(dim=(1, 2, 3)),
            (flat[..., 1:] * (steps.abs()[..., :-1] > 0.03)).mean(dim=(1, 2, 3)),
            _period(columns),
            _log(columns.amax(1)) - _log(columns.mean(1)),
        ]
    return torch.stack(parts, dim=1)


def colour(view: torch.Tensor) -> torch.Tensor:
    """Tone, clipping, casts, chroma noise, saturation and haze of a view."""
    red, green, blue = view.unbind(1)
    brightest, darkest = view.amax(1), view.amin(1)
    chroma = brightest - darkest
    saturation = chroma / (brightest + 0.02)
    opponents = torch.stack([red - green, (red + green) / 2 - blue], dim=1)
    fine = opponents - _blur(opponents)
    dark = -functional.max_pool2d(functional.avg_pool2d(-darkest, 2), 5, stride=2)
    bright = functional.max_pool2d(functional.avg_pool2d(brightest, 2), 5, stride=2)
    light = luma(view).squeeze(1)
    parts = [
        *_shares(light, _TONE, 30),
        *_shares(saturation, (0.1, 0.25, 0.45, 0.7, 0.9), 20),
        *_shares(chroma, (0.1, 0.25, 0.45, 0.7), 20),
        *_shares(dark, (0.02, 0.08, 0.2, 0.4, 0.7), 30),
        *_shares(bright, (0.2, 0.5, 0.8, 0.97), 30),
        (brightest > 0.99).float().mean((1, 2)),
        (darkest < 0.01).float().mean((1, 2)),
        (brightest < 0.02).float().mean((1, 2)),
        (darkest > 0.98).float().mean((1, 2)),
        ((darkest < 0.01) & (brightest > 0.3)).float().mean((1, 2)),
        ((brightest > 0.99) & (darkest < 0.8)).float().mean((1, 2)),
        light.mean((1, 2)),
        _deviation(light),
        light.amax((1, 2)) - light.amin((1, 2)),
    ]
    rest = [view.mean((2, 3)), opponents.mean((2, 3)), _deviation(opponents), _log(fine.square().mean((2, 3)))]
    return torch.cat([torch.stack(parts, dim=1), *rest, _spread(fine), _agreement(view)], dim=1)


def luma(view: torch.Tensor) -> torch.Tensor:
    """Map (n, 3, H, W) to (n, 1, H, W)."""
    weights = view.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    return (view * weights).sum(1, keepdim=True)


def _normalised(light: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    """Moments, neighbour products and correlations of (luminance - local mean) / local deviation."""
    deviation = (_blur(light.square()) - mean.square()).clamp_(min=0).sqrt_()
    field = ((light - mean) / (deviation + _FLOOR * 300)).squeeze(1)
    squared = field.square()
    power = squared.mean((1, 2)) + _FLOOR
    contrast = _log(deviation).squeeze(1)
    parts = [
        _log(power),
        field.abs().mean((1, 2)) / power.sqrt(),
        (squared * field).mean((1, 2)) / (power * power.sqrt()),
        _log(squared.square().mean((1, 2)) / power.square()),
        *_shares(contrast, _CONTRAST, 2),
        _deviation(contrast),
    ]
    for product in (
        field[:, :, 1:] * field[:, :, :-1],
        field[:, 1:] * field[:, :-1],
        field[:, 1:, 1:] * field[:, :-1, :-1],
        field[:, 1:, :-1] * field[:, :-1, 1:],
    ):
        alike, unlike = product.clamp(min=0), product.clamp(max=0)
        sums = alike.mean((1, 2)), unlike.mean((1, 2))
        parts += [
            (sums[0] + sums[1]) / power,
            (sums[0] - sums[1]) / power,
            _log(alike.square().mean((1, 2))) - _log(unlike.square().mean((1, 2))),
        ]
    for lag in (2, 3, 4, 6):
        parts += [
            (field[:, :, lag:] * field[:, :, :-lag]).mean((1, 2)) / power,
            (field[:, lag:] * field[:, :-lag]).mean((1, 2)) / power,
        ]
    return torch.stack(parts, dim=1)


def _gradients(light: torch.Tensor) -> torch.Tensor:
    """How strong, how directed and how smooth differences of luminance are."""
    plane = light.squeeze(1)
    across, down = plane.diff(dim=2)[:, :-1], plane.diff(dim=1)[:, :, :-1]
    falling, rising = plane[:, 1:, 1:] - plane[:, :-1, :-1], plane[:, 1:, :-1] - plane[:, :-1, 1:]
    power = torch.stack([_log(part.square().mean((1, 2))) for part in (across, down, falling, rising)], dim=1)
    curves = [plane.diff(n=2, dim=way) for way in (1, 2)]
    second = [_log(curve.square().mean((1, 2))) for curve in curves]
    fourth = [_log(curve.diff(n=2, dim=way).square().mean((1, 2))) for way, curve in enumerate(curves, start=1)]
    size = 0.5 * torch.log(across.square() + down.square() + _FLOOR**2)
    parts = [
        *_shares(size, _CONTRAST, 2),
        _deviation(size),
        power.mean(1),
        power.amax(1) - power.amin(1),
        power[:, 0] - power[:, 1],
        power[:, 2] - power[:, 3],
        second[0] - power[:, 1],
        second[1] - power[:, 0],
        fourth[0] - second[0],
        fourth[1] - second[1],
    ]
    return torch.stack(parts, dim=1)


def _bands(light: torch.Tensor, low: torch.Tensor) -> torch.Tensor:
    """Energy and peakedness of four bands of a Laplacian pyramid."""
    parts = []
    for level in range(4):
        if level:
            light = functional.avg_pool2d(low, 2)
            low = _blur(light)
        squared = (light - low).square_().squeeze(1)
        power = squared.mean((1, 2)) + _FLOOR**2
        parts += [_log(power), _log(squared.square().mean((1, 2)) / power.square())]
    return torch.stack(parts, dim=1)


def _blocks(light: torch.Tensor, low: torch.Tensor) -> torch.Tensor:
    """Quantiles over 8 x 8 blocks: fine noise, range, steepness of the strongest edge."""
    highest = functional.max_pool2d(light, LATTICE, ceil_mode=True)
    extent = highest + functional.max_pool2d(-light, LATTICE, ceil_mode=True)
    noise = functional.avg_pool2d((light - low).square_(), LATTICE, ceil_mode=True)
    step = functional.max_pool2d(
        functional.pad(light.diff(dim=3).abs(), (0, 1)).maximum(functional.pad(light.diff(dim=2).abs(), (0, 0, 0, 1))),
        LATTICE,
        ceil_mode=True,
    )
    steepness = step / (extent + 0.02)
    weight = extent.square() + _FLOOR
    sharpness = (steepness * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3))
    tables = [quantiles(part.flatten(1), _SHARES) for part in (_log(noise), _log(extent), steepness)]
    return torch.cat([*tables, sharpness.unsqueeze(1)], dim=1)


def quantiles(values: torch.Tensor, shares: Sequence[float]) -> torch.Tensor:
    """Map (n, values) to (n, shares): the values below which these shares of each row lie."""
    places = [round(share * (values.shape[1] - 1)) for share in shares]
    return values.sort(dim=1).values[:, places]


def _agreement(view: torch.Tensor) -> torch.Tensor:
    """Correlation of the differences of red and green, and of green and blue, across and down."""
    parts = []
    for way in (2, 3):
        steps = view.diff(dim=way).flatten(2)
        power = steps.square().mean(2) + _FLOOR**2
        for one, two in ((0, 1), (1, 2)):
            product = (steps[:, one] * steps[:, two]).mean(1)
            parts.append(product / (power[:, one] * power[:, two]).sqrt())
    return torch.stack(parts, dim=1)


def _spread(fine: torch.Tensor) -> torch.Tensor:
    power = fine.square().mean((2, 3)) + _FLOOR**2
    return _log(fine.square().square().mean((2, 3)) / power.square())


def _phases(columns: torch.Tensor) -> torch.Tensor:
    """Mean over the columns of each place on the lattice: (n, side - 1) to (n, 8)."""
    whole = (columns.shape[1] + 1) // LATTICE
    padded = functional.pad(columns, (0, 1))
    sums = padded.view(-1, whole, LATTICE).sum(1)
    return sums / whole * torch.cat([sums.new_ones(LATTICE - 1), sums.new_tensor([whole / (whole - 1)])])


def _period(columns: torch.Tensor) -> torch.Tensor:
    """Largest correlation of the column profile with itself, 2 to 16 columns away."""
    profile = columns - columns.mean(1, keepdim=True)
    power = profile.square().mean(1) + _FLOOR**2
    lags = [(profile[:, lag:] * profile[:, :-lag]).mean(1) / power for lag in range(3, 17)]
    return torch.stack(lags, dim=1).amax(1)


def _blur(planes: torch.Tensor) -> torch.Tensor:
    """Gaussian window of 7 pixels, deviation 7 / 6, edges repeated, as two matrix products (faster than convolving)."""
    down, right = (_window(side, planes.dtype).to(planes.device) for side in planes.shape[-2:])
    return down @ planes @ right.T


@cache
def _window(side: int, dtype: torch.dtype) -> torch.Tensor:
    """Banded matrix (side, side) that blurs a column."""
    matrix = torch.zeros(side, side, dtype=dtype)
    rows = torch.arange(side)
    for offset in range(-3, 4):
        weight = torch.full((side,), math.exp(-0.5 * (offset * 6 / 7) ** 2), dtype=dtype)
        matrix.index_put_((rows, (rows + offset).clamp(0, side - 1)), weight, accumulate=True)
    total: torch.Tensor = matrix.sum(1, keepdim=True)
    return matrix / total


def _shares(values: torch.Tensor, edges: Sequence[float], steepness: float) -> list[torch.Tensor]:
    """Share of values above each edge, counted softly, by a sigmoid, so that rounding cannot tip it."""
    below, one = torch.exp(-steepness * values.flatten(1)), values.new_ones(())
    return [torch.add(one, below, alpha=math.exp(steepness * edge)).reciprocal_().mean(1) for edge in edges]


def _deviation(values: torch.Tensor) -> torch.Tensor:
    """Standard deviation over the last two dimensions."""
    variance = values.square().mean((-2, -1)) - values.mean((-2, -1)).square()
    return variance.clamp(min=0).sqrt()


def _log(values: torch.Tensor) -> torch.Tensor:
    return torch.log(values.abs() + _FLOOR)
