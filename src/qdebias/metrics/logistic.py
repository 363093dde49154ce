"""The logistic curves through which IQA papers map scores to the scale of the MOS before they report PLCC and RMSE.

Four parameters (VQEG 2000):              f(x) = b2 + (b1 - b2) / (1 + exp(-(x - b3) / |b4|))
Five parameters (Sheikh et al., 2006):    f(x) = b1 (1/2 - 1 / (1 + exp(b2 (x - b3)))) + b4 x + b5

Both are linear in all but the place and the width of the step. So only those two are searched for, over a grid and
then by least squares, and the rest is solved for exactly at each of them. The usual search over all parameters runs
away where the data bend only slightly: height and width then grow together without end.

The five-parameter curve has a linear term and need not be monotone. A fit that did not converge says so; nothing
else is put in its place.
"""

from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

import numpy as np
import numpy.typing as npt

from qdebias.equations import FloatArray
from qdebias.errors import SettingError

NARROWEST, WIDEST = 0.001, 100.0
"""Limits of the step's width, in standard deviations of the scores: from a jump to a straight line."""

BEYOND = 3.0
"""How far outside of the scores the middle of the step may lie, in its own widths: there its tail is exponential."""


ENOUGH = 1e-6
"""A step that improves the squared error by less than this share of it is the last. On real scores of LMMs PLCC is
then within 1e-5 of its limit; with much less, five parameters creep along a flat valley for hundreds of steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogisticFit:
    """A curve from scores to MOS; call it with scores.

    Attributes:
        parameters: b1 to b4 or b1 to b5 of the module's formulas; NaN where nothing was fitted.
        converged: Whether the fit ended at a minimum.
        reason: Why not; empty where it converged.
    """

    parameters: tuple[float, ...]
    converged: bool
    reason: str = ""

    def __call__(self, predicted: npt.ArrayLike) -> FloatArray:
        """Return the curve at (N,) scores: (N,) values on the scale of the MOS it was fitted to."""
        from scipy.special import expit

        x, b = np.asarray(predicted, dtype=np.float64), self.parameters
        if len(b) == 4:
            return np.asarray(b[1] + (b[0] - b[1]) * expit((x - b[2]) / b[3]), dtype=np.float64)
        return np.asarray(b[0] * (0.5 - expit(-b[1] * (x - b[2]))) + b[3] * x + b[4], dtype=np.float64)


def fit_logistic(predicted: npt.ArrayLike, mos: npt.ArrayLike, *, parameters: Literal[4, 5] = 4) -> LogisticFit:
    """Fit a logistic curve from scores to MOS by least squares.

    Args:
        predicted: (N,) scores, finite and not all equal.
        mos: (N,) human scores, finite and not all equal.
        parameters: 4 or 5, see the module.
    """
    from scipy.optimize import least_squares

    if parameters not in (4, 5):
        raise SettingError(f"the logistic curve has 4 or 5 parameters, not {parameters}")
    x, y = np.asarray(predicted, dtype=np.float64), np.asarray(mos, dtype=np.float64)
    if len(x) <= parameters:
        return _none(parameters, f"{len(x)} images do not determine {parameters} parameters")
    centre, spread = float(x.mean()), float(x.std())
    u = (x - centre) / spread
    step = _Step(scores=u, ends=(float(u.min()), float(u.max())), mos=y, linear=parameters == 5)
    found = least_squares(
        step.residual, step.start(), bounds=([-1, np.log(NARROWEST)], [1, np.log(WIDEST)]), ftol=ENOUGH
    )
    if not found.success:
        return _none(parameters, f"no minimum within {found.nfev} evaluations")
    place, width = (float(value) * spread for value in step.place_and_width(found.x))
    place += centre
    level, rise, height = step.solve(step.columns(found.x))
    if np.ptp(step.residual(found.x) + y) <= 1e-12 * np.ptp(y):
        return _none(parameters, "the best curve is constant over these scores")
    if parameters == 4:
        return LogisticFit(parameters=(level + height, level, place, width), converged=True)
    slope = rise / spread
    five = (height, 1 / width, place, slope, level + height / 2 - slope * centre)
    return LogisticFit(parameters=five, converged=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """level + rise u + height / (1 + exp(-(u - place) / width)), to be fitted.

    Attributes:
        scores: (N,) standardised scores u.
        ends: Lowest and highest of all scores.
        mos: (N,) human scores.
        linear: Whether there is a rise; otherwise it is 0.
    """

    scores: FloatArray
    ends: tuple[float, float]
    mos: FloatArray
    linear: bool

    def solve(self, columns: FloatArray) -> tuple[float, float, float]:
        """Return the level, rise and height that fit best; `columns` are those of a shape."""
        scale = columns.std(axis=0)
        scale[scale == 0] = 1.0
        centred = (columns - columns.mean(axis=0)) / scale
        factors = np.linalg.lstsq(centred, self.mos - self.mos.mean(), rcond=None)[0] / scale
        level = float(self.mos.mean() - columns.mean(axis=0) @ factors)
        return level, float(factors[0]) if self.linear else 0.0, float(factors[-1])

    def residual(self, shape: FloatArray) -> FloatArray:
        """Return (N,) misfit at a shape, the rest of the parameters being the best."""
        columns = self.columns(shape)
        level, rise, height = self.solve(columns)
        return np.asarray(level + rise * self.scores + height * columns[:, -1] - self.mos)

    def start(self) -> FloatArray:
        """Return the best shape of a coarse grid, judged on some hundreds of the images."""
        chosen = np.argsort(self.scores, kind="stable")[:: -(-len(self.scores) // 500)]
        few = replace(self, scores=self.scores[chosen], mos=self.mos[chosen])
        shapes = [np.array(shape) for shape in product(np.linspace(-1, 1, 9), np.log([0.03, 0.1, 0.3, 1.0, 3.0]))]
        return min(shapes, key=lambda shape: float(np.sum(few.residual(shape) ** 2)))

    def place_and_width(self, shape: FloatArray) -> tuple[float, float]:
        """Return where a shape's step is and how wide.

        Args:
            shape: (2,) the place, -1 to 1 over all that is allowed, and the logarithm of the width.
        """
        width = float(np.exp(shape[1]))
        low, high = self.ends
        return (low + high) / 2 + float(shape[0]) * ((high - low) / 2 + BEYOND * width), width

    def columns(self, shape: FloatArray) -> FloatArray:
        """Return (N, 1 or 2): the scores where there is a rise, and the step of a shape, see `place_and_width`."""
        from scipy.special import expit

        place, width = self.place_and_width(shape)
        curve = expit((self.scores - place) / width)
        return np.stack([self.scores, curve] if self.linear else [curve], axis=1)


def _none(parameters: int, reason: str) -> LogisticFit:
    return LogisticFit(parameters=(float("nan"),) * parameters, converged=False, reason=reason)
