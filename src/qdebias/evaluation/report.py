"""One row an image: its human score, ours, and the logits that ours was computed from."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from html import escape
from typing import Any, Literal, TypeAlias

import numpy as np

from qdebias.errors import SettingError
from qdebias.evaluation.readout import Readout, read
from qdebias.inputs.datasets import Dataset, Item
from qdebias.methods.plan import Failure, Method, Score
from qdebias.metrics.intervals import Interval
from qdebias.metrics.measures import (
    Columns,
    Correlation,
    MeanCorrelation,
    correlate,
    correlate_within,
    refuse_own_scores,
)
from qdebias.runs.records import Row, cells_of, plain_logits


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatedImage(Row):
    """An image of a dataset with both scores.

    Attributes:
        path: The image, relative to the dataset's root.
        mos: Human score as the labels have it.
        quality: The same with higher always better.
        score: Our score, higher is better; None where it failed.
        rank: What SRCC and KRCC rank, see `qdebias.evaluation.readout`; None where it failed.
        error: Why it failed; None where it did not.
        split: The dataset's split, subset, scene and group of the image, as far as it has such.
        subset: Likewise.
        scene: Likewise.
        group: Likewise.
        good: P(good) under each condition.
        same: P(same object) of each condition; empty where it was not asked.
        weight: Weight of each condition.
        spread: Standard deviation of the score over seeds of the noise; None for a method with one seed.
        deviation: Standard deviation of the options' values, see `qdebias.methods.method.Score`.
        probabilities: Probability of each option by its word; the columns are called p_ and the word.
        logits: For each request, for each of its questions, the logits of its options as the model gave them.
    """

    path: str
    mos: float
    quality: float
    score: float | None
    rank: float | None
    error: str | None
    split: str = ""
    subset: str = ""
    scene: str = ""
    group: str = ""
    good: tuple[float, ...] = ()
    same: tuple[float, ...] = ()
    weight: tuple[float, ...] = ()
    spread: float | None = None
    deviation: float | None = None
    probabilities: Mapping[str, float] = field(default_factory=dict)
    logits: tuple[tuple[tuple[float, ...], ...], ...] = ()


def evaluated(
    dataset: Dataset, item: Item, result: Score | Failure, method: Method, readout: Readout
) -> EvaluatedImage:
    """Return the row of one result."""
    row = EvaluatedImage(
        path=item.path,
        mos=item.mos,
        quality=item.mos if dataset.direction == "higher" else -item.mos,
        score=None,
        rank=None,
        error=None,
        split=item.split,
        subset=item.subset,
        scene=item.scene,
        group=item.group,
    )
    if isinstance(result, Failure):
        return replace(row, error=result.error)
    reading = read(method, result, readout)
    return replace(
        row,
        score=reading.score,
        rank=reading.rank,
        logits=plain_logits(result),
        **cells_of(result),
    )


PartKind: TypeAlias = Literal["split", "subset", "scene"]

MEASURES = ("srcc", "plcc", "plcc_logistic", "plcc_logistic5", "krcc", "rmse")
"""What is reported of a correlation, in this order, each with its interval."""

LEVEL = 0.95
"""Coverage of the intervals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The images of one split, subset or scene.

    Attributes:
        kind: Which of the three.
        name: Its name.
        count: How many of its images were correlated.
        correlation: How well they agree; None where that is not defined.
        reason: Why not; empty where it is.
    """

    kind: PartKind
    name: str
    count: int
    correlation: Correlation | None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How well the scores of one model and method agree with the human ones of one dataset.

    Attributes:
        dataset: Name of the dataset.
        subset: The part that was requested; None where it is everything.
        limit: How many images were taken at most; None where there was no limit.
        complete: Whether this is the whole published dataset.
        summary: What was evaluated, in words, and of how much it is a part.
        labels: Which version of the labels, where several circulate.
        label_digest: First 16 hex digits of the SHA-256 of the label files.
        model: What answered: its name, without the folder that it came from.
        method: How it was asked.
        seed: Seed of the random degradations.
        readout: How scores were read from logits.
        correlation: Over all images that have a score, on `Dataset.quality`.
        grouped: Whether the intervals resample groups of images (of one reference, say) in place of images.
        parts: Each split, subset and scene of the dataset, where there are several.
        means: Of each kind of part, the mean over its parts; left out where one of them has no correlation.
        rows: Every image with both scores, or its error, in the order of the dataset.
        notes: What the dataset's labels say about themselves.
    """

    dataset: str
    subset: str | None
    limit: int | None
    complete: bool
    summary: str
    labels: str
    label_digest: str
    model: str
    method: str
    seed: int
    readout: Readout
    correlation: Correlation
    grouped: bool
    parts: tuple[Part, ...]
    means: Mapping[PartKind, MeanCorrelation]
    rows: tuple[EvaluatedImage, ...]
    notes: tuple[str, ...]

    @property
    def count(self) -> int:
        """How many images were correlated."""
        return self.correlation.count

    @property
    def failures(self) -> tuple[EvaluatedImage, ...]:
        """The images that have no score, and so no part in the correlation."""
        return tuple(row for row in self.rows if row.error is not None)

    @property
    def headline(self) -> str:
        """SRCC with its interval, PLCC, and of how many images."""
        found = self.correlation.srcc_interval
        interval = f" [{found.low:.3f}, {found.high:.3f}]" if found else ""
        return f"SRCC {self.srcc:.3f}{interval}, PLCC {self.plcc:.3f}, {self.count} images, {len(self.failures)} failed"

    def __repr__(self) -> str:
        return f"Report({self.dataset}, {self.model}, {self.method}: {self.headline})"

    def _repr_html_(self) -> str:
        from qdebias.metrics.charts import STYLE, scatter  # imports Matplotlib

        one = _columns([row for row in self.rows if row.error is None])
        value, quality = np.array(one.predicted), np.array(one.mos)
        fit, steps = self.correlation.logistic, np.linspace(value.min(), value.max(), 100)
        drawn = scatter(
            value,
            quality,
            f"score of {self.method}, model {self.model}",
            f"human score, {self.dataset}",
            curve=(steps, fit(steps)) if fit.converged else None,
        )
        return f'<style>{STYLE}</style><div class="qd"><p><b>{escape(self.headline)}</b></p>{drawn}</div>'

    @property
    def srcc(self) -> float:
        """Spearman's rank correlation."""
        return self.correlation.srcc

    @property
    def plcc(self) -> float:
        """Pearson's correlation of the scores as they are."""
        return self.correlation.plcc

    def values(self) -> dict[str, Any]:
        """Return the report without its rows as plain values: no path, no time, so that equal work reads the same."""
        plain = ("dataset", "subset", "limit", "complete", "summary", "labels", "label_digest")
        asked = ("model", "method", "seed", "readout")
        return {
            **{name: getattr(self, name) for name in plain + asked},
            "count": self.count,
            "failed": len(self.failures),
            **_measures(self.correlation),
            "resamples": 0 if self.correlation.srcc_interval is None else self.correlation.srcc_interval.resamples,
            "level": LEVEL,
            "grouped": self.grouped,
            "parts": [
                {"kind": part.kind, "name": part.name, "count": part.count}
                | (_measures(part.correlation) if part.correlation else {"reason": part.reason})
                for part in self.parts
            ],
            "means": {
                kind: {"parts": mean.parts, **_measures(mean, ("srcc", "plcc"))} for kind, mean in self.means.items()
            },
            "notes": list(self.notes),
        }

    def json(self) -> str:
        """Return `values` as one line of JSON; what is not defined is null."""
        return json.dumps(self.values(), ensure_ascii=False, allow_nan=False)


