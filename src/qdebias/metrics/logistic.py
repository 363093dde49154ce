"""The logistic curves through which IQA papers map scores to the scale of the MOS before they report PLCC and RMSE.

Four parameters (VQEG 2000):              f(x) = b2 + (b1 - b2) / (1 + exp(-(x - b3) / |b4|))
Five parameters (Sheikh et al., 2006):    f(x) = b1 (1/2 - 1 / (1 + exp(b2 (x - b3)))) + b4 x + b5

Both are linear in all but the place and the width of the step. So only those two are searched for, over a grid and
then by least squares, and the rest is solved for exactly at each of them. The usual search over all parameters runs
away where the data bend only slightly: height and width then grow together without end.

The five-parameter curve has a linear term and need not be monotone. A fit that did not converge says so; nothing
else is put in its place.
"""

import math
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

import numpy as np
import numpy.typing as npt

from qdebias.equations import FloatArray
from qdebias.errors import SettingError

NARROWEST, WIDEST = 0.001, 100.0  # the step's width, in standard deviations: from a jump to a straight line
BEYOND = 3.0  # how far outside of the scores, in its own widths, its middle may lie: there its tail is exponential
ENOUGH = 1e-6
"""A step that improves the squared error by less than this share of it is the last. On real scores of LMMs PLCC is
then within 1e-5 of its limit; with much less, five parameters creep along a flat valley for hundreds of steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogisticFit:
    """A curve from scores to MOS; call it with scores."""

    parameters: tuple[float, ...]  # b1 to b4 or b1 to b5 of the module's formulas; NaN where nothing was fitted
    converged: bool  # whether the fit ended at a minimum
    reason: str = ""  # why not

    def __call__(self, predicted: npt.ArrayLike) -> FloatArray:
        """Return the curve at (N,) scores: (N,) values on the scale of the MOS it was fitted to."""
        from scipy.special import expit

        x, b = np.asarray(predicted, dtype=np.float64), self.parameters
        if len(b) == 4:
            return np.asarray(b[1] + (b[0] - b[1]) * expit((x - b[2]) / b[3]), dtype=np.float64)
        return np.asarray(b[0] * (0.5 - expit(-b[1] * (x - b[2]))) + b[3] * x + b[4], dtype=np.float64)


def fit_logistic(predicted: npt.ArrayLike, mos: npt.ArrayLike, *, parameters: Literal[4, 5] = 4) -> LogisticFit:
    """Fit a curve of 4 or 5 parameters by least squares to (N,) scores and human scores, finite and not all equal."""
    from scipy.optimize import least_squares

    if parameters not in (4, 5):
        raise SettingError(f"the logistic curve has 4 or 5 parameters, not {parameters}")
    x, y = np.asarray(predicted, dtype=np.float64), np.asarray(mos, dtype=np.float64)
    none = LogisticFit(parameters=(math.nan,) * parameters, converged=False)
    if len(x) <= parameters:
        return replace(none, reason=f"{len(x)} images do not determine {parameters} parameters")
    centre, spread = float(x.mean()), float(x.std())
    u = (x - centre) / spread
    ends = float(u.min()), float(u.max())
    # The first shape is the best of a coarse grid, judged on some hundreds of the images.
    few = np.argsort(u, kind="stable")[:: -(-len(u) // 500)]
    grid = [np.array(shape) for shape in product(np.linspace(-1, 1, 9), np.log([0.03, 0.1, 0.3, 1.0, 3.0]))]
    misfits = [float(np.sum(_best_curve(shape, u[few], y[few], ends, parameters)[1] ** 2)) for shape in grid]
    found = least_squares(
        lambda shape: _best_curve(shape, u, y, ends, parameters)[1],
        grid[int(np.argmin(misfits))],
        bounds=([-1, np.log(NARROWEST)], [1, np.log(WIDEST)]),
        ftol=ENOUGH,
    )
    if not found.success:
        return replace(none, reason=f"no minimum within {found.nfev} evaluations")
    (place, width, level, rise, height), residual = _best_curve(found.x, u, y, ends, parameters)
    if np.ptp(residual + y) <= 1e-12 * np.ptp(y):
        return replace(none, reason="the best curve is constant over these scores")
    place, width, slope = place * spread + centre, width * spread, rise / spread
    if parameters == 4:
        return LogisticFit(parameters=(level + height, level, place, width), converged=True)
    five = (height, 1 / width, place, slope, level + height / 2 - slope * centre)
    return LogisticFit(parameters=five, converged=True)


def _best_curve(
    shape: FloatArray, u: FloatArray, mos: FloatArray, ends: tuple[float, float], parameters: int
) -> tuple[tuple[float, float, float, float, float], FloatArray]:
    """Fit level + rise u + height / (1 + exp(-(u - place) / width)) of a given place and width to human scores, (N,).

    The `shape` is the place, -1 to 1 over all that is allowed between the `ends` of the standardised scores u, and the
    logarithm of the width. With four parameters the rise is 0. Returns place, width, level, rise and height, and the
    (N,) residuals.
    """
    from scipy.special import expit

    width, (low, high) = float(np.exp(shape[1])), ends
    place = (low + high) / 2 + float(shape[0]) * ((high - low) / 2 + BEYOND * width)
    step = expit((u - place) / width)
    columns = np.stack([u, step] if parameters == 5 else [step], axis=1)
    scale = columns.std(axis=0)
    scale[scale == 0] = 1.0
    mean, mean_mos = columns.mean(axis=0), mos.mean()
    factors = np.linalg.lstsq((columns - mean) / scale, mos - mean_mos, rcond=None)[0] / scale
    level = float(mean_mos - mean @ factors)
    rise, height = float(factors[0]) if parameters == 5 else 0.0, float(factors[-1])
    return (place, width, level, rise, height), np.asarray(level + rise * u + height * step - mos)
