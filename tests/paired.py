"""How much better one method agrees with people than another, slowly: SciPy on every resample."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import stats

from qdebias.metrics.intervals import Resampling

Gain = tuple[float, float, float]
"""The difference, and the ends of its 95 % percentile bootstrap interval."""


def gains(first: npt.ArrayLike, second: npt.ArrayLike, mos: npt.ArrayLike, resamples: int) -> dict[str, Gain]:
    """Return by how much SRCC and PLCC of the first method exceed those of the second."""
    a, b, y = (np.asarray(column, dtype=np.float64) for column in (first, second, mos))

    def gain(measure: Callable[..., tuple[float, float]]) -> Gain:
        def difference(chosen: npt.NDArray[np.intp]) -> float:
            return measure(a[chosen], y[chosen])[0] - measure(b[chosen], y[chosen])[0]

        images = np.arange(len(y))
        draws = np.concatenate(list(Resampling(count=resamples, seed=0, level=0.95).draws(len(y))))
        drawn = [difference(np.repeat(images, draw.astype(np.intp))) for draw in draws]
        low, high = np.nanquantile(drawn, [0.025, 0.975])
        return difference(images), float(low), float(high)

    return {"srcc": gain(stats.spearmanr), "plcc": gain(stats.pearsonr)}
