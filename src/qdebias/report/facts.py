"""What a report says, as numbers: from a run folder, and from human scores where there are some."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from os.path import commonpath
from pathlib import Path, PurePath

import numpy as np

from qdebias.equations import FloatArray
from qdebias.errors import SettingError
from qdebias.evaluation.bias import Bias, deserved, fractional_ranks, measure_bias
from qdebias.evaluation.evidence import Evidence, Scores
from qdebias.evaluation.readout import read
from qdebias.methods import presets
from qdebias.methods.method import Score
from qdebias.methods.outline import outline_of
from qdebias.methods.plan import Failure
from qdebias.methods.recipe import Recipe
from qdebias.metrics.measures import Correlation, correlate
from qdebias.report.figure import words
from qdebias.runs.derive import recorded
from qdebias.runs.manifest import Manifest
from qdebias.runs.run import Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionMeans:
    """Means over all images of what the model said under one condition; `same` is None where it was not asked."""

    kind: str
    good: float
    same: float | None
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Column:
    """The images that have a score under a method.

    Attributes:
        paths: (N,) absolute.
        value: (N,) scores, higher is better.
        order: (N,) what SRCC ranks, see `qdebias.evaluation.readout`.
        failures: The images that have none, and why.
        conditions: What was said under each condition; none for a method without conditions.
    """

    paths: tuple[str, ...]
    value: FloatArray
    order: FloatArray
    failures: tuple[Failure, ...]
    conditions: tuple[ConditionMeans, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Human:
    """What people said about the images of a report.

    Attributes:
        title: The dataset.
        summary: How much of it this is.
        quality: (N,) human scores, higher is better.
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
        recipe: The method.
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
    recipe: Recipe
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Gallery:
    """A few images that have something in common: their indices, the most telling first, each with a caption."""

    title: str
    explanation: str
    indices: tuple[int, ...]
    captions: tuple[str, ...]


def read_facts(
    snapshot: Snapshot,
    *,
    method: str | Recipe,
    before: str | Recipe = "vanilla",
    seed: int = 0,
    labels: Evidence | None = None,
    resamples: int = 1000,
) -> Facts:
    """Compute the facts of a run from its stored answers.

    Args:
        snapshot: The run.
        method: The method that the report is about.
        before: The method that it is compared with, if its answers are there.
        seed: Seed of the degradations.
        labels: Human scores; the report is then about the images that have one.
        resamples: How many bootstrap resamples the intervals of the agreement have; those of the bias a fifth.

    Raises:
        SettingError: The run has no score under the method, or none of an image with a label.
    """
    recipe, compared = presets.get(method), presets.get(before)
    column = read_column(snapshot, recipe, seed=seed)
    try:
        other = read_column(snapshot, compared, seed=seed) if compared.name != recipe.name else None
    except SettingError:
        other = None
    quality = None if labels is None else _quality(labels)
    chosen = [index for index, path in enumerate(column.paths) if quality is None or path in quality]
    if not chosen:
        which = "of the labelled images" if labels is not None else "at all"
        raise SettingError(f"{snapshot.folder} has no score under {recipe.name} {which}, so there is nothing to report")
    paths = tuple(column.paths[index] for index in chosen)
    order, order_before = column.order[chosen], _aligned(other, paths, "order")
    facts = Facts(
        folder=snapshot.folder,
        manifest=snapshot.manifest,
        recipe=recipe,
        before="" if np.isnan(order_before).all() else compared.name,
        seed=seed,
        paths=paths,
        names=short_names(paths),
        value=column.value[chosen],
        value_before=_aligned(other, paths, "value"),
        rank=fractional_ranks(order),
        rank_before=_rank_known(order_before),
        failures=tuple(one for one in column.failures if quality is None or one.name in quality),
        conditions=column.conditions,
    )
    if labels is None or quality is None:
        return facts
    human = np.array([quality[path] for path in paths])
    return replace(facts, human=_human(labels, facts, human, (order, order_before), resamples))


