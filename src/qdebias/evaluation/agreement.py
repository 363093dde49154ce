"""SRCC and PLCC of each method with 95 % bootstrap intervals, and of the difference of two methods."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qdebias.equations import FloatArray
from qdebias.evaluation.evidence import Evidence, NotRun, Scores
from qdebias.evaluation.table import NOTHING, Cell, Number
from qdebias.metrics.intervals import Resampling, pearson, resample, spearman
from qdebias.metrics.measures import LEAST, is_constant, refuse_own_scores

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How well scores agree with people.

    Attributes:
        srcc: Spearman's rank correlation, of `Scores.order`.
        plcc: Pearson's correlation, of `Scores.value`, without a fit.
        count: How many images they are of.
    """

    srcc: Number
    plcc: Number
    count: int


def agreement_cells(found: Agreement | NotRun | None) -> tuple[Cell, Cell]:
    """Return SRCC and PLCC as cells of a table, or why there are none; empty ones for None."""
    if found is None:
        return NOTHING, NOTHING
    if isinstance(found, NotRun):
        cell = Cell(content="not run", notes=(found.reason,))
        return cell, cell
    return Cell(content=found.srcc), Cell(content=found.plcc)


@dataclass(frozen=True, slots=True, eq=False)
class _Resampled:
    """SRCC and PLCC of the images, (2,), and of each of B resamples of them, (2, B)."""

    whole: FloatArray
    drawn: FloatArray


class Agreements:
    """The agreement of each method of an evidence; what was computed once is kept.

    Every method is resampled in the same way, so the difference of two methods within each resample is a paired
    bootstrap.

    Args:
        evidence: The scores and what people said.
        resamples: How many; 0 for no intervals. The default is that of `qdebias.correlate`.
        seed: Of the draws, likewise.
    """

    def __init__(self, evidence: Evidence, *, resamples: int = 1000, seed: int = 0) -> None:
        self.evidence = evidence
        self._resamples = resamples
        self._seed = seed
        self._known: dict[tuple[str, bytes], _Resampled | NotRun] = {}

    def of(self, recipe: str) -> Agreement | NotRun:
        """Return SRCC and PLCC of a method, or why there are none."""
        scores = self._scores(recipe)
        return scores if isinstance(scores, NotRun) else self._agreement(np.isfinite(scores.value), recipe)

    def gain(self, recipe: str, base: str) -> Agreement | NotRun:
        """Return SRCC and PLCC of a method minus those of another, on the images that both have scores of."""
        first, second = self._scores(recipe), self._scores(base)
        if isinstance(first, NotRun):
            return first
        if isinstance(second, NotRun):
            return second
        return self._agreement(np.isfinite(first.value) & np.isfinite(second.value), recipe, base)

    def _scores(self, recipe: str) -> Scores | NotRun:
        missing = NotRun(reason=f"the method {recipe} was not asked in this run")
        return self.evidence.results.get(recipe, missing)

    def _agreement(self, chosen: Mask, *recipes: str) -> Agreement | NotRun:
        """Return the agreement of the first method on some images, minus that of the second where there is one."""
        found: list[_Resampled] = []
        for recipe in recipes:
            key = recipe, chosen.tobytes()
            if key not in self._known:
                self._known[key] = self._resample(recipe, chosen)
            one = self._known[key]
            if isinstance(one, NotRun):
                return one
            found.append(one)
        whole, drawn = found[0].whole, found[0].drawn
        for other in found[1:]:
            whole, drawn = whole - other.whole, drawn - other.drawn
        numbers = []
        for value, values in zip(whole.tolist(), drawn, strict=True):
            interval = self._resampling(None).interval(values) if len(values) else None
            low, high = (interval.low, interval.high) if interval else (None, None)
            numbers.append(Number(value=value, low=low, high=high, signed=len(found) > 1))
        return Agreement(srcc=numbers[0], plcc=numbers[1], count=int(chosen.sum()))

    def _resample(self, recipe: str, chosen: Mask) -> _Resampled | NotRun:
        scores, quality = self._scores(recipe), self.evidence.quality[chosen]
        if isinstance(scores, NotRun):
            return scores
        order, value = scores.order[chosen], scores.value[chosen]
        refuse_own_scores(value, quality, recipe)
        if len(quality) < LEAST:
            return NotRun(reason=f"{recipe}: {len(quality)} images with scores are too few for a correlation")
        if any(map(is_constant, (quality, order, value))):
            return NotRun(reason=f"{recipe}: all scores are equal, so no correlation is defined")
        statistics = {"srcc": spearman(order, quality), "plcc": pearson(value, quality)}
        once = np.ones((1, len(quality)))
        whole = np.array([float(statistic(once)[0]) for statistic in statistics.values()])
        if not self._resamples:
            return _Resampled(whole, np.empty((2, 0)))
        blocks = resample(statistics, self._resampling(chosen), len(quality))
        return _Resampled(whole, np.array(list(blocks.values())))

    def _resampling(self, chosen: Mask | None) -> Resampling:
        groups = self.evidence.groups
        kept = None if groups is None or chosen is None else groups[chosen]
        return Resampling(count=self._resamples, seed=self._seed, level=0.95, groups=kept)
