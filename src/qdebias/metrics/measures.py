"""What an IQA paper reports: SRCC, PLCC, KRCC, and PLCC and RMSE after a logistic fit, each with an interval."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qdebias.errors import SettingError
from qdebias.metrics.intervals import (
    Interval,
    Resampling,
    Statistic,
    kendall,
    pearson,
    resample,
    root_mean_square,
    spearman,
)
from qdebias.metrics.logistic import LogisticFit, fit_logistic

FloatArray = npt.NDArray[np.float64]

LEAST = 3
"""Fewest images for which a correlation says anything: two always correlate perfectly."""


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


def correlate(
    predicted: npt.ArrayLike,
    mos: npt.ArrayLike,
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
        predicted: (N,) predicted scores.
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

    columns = checked(predicted=predicted, mos=mos, ranked_by=predicted if ranked_by is None else ranked_by)
    x, y, order = columns["predicted"], columns["mos"], columns["ranked_by"]
    fit, fit5 = fit_logistic(x, y, parameters=4), fit_logistic(x, y, parameters=5)
    mapped, mapped5 = fit(x), fit5(x)
    plcc_logistic, plcc_logistic5 = _plcc_or_nan(mapped, y), _plcc_or_nan(mapped5, y)
    statistics = {"srcc": spearman(order, y), "plcc": pearson(x, y), "krcc": kendall(order, y)}
    if not np.isnan(plcc_logistic):
        statistics |= {"plcc_logistic": pearson(mapped, y), "rmse": root_mean_square(mapped - y)}
    if not np.isnan(plcc_logistic5):
        statistics["plcc_logistic5"] = pearson(mapped5, y)
    intervals = _intervals(statistics, Resampling(count=resamples, seed=seed, level=level, groups=groups), len(x))
    return Correlation(
        srcc=float(stats.spearmanr(order, y).statistic),
        plcc=float(stats.pearsonr(x, y).statistic),
        krcc=float(stats.kendalltau(order, y, method="asymptotic").statistic),
        plcc_logistic=plcc_logistic,
        plcc_logistic5=plcc_logistic5,
        rmse=float(np.sqrt(np.mean((mapped - y) ** 2))),
        count=len(x),
        logistic=fit,
        logistic5=fit5,
        srcc_interval=intervals.get("srcc"),
        plcc_interval=intervals.get("plcc"),
        krcc_interval=intervals.get("krcc"),
        plcc_logistic_interval=intervals.get("plcc_logistic"),
        plcc_logistic5_interval=intervals.get("plcc_logistic5"),
        rmse_interval=intervals.get("rmse"),
    )


def checked(**columns: npt.ArrayLike) -> dict[str, FloatArray]:
    """Return columns as float64 arrays after making sure that they can be correlated; see `correlate`."""
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in columns.items()}
    shapes = {name: array.shape for name, array in arrays.items()}
    if len(set(shapes.values())) != 1 or any(len(shape) != 1 for shape in shapes.values()):
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


def _plcc_or_nan(mapped: FloatArray, mos: FloatArray) -> float:
    from scipy import stats

    usable = bool(np.isfinite(mapped).all()) and not is_constant(mapped)
    return float(stats.pearsonr(mapped, mos).statistic) if usable else float("nan")


def _intervals(statistics: dict[str, Statistic], resampling: Resampling, images: int) -> dict[str, Interval]:
    if not resampling.count:
        return {}
    return {name: resampling.interval(values) for name, values in resample(statistics, resampling, images).items()}
