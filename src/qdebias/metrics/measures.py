"""What an IQA paper reports: SRCC, PLCC, KRCC, and PLCC and RMSE after a logistic fit, each with an interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qdebias.equations import FloatArray
from qdebias.errors import SettingError
from qdebias.metrics.intervals import Interval, Resampling, kendall, pearson, resample, root_mean_square, spearman
from qdebias.metrics.logistic import LogisticFit, fit_logistic

LEAST = 3  # fewest images for which a correlation says anything: two always correlate perfectly


@dataclass(frozen=True, slots=True, kw_only=True)
class Correlation:
    """How well N predicted scores agree with N human ones.

    Attributes:
        srcc: Spearman's rank correlation; tied values share their mean rank.
        plcc: Pearson's correlation of the scores as they are, as the paper reports it.
        krcc: Kendall's tau-b.
        plcc_logistic: PLCC after the 4-parameter logistic curve; NaN where `logistic.converged` is false.
        plcc_logistic5: PLCC after the 5-parameter curve; NaN where `logistic5.converged` is false.
        rmse: sqrt(mean((f(predicted) - mos)^2)) after the 4-parameter curve, on the scale of the MOS; NaN likewise.
        count: N.
        logistic: The 4-parameter curve, and why it did not converge if so.
        logistic5: The 5-parameter curve.
        srcc_interval: Bootstrap interval; None without resamples. Likewise the others. The curves are fitted once:
            what is resampled for `plcc_logistic` and `rmse` are the mapped scores, so those intervals leave out the
            uncertainty of the fit.
    """

    srcc: float
    plcc: float
    krcc: float
    plcc_logistic: float
    plcc_logistic5: float
    rmse: float
    count: int
    logistic: LogisticFit
    logistic5: LogisticFit
    srcc_interval: Interval | None = None
    plcc_interval: Interval | None = None
    krcc_interval: Interval | None = None
    plcc_logistic_interval: Interval | None = None
    plcc_logistic5_interval: Interval | None = None
    rmse_interval: Interval | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The (N,) columns of the images of one part, see the arguments of `correlate`."""

    predicted: npt.ArrayLike
    mos: npt.ArrayLike
    ranked_by: npt.ArrayLike
    groups: npt.ArrayLike | None = None


def correlate(
    predicted: npt.ArrayLike | Columns,
    mos: npt.ArrayLike | None = None,
    *,
    ranked_by: npt.ArrayLike | None = None,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    groups: npt.ArrayLike | None = None,
) -> Correlation:
    """Correlate predicted scores with human ones, both higher is better.

    Nothing is dropped or replaced: a correlation that does not exist is an error, not a NaN. Only the logistic fits
    may come back as NaN, with `converged` false and the reason.

    Args:
        predicted: (N,) predicted scores; or all columns, groups included.
        mos: (N,) human scores, higher is better: `Dataset.quality`, not a DMOS.
        ranked_by: (N,) what SRCC and KRCC rank in place of `predicted`, such as the log-odds, which have the order
            of P(good) without the ties that rounding makes or breaks.
        resamples: How many bootstrap resamples; 0 for no intervals.
        seed: Seed of the resamples.
        level: Coverage of the intervals.
        groups: (N,) group of each image, such as its reference photograph; whole groups are resampled.

    Raises:
        SettingError: Lengths differ, fewer than 3 images, NaN or infinite values, or a side whose values are all
            equal, so that a correlation is not defined.
    """
    from scipy import stats

    if not isinstance(predicted, Columns):
        ranks = predicted if ranked_by is None else ranked_by
        predicted = Columns(predicted=predicted, mos=() if mos is None else mos, ranked_by=ranks, groups=groups)
    x, y, order = checked(predicted=predicted.predicted, mos=predicted.mos, ranked_by=predicted.ranked_by).values()
    logistic, logistic5 = fit_logistic(x, y, parameters=4), fit_logistic(x, y, parameters=5)
    mapped, mapped5 = logistic(x), logistic5(x)
    known, known5 = (bool(np.isfinite(one).all()) and not is_constant(one) for one in (mapped, mapped5))
    statistics = {"srcc": spearman(order, y), "plcc": pearson(x, y), "krcc": kendall(order, y)}
    if known:
        statistics |= {"plcc_logistic": pearson(mapped, y), "rmse": root_mean_square(mapped - y)}
    if known5:
        statistics["plcc_logistic5"] = pearson(mapped5, y)
    intervals: dict[str, Interval] = {}
    resampling = Resampling(count=resamples, seed=seed, level=level, groups=predicted.groups)
    if resamples:
        drawn = resample(statistics, resampling, len(x))
        intervals = {f"{name}_interval": resampling.interval(values) for name, values in drawn.items()}
    return Correlation(
        srcc=float(stats.spearmanr(order, y).statistic),
        plcc=float(stats.pearsonr(x, y).statistic),
        krcc=float(stats.kendalltau(order, y, method="asymptotic").statistic),
        plcc_logistic=float(stats.pearsonr(mapped, y).statistic) if known else math.nan,
        plcc_logistic5=float(stats.pearsonr(mapped5, y).statistic) if known5 else math.nan,
        rmse=float(np.sqrt(np.mean((mapped - y) ** 2))),
        count=len(x),
        logistic=logistic,
        logistic5=logistic5,
        **intervals,
    )


