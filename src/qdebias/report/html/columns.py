"""The scores of a run under one method, as columns."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from qdebias.degrade import kind_of
from qdebias.equations import FloatArray
from qdebias.evaluation.readout import read
from qdebias.methods import presets
from qdebias.methods.method import QDebias, Score
from qdebias.methods.plan import Failure
from qdebias.report.words import words
from qdebias.runs.derive import Recorded, recorded
from qdebias.runs.run import Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionMeans:
    """Means over all images of what the model said under one condition.

    Attributes:
        kind: Which condition.
        good: Mean P(good), in [0, 1].
        same: Mean P(same object); None where it was not asked.
        weight: Mean weight.
    """

    kind: str
    good: float
    same: float | None
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MethodColumn:
    """The images that have a score under a method.

    Attributes:
        name: Of the method.
        paths: (N,) absolute.
        value: (N,) scores, higher is better.
        order: (N,) what SRCC ranks, see `qdebias.evaluation.readout`.
        failures: The images that have none, and why.
        conditions: What was said under each condition; none for a method without conditions.
    """

    name: str
    paths: tuple[str, ...]
    value: FloatArray
    order: FloatArray
    failures: tuple[Failure, ...]
    conditions: tuple[ConditionMeans, ...]


def read_column(snapshot: Snapshot, name: str, *, seed: int) -> MethodColumn:
    """Return the scores of a run under a method, without keeping more than numbers of each image.

    Raises:
        SettingError: The run does not answer what the method asks.
    """
    method = presets.get(name).method
    paths: list[str] = []
    readings: list[tuple[float, float]] = []
    failures: list[Failure] = []
    sums: FloatArray = np.zeros((3, 0))
    for one in _rows(snapshot, name, seed):
        if isinstance(one.result, Failure):
            failures.append(one.result)
            continue
        reading = read(method, one.result, "exact")
        paths.append(one.path)
        readings.append((reading.score, reading.rank))
        sums = _stacked(one.result) + (sums if sums.size else 0)
    numbers = np.array(readings, dtype=np.float64).reshape(-1, 2)
    return MethodColumn(
        name=name,
        paths=tuple(paths),
        value=numbers[:, 0],
        order=numbers[:, 1],
        failures=tuple(failures),
        conditions=_means(_kinds(name), sums / max(len(paths), 1)),
    )


def scores_of(snapshot: Snapshot, name: str, wanted: set[str], *, seed: int) -> dict[str, Score]:
    """Return the scores of a few images in full, by path."""
    rows = (one for one in _rows(snapshot, name, seed) if one.path in wanted)
    return {one.path: one.result for one in rows if isinstance(one.result, Score)}


def _rows(snapshot: Snapshot, name: str, seed: int) -> Iterator[Recorded]:
    return recorded(snapshot, presets.get(name).method, name=name, seed=seed)


def _stacked(score: Score) -> FloatArray:
    """Return (3, N): P(good), P(same object) or NaN, and weight of each condition."""
    same = score.same if len(score.same) else np.full(len(score.good), np.nan)
    return np.stack([score.good, same, score.weight])


def _means(kinds: Sequence[str], means: FloatArray) -> tuple[ConditionMeans, ...]:
    columns = means.T.tolist()
    if len(kinds) != len(columns):
        return ()
    return tuple(
        ConditionMeans(kind=kind, good=good, same=None if np.isnan(same) else same, weight=weight)
        for kind, (good, same, weight) in zip(kinds, columns, strict=True)
    )


def _kinds(name: str) -> list[str]:
    """Return what the conditions of a method are called."""
    method = presets.get(name).method
    return [words(kind_of(draw.degradation)) for draw in method.draws] if isinstance(method, QDebias) else []
