"""From scores to a MOS scale of one's own: a monotone map, fitted on a labelled sample.

A map is monotone, so it changes no ranking beyond joining neighbours, and it is of the model and method that it was
fitted with: it refuses the scores of others.

Around every mapped score lies an interval in which a given share of new human scores falls, whatever their
distribution, as long as the new images are of the kind of the labelled ones: cross-conformal prediction with absolute
errors (Vovk, Cross-conformal predictors, 2015; Barber et al., Predictive inference with the jackknife+, 2021). What is
proved holds for twice the error rate, 80 % in place of 90 %; what is seen is the level itself. Split conformal
prediction takes the errors of images that are set aside, and fits the map on the others: there the level is proved.

Two kinds: "isotonic" is the best monotone step function, drawn as straight lines between its steps (SciPy's isotonic
regression); "logistic" is the 4-parameter curve that IQA papers fit, which needs fewer images.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from qdebias.equations import FloatArray
from qdebias.errors import SettingError
from qdebias.metrics.logistic import LogisticFit, fit_logistic
from qdebias.metrics.measures import checked, is_constant
from qdebias.metrics.mos import Interval, Mos, check_level, conformal_interval
from qdebias.system.output import read_settings, write_settings

Kind: TypeAlias = Literal["isotonic", "logistic"]
KINDS: tuple[Kind, ...] = get_args(Kind)

FORMAT = "qdebias calibration 2"  # the first may be of a `paper` that is `paper-eq7` now


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Whose scores were mapped, so that no others are by mistake."""

    model: str  # what `qdebias.load_backend` took
    method: str
    seed: int = 0
    labels: str = ""  # what the human scores are, in words


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossValidated:
    """Errors on images that the map was not fitted on, on the scale of the human scores."""

    folds: int  # in how many parts the sample was left out, one after the other
    rmse: float
    mae: float
    bias: float  # mean of mapped minus human score
    srcc: float  # NaN where all mapped scores are equal
    plcc: float
    constant_rmse: float  # of always answering the mean human score: what a useless map has


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A monotone map from scores to human scores; call it with scores."""

    kind: Kind
    increasing: bool  # false where lower human scores are better (DMOS)
    scores: tuple[float, ...] = ()  # isotonic: where the map has its corners, rising; beyond them it is constant
    values: tuple[float, ...] = ()  # isotonic: the human scores there
    parameters: tuple[float, ...] = ()  # logistic: b1 to b4 of `qdebias.metrics.logistic`
    count: int  # how many images it was fitted on
    low: float  # lowest human score of the sample; no mapped score is lower
    high: float  # highest; none is higher
    origin: Origin
    error: CrossValidated | None = None  # None where that was not requested
    interval: Interval | None = None  # None without cross-validation, and in files of earlier versions

    def __call__(self, score: npt.ArrayLike) -> FloatArray:
        """Return (N,) scores on the human scale for (N,) scores."""
        x = np.asarray(score, dtype=np.float64)
        if self.kind == "isotonic":
            return np.asarray(np.interp(x, self.scores, self.values), dtype=np.float64)
        mapped = LogisticFit(parameters=self.parameters, converged=True)(x)
        return np.asarray(np.clip(mapped, self.low, self.high), dtype=np.float64)

    def mos(self, score: float) -> Mos:
        """Return the human score that is expected of an image with this score, with its interval.

        The interval may reach beyond the scale: it is as wide everywhere, and cutting it would hide how wide it is.
        """
        value = float(self(score))
        if self.interval is None:
            return Mos(value=value)
        return Mos(value=value, low=value - self.interval.half_width, high=value + self.interval.half_width)

    def check_origin(self, *, model: str, method: str) -> None:
        """Refuse the scores of another model or method than those that the map was fitted on."""
        if (model, method) != (self.origin.model, self.origin.method):
            raise SettingError(
                f"this calibration is of model {self.origin.model} and method {self.origin.method}, not of {model} and "
                f"{method}; fit another one with qdebias calibrate"
            )


def save_calibration(calibration: Calibration, path: "str | PathLike[str]") -> None:
    """Write a calibration as JSON that a person can read."""
    values = asdict(calibration)
    if calibration.error is not None:
        values["error"] = {name: None if math.isnan(one) else one for name, one in values["error"].items()}
    write_settings(Path(path), {"format": FORMAT} | values, indent=1)


def load_calibration(path: "str | PathLike[str]") -> Calibration:
    """Return the calibration of a file, or refuse it."""
    return read_settings(Path(path), FORMAT, _from_values, what="calibration", command="qdebias calibrate")


def _from_values(values: Mapping[str, Any]) -> Calibration:
    """Return a calibration; a file that was edited into something that is no monotone map is refused."""
    interval, error = values.get("interval"), values["error"]
    known = dict(values) | {name: tuple(map(float, values[name])) for name in ("scores", "values", "parameters")}
    known["origin"] = Origin(**values["origin"])
    known["interval"] = Interval(**interval) if interval else None
    numbers: dict[str, Any] = {name: math.nan if one is None else one for name, one in (error or {}).items()}
    known["error"] = CrossValidated(**numbers) if error else None
    made = Calibration(**known)
    if made.kind == "isotonic":
        rises = np.diff(made.values) * (1 if made.increasing else -1)
        corners = len(made.scores) == len(made.values) > 0
        monotone = corners and bool((np.diff(made.scores) > 0).all() and (rises >= 0).all())
    else:
        monotone = made.kind == "logistic" and len(made.parameters) == 4
    if not monotone:
        raise ValueError("its map is not monotone")
    return made


LEAST = 10  # fewest labelled images that a map is fitted on


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
    split: float = 0.0,
) -> Calibration:
    """Fit a map from (N,) scores of `origin` to human scores, and find its error and its interval.

    The sample is left out in `folds` parts, one after the other (0: no error, no interval), for a cross-conformal
    interval; or a share `split` of it, in [0, 1), is set aside for a split conformal one. A share `level` of new human
    scores, in (0, 1), is to lie within. Too few images are refused, and scores that run against the human ones, as no
    monotone map of the asked direction says anything then.
    """
    from scipy.stats import spearmanr

    if kind not in KINDS:
        raise SettingError(f"a calibration is {' or '.join(KINDS)}, not {kind!r}")
    x, y = checked(scores=scores, mos=mos).values()
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
    order = np.random.default_rng(seed).permutation(len(x))
    if split:
        if not 0 < split < 1:
            raise SettingError(f"the share that is set aside lies between 0 and 1, such as 0.5, got {split:g}")
        aside, kept = np.split(order, [round(split * len(x))])
        check_level(level, len(aside))
        made = calibrate(
            x[kept], y[kept], origin=origin, kind=kind, increasing=increasing, folds=folds, seed=seed, level=level
        )
        halves = np.array_split(np.arange(len(aside)), 2)
        return replace(made, interval=conformal_interval(np.abs(made(x[aside]) - y[aside]), halves, level))
    if folds:
        check_level(level, len(x))
    made = _fit(x, y, kind, increasing, origin)
    if not folds:
        return made
    parts = np.array_split(order, folds)
    mapped = np.empty_like(y)
    for part in parts:
        rest = np.setdiff1d(order, part)
        mapped[part] = _fit(x[rest], y[rest], kind, increasing, origin)(x[part])
    return replace(made, error=_error(mapped, y, folds), interval=conformal_interval(np.abs(mapped - y), parts, level))


def _fit(x: FloatArray, y: FloatArray, kind: Kind, increasing: bool, origin: Origin) -> Calibration:
    from scipy.optimize import isotonic_regression

    made = Calibration(
        kind=kind, increasing=increasing, count=len(x), low=float(y.min()), high=float(y.max()), origin=origin
    )
    if kind == "logistic":
        fit = fit_logistic(x, y, parameters=4)
        if not fit.converged or (fit.parameters[0] > fit.parameters[1]) != increasing:
            reason = fit.reason or "the best curve runs the other way"
            raise SettingError(f"no logistic curve fits these {len(x)} images: {reason}; use isotonic, or more images")
        return replace(made, parameters=fit.parameters)
    # Images of one score are joined first, then the two ends of each level are kept.
    corners, members, counts = np.unique(x, return_inverse=True, return_counts=True)
    means = np.bincount(members, y) / counts
    values = isotonic_regression(means, weights=counts.astype(np.float64), increasing=increasing).x
    kept = np.ones(len(values), dtype=bool)
    kept[1:-1] = (values[1:-1] != values[:-2]) | (values[1:-1] != values[2:])
    return replace(made, scores=tuple(corners[kept].tolist()), values=tuple(map(float, values[kept])))


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