def checked(**columns: npt.ArrayLike) -> dict[str, FloatArray]:
    """Return columns as float64 arrays after making sure that they can be correlated; see `correlate`."""
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in columns.items()}
    shapes = {name: array.shape for name, array in arrays.items()}
    if len(set(shapes.values())) != 1 or any(array.ndim != 1 for array in arrays.values()):
        raise SettingError(f"correlated columns must be flat and of one length, got {shapes}")
    for name, array in arrays.items():
        if len(array) < LEAST:
            raise SettingError(f"{len(array)} images are too few for a correlation; {LEAST} is the least")
        bad = np.flatnonzero(~np.isfinite(array))
        if len(bad):
            raise SettingError(
                f"{name} has {len(bad)} values that are not finite, the first at row {bad[0]} ({array[bad[0]]}); "
                f"leave those rows out on all sides, and say so"
            )
        if is_constant(array):
            raise SettingError(f"all {len(array)} values of {name} are {array[0]:g}, so no correlation is defined")
    return arrays


def is_constant(array: FloatArray) -> bool:
    """Whether what differs is no more than rounding: SciPy's criterion for a nearly constant input."""
    mean = array.mean()
    return bool(np.linalg.norm(array - mean) <= 1e-13 * abs(mean)) or bool(np.ptp(array) == 0)


def refuse_own_scores(scores: FloatArray, human: FloatArray, name: str) -> None:
    """Refuse human scores that are, up to two digits, the very scores of `name` that they are to be compared with."""
    if len(scores) >= LEAST and not is_constant(human) and np.abs(scores - human).max() < 0.0051:
        raise SettingError(
            f"the human scores of all {len(scores)} images are those of {name} itself, so that they say nothing about "
            f"it; give labels that people made"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanCorrelation:
    """Unweighted means over parts, with bootstrap intervals, each part resampled by itself; None without resamples."""

    srcc: float
    plcc: float
    parts: int
    srcc_interval: Interval | None = None
    plcc_interval: Interval | None = None


def correlate_within(
    parts: Sequence[Columns], *, resamples: int = 1000, seed: int = 0, level: float = 0.95
) -> MeanCorrelation:
    """Correlate within each of one or more parts, and average; each part has resamples of its own."""
    from scipy import stats

    found: dict[str, list[float]] = {"srcc": [], "plcc": []}
    drawn: dict[str, list[FloatArray]] = {"srcc": [], "plcc": []}
    for number, part in enumerate(parts):
        x, y, order = checked(predicted=part.predicted, mos=part.mos, ranked_by=part.ranked_by).values()
        found["srcc"].append(float(stats.spearmanr(order, y).statistic))
        found["plcc"].append(float(stats.pearsonr(x, y).statistic))
        if resamples:
            own = Resampling(count=resamples, seed=seed + number, level=level, groups=part.groups)
            for name, values in resample({"srcc": spearman(order, y), "plcc": pearson(x, y)}, own, len(x)).items():
                drawn[name].append(values)
    whole = Resampling(count=resamples, seed=seed, level=level)
    intervals = {f"{name}_interval": whole.interval(np.mean(rows, axis=0)) for name, rows in drawn.items() if rows}
    means = {name: float(np.mean(values)) for name, values in found.items()}
    return MeanCorrelation(srcc=means["srcc"], plcc=means["plcc"], parts=len(parts), **intervals)


def literal_probability(good: npt.ArrayLike, poor: npt.ArrayLike, *, temperature: float) -> FloatArray:
    """Return exp(good / T) / (exp(good / T) + exp(poor / T)), rounded as a script that writes just this rounds it.

    The exponential is the C library's, one number at a time: NumPy's vectorised one rounds the last bit differently
    and so breaks other ties. With this one, T = 100 gives every cell of Q-Bench's published table. Where it overflows,
    the formula has no guard, and is refused.

    Args:
        good: (N,) logits of the better option.
        poor: (N,) logits of the other.
        temperature: T > 0. Q-Bench's script has 100; PLCC depends on it strongly.
    """
    if not temperature > 0:
        raise SettingError(f"temperature must be positive, got {temperature}")
    pairs = np.stack([np.asarray(good, dtype=np.float64), np.asarray(poor, dtype=np.float64)], axis=-1) / temperature
    try:
        exponentials = np.array([[math.exp(value) for value in pair] for pair in pairs.tolist()]).reshape(-1, 2)
    except OverflowError as error:
        raise SettingError(
            f"a logit of {pairs.max() * temperature:g} is too large for the literal formula at temperature "
            f"{temperature:g}; use qdebias.equations.softmax"
        ) from error
    return np.asarray(exponentials[:, 0] / exponentials.sum(axis=1), dtype=np.float64)
