"""From scores to a MOS scale of one's own: a monotone map, fitted on a labelled sample.

A score is comparable within one model and method only, and says nothing on the scale of anybody's MOS. A map fitted on
a sample of images with human scores does. It is monotone, so it changes no ranking beyond joining neighbours, and it
is of the model and method that it was fitted with: it refuses the scores of others.

Around every mapped score lies an interval in which a given share of new human scores falls, whatever their
distribution, as long as the new images are of the kind of the labelled ones: cross-conformal prediction with absolute
errors (Vovk, Cross-conformal predictors, 2015; Barber et al., Predictive inference with the jackknife+, 2021). What is
proved holds for twice the error rate, 80 % in place of 90 %; what is seen is the level itself.

Two kinds: "isotonic" is the best monotone step function, drawn as straight lines between its steps (SciPy's isotonic
regression); "logistic" is the 4-parameter curve that IQA papers fit, which needs fewer images.
"""

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from qdebias.equations import FloatArray
from qdebias.errors import SettingError
from qdebias.metrics.calibration import KINDS, Calibration, CrossValidated, Kind, Origin
from qdebias.metrics.logistic import fit_logistic
from qdebias.metrics.measures import checked, is_constant
from qdebias.metrics.mos import check_level, conformal_interval

LEAST = 10
"""Fewest labelled images that a map is fitted on."""


def calibrate(
    scores: npt.ArrayLike,
    mos: npt.ArrayLike,
    *,
    origin: Origin,
    kind: Kind = "isotonic",
    increasing: bool = True,
    folds: int = 5,
    seed: int = 0,
    level: float = 0.9,
) -> Calibration:
    """Fit a map, and find its error and its interval by cross-validation.

    Args:
        scores: (N,) scores of one model and method.
        mos: (N,) human scores of the same images.
        origin: Whose scores.
        kind: "isotonic" or "logistic".
        increasing: False where lower human scores are better.
        folds: In how many parts the sample is left out, one after the other; 0 for no error and no interval.
        seed: Seed of the division into parts.
        level: Share of new images whose human score is to lie in the interval, in (0, 1); it needs level / (1 - level)
            labelled images.

    Raises:
        SettingError: Too few images, values that are not finite or all equal, or scores that run against the human
            ones: no monotone map of the asked direction says anything then.
    """
    from scipy.stats import spearmanr

    if kind not in KINDS:
        raise SettingError(f"a calibration is {' or '.join(KINDS)}, not {kind!r}")
    columns = checked(scores=scores, mos=mos)
    x, y = columns["scores"], columns["mos"]
    if len(x) < LEAST or folds < 0 or folds == 1 or folds > len(x):
        raise SettingError(
            f"a calibration needs {LEAST} labelled images or more and 2 to N folds (0: none), got {len(x)} images and "
            f"{folds} folds"
        )
    agreement = float(spearmanr(x, y).statistic) * (1 if increasing else -1)
    if agreement <= 0:
        raise SettingError(
            f"the scores run against the human ones (SRCC {agreement:.3f}), so no monotone map can say anything; "
            f"{'are lower human scores better?' if increasing else 'are higher human scores better?'}"
        )
    if folds:
        check_level(level, len(x))
    made = _fit(x, y, kind, increasing, origin)
    if not folds:
        return made
    parts = np.array_split(np.random.default_rng(seed).permutation(len(x)), folds)
    mapped = np.empty_like(y)
    for part in parts:
        rest = np.setdiff1d(np.arange(len(x)), part)
        mapped[part] = _fit(x[rest], y[rest], kind, increasing, origin)(x[part])
    return replace(made, error=_error(mapped, y, folds), interval=conformal_interval(np.abs(mapped - y), parts, level))


def _fit(x: FloatArray, y: FloatArray, kind: Kind, increasing: bool, origin: Origin) -> Calibration:
    low, high = float(y.min()), float(y.max())
    if kind == "isotonic":
        corners, values = _isotonic(x, y, increasing)
        return Calibration(
            kind=kind,
            increasing=increasing,
            scores=tuple(corners.tolist()),
            values=tuple(values.tolist()),
            count=len(x),
            low=low,
            high=high,
            origin=origin,
        )
    fit = fit_logistic(x, y, parameters=4)
    if not fit.converged or (fit.parameters[0] > fit.parameters[1]) != increasing:
        reason = fit.reason or "the best curve runs the other way"
        raise SettingError(f"no logistic curve fits these {len(x)} images: {reason}; use isotonic, or more images")
    return Calibration(
        kind=kind,
        increasing=increasing,
        parameters=fit.parameters,
        count=len(x),
        low=low,
        high=high,
        origin=origin,
    )


def _isotonic(x: FloatArray, y: FloatArray, increasing: bool) -> tuple[FloatArray, FloatArray]:
    """Return the corners of the map: images of one score are joined first, then the ends of each level are kept."""
    from scipy.optimize import isotonic_regression

    corners, members, counts = np.unique(x, return_inverse=True, return_counts=True)
    means = np.bincount(members, y) / counts
    values = isotonic_regression(means, weights=counts.astype(np.float64), increasing=increasing).x
    kept = np.ones(len(values), dtype=bool)
    kept[1:-1] = (values[1:-1] != values[:-2]) | (values[1:-1] != values[2:])
    return corners[kept], np.asarray(values[kept], dtype=np.float64)


def _error(mapped: FloatArray, y: FloatArray, folds: int) -> CrossValidated:
    from scipy.stats import pearsonr, spearmanr

    error = mapped - y
    varies = not is_constant(mapped)
    return CrossValidated(
        folds=folds,
        rmse=float(np.sqrt(np.mean(error**2))),
        mae=float(np.mean(np.abs(error))),
        bias=float(np.mean(error)),
        srcc=float(spearmanr(mapped, y).statistic) if varies else math.nan,
        plcc=float(pearsonr(mapped, y).statistic) if varies else math.nan,
        constant_rmse=float(y.std()),
    )
