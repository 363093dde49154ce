"""Everything that a report says, as numbers: from a run folder, and from human scores where there are some."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from os.path import commonpath
from pathlib import Path, PurePath

import numpy as np

from qdebias.equations import FloatArray
from qdebias.errors import SettingError
from qdebias.evaluation.bias import Bias, fractional_ranks, measure_bias
from qdebias.evaluation.evidence import Evidence, Scores
from qdebias.methods.plan import Failure
from qdebias.metrics.measures import Correlation, correlate
from qdebias.report.html.columns import ConditionMeans, MethodColumn, read_column
from qdebias.runs.manifest import Manifest
from qdebias.runs.run import Snapshot


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Human:
    """What people said about the images of a report.

    Attributes:
        title: The dataset.
        summary: How much of it this is.
        quality: (N,) human scores, higher is better; NaN for an image that the dataset does not have.
        agreement: How well the scores agree with them.
        agreement_before: How well those of the plain question do; None where it was not asked.
        bias: How far what images show decides their rank; None where that cannot be told.
        notes: What has to be known about the labels.
    """

    title: str
    summary: str
    quality: FloatArray
    agreement: Correlation
    agreement_before: Correlation | None
    bias: Bias | None
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Facts:
    """A run under one method, beside the plain question where that was asked too.

    Attributes:
        folder: The run folder.
        manifest: The model, its environment, the questions.
        method: Name of the method.
        before: Name of the method that it is compared with; empty where there is none.
        seed: Seed of the degradations.
        paths: (N,) the images that have a score, by path.
        names: (N,) the same without what all of them begin with.
        value: (N,) scores in [0, 1].
        value_before: (N,) scores of the other method; NaN where there is none.
        rank: (N,) place of each score among all, in (0, 1).
        rank_before: (N,) likewise; NaN where there is none.
        failures: Images without a score.
        conditions: What was said under each condition, on average.
        human: What people said; None where that is not known.
    """

    folder: Path
    manifest: Manifest
    method: str
    before: str
    seed: int
    paths: tuple[str, ...]
    names: tuple[str, ...]
    value: FloatArray
    value_before: FloatArray
    rank: FloatArray
    rank_before: FloatArray
    failures: tuple[Failure, ...]
    conditions: tuple[ConditionMeans, ...]
    human: Human | None = None


def gather(
    snapshot: Snapshot,
    *,
    method: str,
    before: str = "vanilla",
    seed: int = 0,
    labels: Evidence | None = None,
    resamples: int = 1000,
) -> Facts:
    """Compute the facts of a run from its stored answers.

    Args:
        snapshot: The run.
        method: Name of the method that the report is about.
        before: Name of the method that it is compared with, if its answers are there.
        seed: Seed of the degradations.
        labels: Human scores; the report is then about the images that have one.
        resamples: How many bootstrap resamples the intervals of the agreement have; those of the bias a fifth.

    Raises:
        SettingError: The run has no score under the method, or none of an image with a label.
    """
    column = read_column(snapshot, method, seed=seed)
    other = _column_or_none(snapshot, before, seed) if before != method else None
    quality = None if labels is None else _quality(labels)
    chosen = [place for place, path in enumerate(column.paths) if quality is None or path in quality]
    if not chosen:
        which = "of the labelled images" if labels is not None else "at all"
        raise SettingError(f"{snapshot.folder} has no score under {method} {which}, so there is nothing to report")
    paths = tuple(column.paths[place] for place in chosen)
    order, order_before = column.order[chosen], _aligned(other, paths, "order")
    failures = [one for one in column.failures if quality is None or one.name in quality]
    facts = Facts(
        folder=snapshot.folder,
        manifest=snapshot.manifest,
        method=method,
        before="" if np.isnan(order_before).all() else before,
        seed=seed,
        paths=paths,
        names=short_names(paths),
        value=column.value[chosen],
        value_before=_aligned(other, paths, "value"),
        rank=fractional_ranks(order),
        rank_before=_rank_known(order_before),
        failures=tuple(failures),
        conditions=column.conditions,
    )
    if labels is None or quality is None:
        return facts
    given = np.array([quality[path] for path in paths])
    return replace(facts, human=_human(labels, facts, given, (order, order_before), resamples))


def short_names(paths: Sequence[str]) -> tuple[str, ...]:
    """Return paths without the folder that they have in common."""
    shared = commonpath([str(PurePath(path).parent) for path in paths])
    return tuple(str(PurePath(path).relative_to(shared)) for path in paths)


def _column_or_none(snapshot: Snapshot, name: str, seed: int) -> MethodColumn | None:
    try:
        return read_column(snapshot, name, seed=seed)
    except SettingError:
        return None


def _quality(labels: Evidence) -> dict[str, float]:
    return {str(Path(labels.root, name)): float(one) for name, one in zip(labels.names, labels.quality, strict=True)}


def _aligned(column: MethodColumn | None, paths: Sequence[str], what: str) -> FloatArray:
    """Return a column of another method in the order of the paths, NaN where it has none of an image."""
    if column is None:
        return np.full(len(paths), np.nan)
    known = dict(zip(column.paths, getattr(column, what).tolist(), strict=True))
    return np.array([known.get(path, np.nan) for path in paths], dtype=np.float64)


def _rank_known(order: FloatArray) -> FloatArray:
    """Return the rank of what is known among what is known, NaN elsewhere."""
    known = ~np.isnan(order)
    ranks = np.full(len(order), np.nan)
    ranks[known] = fractional_ranks(order[known])
    return ranks


def _human(
    labels: Evidence, facts: Facts, quality: FloatArray, orders: tuple[FloatArray, FloatArray], resamples: int
) -> Human:
    """Compare the scores with (N,) human ones; `orders` is what SRCC ranks under either method."""
    agreement, agreement_before = (
        _agreement(value, quality, ranked_by, resamples)
        for value, ranked_by in zip((facts.value, facts.value_before), orders, strict=True)
    )
    if agreement is None:
        raise SettingError(f"{len(quality)} images with both scores are too few to be compared with people")
    return Human(
        title=labels.title,
        summary=labels.summary,
        quality=quality,
        agreement=agreement,
        agreement_before=agreement_before,
        bias=_bias(labels, facts, resamples // 5),
        notes=labels.notes,
    )


def _agreement(value: FloatArray, quality: FloatArray, order: FloatArray, resamples: int) -> Correlation | None:
    """Correlate what is known with the human scores; None where that is less than three images."""
    known = ~np.isnan(value)
    if known.sum() < 3:
        return None
    return correlate(value[known], quality[known], ranked_by=order[known], resamples=resamples)


def _bias(labels: Evidence, facts: Facts, resamples: int) -> Bias | None:
    """Measure the bias by content where the labels and the stored scores allow it."""
    have = [isinstance(labels.results.get(name), Scores) for name in (facts.before, facts.method)]
    if not (facts.before and labels.contents and all(have)):
        return None
    return measure_bias(labels, before=facts.before, after=facts.method, resamples=resamples)
