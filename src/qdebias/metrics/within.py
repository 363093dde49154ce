"""The mean of the correlations within the parts of a dataset, where the parts differ in more than their images.

Sources, splits and scenes may differ in their mean score; telling them apart then correlates with the scores by itself.
The mean over the parts is free of that.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qdebias.metrics.intervals import Interval, Resampling, pearson, resample, spearman
from qdebias.metrics.measures import checked

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The images of one part.

    Attributes:
        predicted: (N,) predicted scores.
        mos: (N,) human scores, higher is better.
        ranked_by: (N,) what SRCC ranks in place of `predicted`.
        groups: (N,) group of each image, see `correlate`; None where each image is its own.
    """

    predicted: npt.ArrayLike
    mos: npt.ArrayLike
    ranked_by: npt.ArrayLike
    groups: npt.ArrayLike | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanCorrelation:
    """Unweighted means over parts.

    Attributes:
        srcc: Mean SRCC.
        plcc: Mean PLCC of the scores as they are.
        parts: How many parts.
        srcc_interval: Bootstrap interval, each part resampled by itself; None without resamples.
        plcc_interval: Likewise.
    """

    srcc: float
    plcc: float
    parts: int
    srcc_interval: Interval | None = None
    plcc_interval: Interval | None = None


def correlate_within(
    parts: Sequence[Columns], *, resamples: int = 1000, seed: int = 0, level: float = 0.95
) -> MeanCorrelation:
    """Correlate within each part, and average.

    Args:
        parts: At least one.
        resamples: How many bootstrap resamples; 0 for no intervals.
        seed: Seed of the resamples; each part has resamples of its own.
        level: Coverage of the intervals.

    Raises:
        SettingError: In a part no correlation is defined, see `correlate`.
    """
    from scipy import stats

    found: dict[str, list[float]] = {"srcc": [], "plcc": []}
    drawn: dict[str, list[FloatArray]] = {"srcc": [], "plcc": []}
    for number, part in enumerate(parts):
        columns = checked(predicted=part.predicted, mos=part.mos, ranked_by=part.ranked_by)
        x, y, order = columns["predicted"], columns["mos"], columns["ranked_by"]
        found["srcc"].append(float(stats.spearmanr(order, y).statistic))
        found["plcc"].append(float(stats.pearsonr(x, y).statistic))
        if resamples:
            own = Resampling(count=resamples, seed=seed + number, level=level, groups=part.groups)
            for name, values in resample({"srcc": spearman(order, y), "plcc": pearson(x, y)}, own, len(x)).items():
                drawn[name].append(values)
    whole = Resampling(count=resamples, seed=seed, level=level)
    intervals = {name: whole.interval(np.mean(values, axis=0)) if values else None for name, values in drawn.items()}
    return MeanCorrelation(
        srcc=float(np.mean(found["srcc"])),
        plcc=float(np.mean(found["plcc"])),
        parts=len(parts),
        srcc_interval=intervals["srcc"],
        plcc_interval=intervals["plcc"],
    )
