"""Whether one method correlates better with human scores than another on the same images.

The two correlations share the human scores, so they depend on each other: an interval for each says little about
their difference. Three answers are given: a paired bootstrap, Williams' t and Steiger's Z.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from qdebias.correlation.intervals import Interval, Resampling, pearson, resample, spearman
from qdebias.correlation.measures import checked
from qdebias.errors import SettingError

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class DependentTest:
    """Outcome of a test that two correlations with the same third variable are equal.

    Attributes:
        statistic: t (Williams) or Z (Steiger); positive where the first correlation is larger.
        freedom: Degrees of freedom of t; None for Z.
        p: Two-sided p-value.
    """

    statistic: float
    freedom: int | None
    p: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One correlation measure of two methods, first minus second.

    Attributes:
        first: Correlation of the first method.
        second: Correlation of the second.
        difference: first - second.
        interval: Paired bootstrap interval of the difference: both methods on the same resamples.
        p: Two-sided bootstrap p-value: twice the smaller share of resamples on one side of 0, with one added to
            numerator and denominator, so never 0.
        williams: Williams' t. For SRCC it is an approximation: the test assumes normal data, not ranks.
        steiger: Steiger's Z, with the same caveat. Both take images as independent; with groups trust the bootstrap.
    """

    first: float
    second: float
    difference: float
    interval: Interval
    p: float
    williams: DependentTest
    steiger: DependentTest


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two methods on the same N images.

    Attributes:
        srcc: Difference of SRCC.
        plcc: Difference of PLCC, without a fit.
        count: N.
    """

    srcc: Difference
    plcc: Difference
    count: int


def compare_correlations(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    mos: npt.ArrayLike,
    *,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    groups: npt.ArrayLike | None = None,
) -> Comparison:
    """Compare how two methods correlate with human scores on the same images.

    Args:
        first: (N,) scores of the first method.
        second: (N,) scores of the second, of the same images in the same order.
        mos: (N,) human scores, higher is better.
        resamples: Bootstrap resamples, at least 1; the smallest possible p-value is 2 / (resamples + 1).
        seed: Seed of the resamples.
        level: Coverage of the intervals.
        groups: (N,) group of each image; whole groups are resampled.

    Raises:
        SettingError: As `correlate`, and for fewer than 4 images.
    """
    columns = checked(first=first, second=second, mos=mos)
    if resamples < 1:
        raise SettingError(f"a paired bootstrap needs resamples, got {resamples}")
    a, b, y = columns["first"], columns["second"], columns["mos"]
    resampling = Resampling(count=resamples, seed=seed, level=level, groups=groups)
    drawn = resample(
        {"sa": spearman(a, y), "sb": spearman(b, y), "pa": pearson(a, y), "pb": pearson(b, y)}, resampling, len(y)
    )
    ranks = [stats.rankdata(column) for column in (a, b, y)]
    return Comparison(
        srcc=_difference(np.corrcoef(ranks), drawn["sa"] - drawn["sb"], resampling, len(y)),
        plcc=_difference(np.corrcoef([a, b, y]), drawn["pa"] - drawn["pb"], resampling, len(y)),
        count=len(y),
    )


def williams(first: float, second: float, between: float, count: int) -> DependentTest:
    """Test r(a, y) = r(b, y) by Williams' t: eq. (7) of Steiger, Psychological Bulletin 87 (1980) 245-251.

    Args:
        first: r(a, y).
        second: r(b, y).
        between: r(a, b).
        count: N, at least 4; t has N - 3 degrees of freedom.
    """
    _check(first, second, between, count)
    if first == second:
        return DependentTest(statistic=0.0, freedom=count - 3, p=1.0)
    determinant = 1 - first**2 - second**2 - between**2 + 2 * first * second * between
    mean = (first + second) / 2
    spread = 2 * determinant * (count - 1) / (count - 3) + mean**2 * (1 - between) ** 3
    statistic = (first - second) * np.sqrt((count - 1) * (1 + between) / max(spread, np.finfo(np.float64).tiny))
    return DependentTest(
        statistic=float(statistic), freedom=count - 3, p=float(2 * stats.t.sf(abs(statistic), count - 3))
    )


def steiger(first: float, second: float, between: float, count: int) -> DependentTest:
    """Test r(a, y) = r(b, y) by Steiger's Z with the pooled correlation: eq. (14) of the same article.

    Args:
        first: r(a, y).
        second: r(b, y).
        between: r(a, b).
        count: N, at least 4.
    """
    _check(first, second, between, count)
    if first == second:
        return DependentTest(statistic=0.0, freedom=None, p=1.0)
    square = ((first + second) / 2) ** 2
    covariance = between * (1 - 2 * square) - square * (1 - 2 * square - between**2) / 2
    spread = max(2 - 2 * covariance / (1 - square) ** 2, float(np.finfo(np.float64).tiny))
    statistic = (np.arctanh(first) - np.arctanh(second)) * np.sqrt((count - 3) / spread)
    return DependentTest(statistic=float(statistic), freedom=None, p=float(2 * stats.norm.sf(abs(statistic))))


def _check(first: float, second: float, between: float, count: int) -> None:
    if count < 4:
        raise SettingError(f"{count} images are too few to test two correlations; 4 is the least")
    if not (abs(first) < 1 and abs(second) < 1 and abs(between) <= 1):
        raise SettingError(
            f"correlations of {first:g} and {second:g} leave nothing to test; both must lie inside (-1, 1)"
        )


def _difference(matrix: FloatArray, resampled: FloatArray, resampling: Resampling, count: int) -> Difference:
    first, second, between = float(matrix[0, 2]), float(matrix[1, 2]), float(np.clip(matrix[0, 1], -1, 1))
    return Difference(
        first=first,
        second=second,
        difference=first - second,
        interval=resampling.interval(resampled),
        p=_two_sided(resampled[~np.isnan(resampled)]),
        williams=williams(first, second, between, count),
        steiger=steiger(first, second, between, count),
    )


def _two_sided(differences: FloatArray) -> float:
    below, above = int((differences <= 0).sum()), int((differences >= 0).sum())
    return min(1.0, 2 * (min(below, above) + 1) / (len(differences) + 1))