def make_report(
    dataset: Dataset,
    rows: Sequence[EvaluatedImage],
    *,
    model: str,
    method: str,
    seed: int = 0,
    limit: int | None = None,
    readout: Readout = "exact",
    resamples: int = 1000,
) -> Report:
    """Correlate the rows of an evaluation.

    Args:
        dataset: What was evaluated, before any limit.
        rows: Its images in its order, up to the limit.
        model: Name of the model.
        method: Name of the method.
        seed: Seed of the random degradations.
        limit: How many images were requested at most.
        readout: How the rows were read from logits.
        resamples: How many bootstrap resamples the intervals have; 0 for no intervals. Their seed is fixed.

    Raises:
        SettingError: Fewer than 3 images have a score, or all scores are equal.
    """
    cut = limit is not None and limit < len(dataset)
    scored = [row for row in rows if row.error is None]
    parts: list[Part] = []
    means: dict[PartKind, MeanCorrelation] = {}
    for kind, members in _divided(scored):
        parts += [_part(kind, name, part, resamples) for name, part in members.items()]
        with suppress(SettingError):
            means[kind] = correlate_within(list(map(_columns, members.values())), resamples=resamples, level=LEVEL)
    return Report(
        dataset=dataset.name,
        subset=dataset.subset,
        limit=limit,
        complete=dataset.complete and not cut,
        summary=f"{dataset.summary}; only the first {limit:,} of them, as asked" if cut else dataset.summary,
        labels=dataset.label_variant,
        label_digest=dataset.label_digest,
        model=model,
        method=method,
        seed=seed,
        readout=readout,
        correlation=_correlate(scored, resamples),
        grouped=_columns(scored).groups is not None,
        parts=tuple(parts),
        means=means,
        rows=tuple(rows),
        notes=dataset.notes,
    )