def read_column(snapshot: Snapshot, recipe: Recipe, *, seed: int) -> Column:
    """Return the scores of a run under a method, without keeping more than numbers of each image.

    Raises:
        SettingError: The run does not answer what the method asks.
    """
    paths: list[str] = []
    readings: list[tuple[float, float]] = []
    failures: list[Failure] = []
    sums: FloatArray = np.zeros((3, 0))
    for path, result in recorded(snapshot, recipe, seed=seed):
        if isinstance(result, Failure):
            failures.append(result)
            continue
        reading = read(recipe.method, result, "exact")
        paths.append(path)
        readings.append((reading.score, reading.rank))
        same = result.same if len(result.same) else np.full(len(result.good), np.nan)
        sums = np.stack([result.good, same, result.weight]) + (sums if sums.size else 0)
    numbers = np.array(readings, dtype=np.float64).reshape(-1, 2)
    return Column(
        paths=tuple(paths),
        value=numbers[:, 0],
        order=numbers[:, 1],
        failures=tuple(failures),
        conditions=_condition_means(recipe, sums / max(len(paths), 1)),
    )


def scores_of(snapshot: Snapshot, recipe: Recipe, wanted: set[str], *, seed: int) -> dict[str, Score]:
    """Return the scores of a few images in full, by path."""
    rows = recorded(snapshot, recipe, seed=seed)
    return {path: result for path, result in rows if path in wanted and isinstance(result, Score)}


def _condition_means(recipe: Recipe, means: FloatArray) -> tuple[ConditionMeans, ...]:
    outline, columns = outline_of(recipe.method), means.T.tolist()
    if outline is None or len(outline.kinds) != len(columns):
        return ()
    return tuple(
        ConditionMeans(kind=words(kind), good=good, same=None if np.isnan(same) else same, weight=weight)
        for kind, (good, same, weight) in zip(outline.kinds, columns, strict=True)
    )


def short_names(paths: Sequence[str]) -> tuple[str, ...]:
    """Return paths without the folder that they have in common."""
    shared = commonpath([str(PurePath(path).parent) for path in paths])
    return tuple(str(PurePath(path).relative_to(shared)) for path in paths)


def _quality(labels: Evidence) -> dict[str, float]:
    return {str(Path(labels.root, name)): float(one) for name, one in zip(labels.names, labels.quality, strict=True)}


def _aligned(column: Column | None, paths: Sequence[str], what: str) -> FloatArray:
    """Return a column of another method in the order of the paths, NaN where it has none of an image."""
    known = {} if column is None else dict(zip(column.paths, getattr(column, what).tolist(), strict=True))
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
    methods = (facts.before, facts.recipe.name)
    if not (all(isinstance(labels.results.get(name), Scores) for name in methods) and labels.contents):
        return None
    return measure_bias(labels, before=methods[0], after=methods[1], resamples=resamples)


def galleries_of(facts: Facts, count: int) -> list[Gallery]:
    """Return the galleries that the facts allow, each of at most `count` images and half of them all."""
    value, ranks = facts.value, facts.rank
    count = min(count, max(1, len(value) // 2))
    scores = [f"score {one:.3f}" for one in value]
    found = [
        _gallery("Best", "The highest scores.", ranks, scores, count),
        _gallery("Worst", "The lowest scores.", -ranks, scores, count),
    ]
    if facts.before:
        places = [f"{_percent(one)} → {_percent(two)}" for one, two in zip(facts.rank_before, ranks, strict=True)]
        about = f"Place among all images under {facts.before} → under {facts.recipe.name}; 100 % is the best image."
        for title, key in (("Raised", ranks - facts.rank_before), ("Lowered", facts.rank_before - ranks)):
            found.append(_gallery(f"{title} most by debiasing", about, _positive(key), places, count))
    if facts.human is not None:
        error = ranks - deserved(ranks, facts.human.quality)
        both = [f"{one}, people {human:.3g}" for one, human in zip(scores, facts.human.quality, strict=True)]
        about = "Ranked farthest {} the images of the same human score."
        found.append(_gallery("Too high", about.format("above"), _positive(error), both, count))
        found.append(_gallery("Too low", about.format("below"), _positive(-error), both, count))
    return [gallery for gallery in found if gallery.indices]


def _positive(key: FloatArray) -> FloatArray:
    return np.where(key > 0, key, np.nan)


def _gallery(title: str, explanation: str, key: FloatArray, captions: Sequence[str], count: int) -> Gallery:
    """Return the images with the largest key; those whose key is NaN are left out."""
    indices = tuple(int(index) for index in np.argsort(-key, kind="stable")[:count] if not np.isnan(key[index]))
    return Gallery(
        title=title, explanation=explanation, indices=indices, captions=tuple(captions[index] for index in indices)
    )


def _percent(place: float) -> str:
    return "unknown" if np.isnan(place) else f"{100 * place:.0f} %"
