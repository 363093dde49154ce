"""Bootstrap intervals: resampled correlations without sorting once per resample.

A resample is described by how often each image was drawn. The ranks of a resample then follow from cumulative sums
over the images in their original order, ties included, so one sort serves all resamples. SciPy's `bootstrap` ranks
every resample again and has no clusters, which is why it is not used.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qdebias.equations import FloatArray
from qdebias.errors import SettingError

Statistic = Callable[[FloatArray], FloatArray]
"""From draws (B, N) to one value per resample (B,); NaN where the resample leaves the statistic undefined."""

_CELLS = 1 << 19  # draws held at once: resamples x images; bounds the memory, changes no result


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A percentile bootstrap interval."""

    low: float  # NaN where every resample left the statistic undefined
    high: float
    level: float  # coverage aimed at, such as 0.95
    resamples: int  # how many were drawn
    undefined: int = 0  # how many of them had one distinct value on a side, so no correlation; they are left out


@dataclass(frozen=True, slots=True, kw_only=True)
class Resampling:
    """How resamples are drawn; the same seed gives the same resamples for every statistic and method.

    `groups` is the (N,) label of the group of each image. Groups are drawn as wholes (a cluster bootstrap): images that
    share a photograph are not independent, and intervals that ignore it are too narrow.
    """

    count: int
    seed: int
    level: float  # coverage of the intervals, in (0, 1)
    groups: npt.ArrayLike | None = None

    def __post_init__(self) -> None:
        if self.count < 0 or not 0 < self.level < 1:
            raise SettingError(f"resamples must be 0 or more and level in (0, 1), got {self.count} and {self.level}")

    def draws(self, images: int) -> Iterator[FloatArray]:
        """Yield (B, N) arrays: how often each image occurs in each of B resamples."""
        labels = np.arange(images) if self.groups is None else np.asarray(self.groups)
        if labels.shape != (images,):
            raise SettingError(f"groups must name one group for each of the {images} images, got shape {labels.shape}")
        names, members = np.unique(labels, return_inverse=True)
        size = len(names)
        if size < 2 and self.groups is not None:
            raise SettingError("a bootstrap over groups needs at least two groups; leave groups out to resample images")
        rng = np.random.default_rng(self.seed)
        step = max(1, _CELLS // images)
        for first in range(0, self.count, step):
            block = min(step, self.count - first)
            drawn = [np.bincount(rng.integers(0, size, size), minlength=size) for _ in range(block)]
            yield np.array(drawn, dtype=np.float64)[:, members]

    def interval(self, values: FloatArray) -> Interval:
        """Return the interval of (B,) resampled values, of which NaN ones are left out."""
        defined = values[~np.isnan(values)]
        tail = (1 - self.level) / 2
        low, high = map(float, np.quantile(defined, [tail, 1 - tail]) if len(defined) else (np.nan, np.nan))
        undefined = len(values) - len(defined)
        return Interval(low=low, high=high, level=self.level, resamples=len(values), undefined=undefined)


def resample(statistics: dict[str, Statistic], resampling: Resampling, images: int) -> dict[str, FloatArray]:
    """Return (B,) values of each statistic on the same resamples of N images."""
    blocks: dict[str, list[FloatArray]] = {name: [] for name in statistics}
    for draws in resampling.draws(images):
        for name, statistic in statistics.items():
            blocks[name].append(statistic(draws))
    return {name: np.concatenate(values) for name, values in blocks.items()}


def pearson(first: FloatArray, second: FloatArray) -> Statistic:
    """Return the statistic PLCC of two (N,) arrays."""
    return lambda draws: _weighted_pearson(draws, first, second)


def spearman(first: FloatArray, second: FloatArray) -> Statistic:
    """Return the statistic SRCC of two (N,) arrays: PLCC of the ranks that the resample itself has, ties averaged."""
    first_ranks, second_ranks = _ranks_of(first), _ranks_of(second)
    return lambda draws: _weighted_pearson(draws, first_ranks(draws), second_ranks(draws))


def kendall(first: FloatArray, second: FloatArray) -> Statistic:
    """Return the statistic KRCC (tau-b) of two (N,) arrays, by SciPy on each resample."""

    def one(draw: FloatArray) -> float:
        from scipy import stats

        chosen = np.repeat(np.arange(len(draw)), draw.astype(np.intp))
        return float(stats.kendalltau(first[chosen], second[chosen], method="asymptotic").statistic)

    return lambda draws: np.array([one(draw) for draw in draws])


def root_mean_square(error: FloatArray) -> Statistic:
    """Return the statistic sqrt(mean(error^2)) of an (N,) array."""
    return lambda draws: np.sqrt(draws @ error**2 / draws.sum(axis=1))


def _ranks_of(values: FloatArray) -> Statistic:
    """Return what makes of draws the (B, N) rank of each image in each resample, from 1, the mean rank where tied."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    size = np.diff(np.r_[first, len(values)])

    def ranks(draws: FloatArray) -> FloatArray:
        tied = np.add.reduceat(draws[:, order], first, axis=1)
        middle = np.cumsum(tied, axis=1) - tied + (tied + 1) / 2
        made = np.empty_like(draws)
        made[:, order] = np.repeat(middle, size, axis=1)
        return made

    return ranks


def _weighted_pearson(draws: FloatArray, *columns: FloatArray) -> FloatArray:
    """PLCC per resample; NaN where a side is constant, or differs by rounding only (SciPy's criterion)."""
    total = draws.sum(axis=1, keepdims=True)
    sides, lengths = [], np.ones(len(draws))
    for values in columns:
        mean = np.sum(draws * values, axis=1, keepdims=True) / total
        deviation = values - mean  # the mean is taken off before anything is squared, so nothing cancels
        weighted = draws * deviation
        length = np.sqrt(np.einsum("bn,bn->b", weighted, deviation))
        varies = length > 1e-13 * np.abs(mean[:, 0]) * np.sqrt(total[:, 0])
        lengths *= np.where(varies, length, np.nan)
        sides.append((weighted, deviation))
    (weighted, _), (_, deviation) = sides
    return np.asarray(np.clip(np.einsum("bn,bn->b", weighted, deviation) / lengths, -1, 1))