def _correlate(rows: Sequence[EvaluatedImage], resamples: int) -> Correlation:
    one = _columns(rows)
    refuse_own_scores(np.asarray(one.predicted), np.asarray(one.mos), "the model")
    return correlate(one, resamples=resamples, level=LEVEL)


def _columns(rows: Sequence[EvaluatedImage]) -> Columns:
    """Return what is correlated, in groups where there are at least two of them, some with several images."""
    groups = [row.group or row.path for row in rows]
    return Columns(
        predicted=[row.score or 0.0 for row in rows],
        mos=[row.quality for row in rows],
        ranked_by=[row.rank or 0.0 for row in rows],
        groups=groups if 1 < len(set(groups)) < len(groups) else None,
    )


def _divided(rows: Sequence[EvaluatedImage]) -> Iterator[tuple[PartKind, dict[str, list[EvaluatedImage]]]]:
    """Yield the kinds of parts of which there are several, with the images of each."""
    kinds: tuple[PartKind, ...] = ("split", "subset", "scene")
    for kind in kinds:
        names = sorted({getattr(row, kind) for row in rows} - {""})
        if len(names) > 1:
            yield kind, {name: [row for row in rows if getattr(row, kind) == name] for name in names}


def _part(kind: PartKind, name: str, rows: Sequence[EvaluatedImage], resamples: int) -> Part:
    try:
        correlation = _correlate(rows, resamples)
    except SettingError as error:
        return Part(kind=kind, name=name, count=len(rows), correlation=None, reason=str(error))
    return Part(kind=kind, name=name, count=len(rows), correlation=correlation)


def _measures(correlation: Correlation | MeanCorrelation, measures: Sequence[str] = MEASURES) -> dict[str, Any]:
    """Return each measure and its interval, None where it is not defined."""
    values: dict[str, Any] = {}
    for name in measures:
        interval: Interval | None = getattr(correlation, f"{name}_interval")
        ends = (interval.low, interval.high) if interval else ()
        number, *pair = (end if math.isfinite(end) else None for end in (getattr(correlation, name), *ends))
        values |= {name: number, f"{name}_interval": pair or None}
    return values
