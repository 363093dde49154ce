"""What a report says, as numbers: from a run folder, and from human scores where there are some."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from os.path import commonpath
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np

from qdebias.equations import FloatArray
from qdebias.errors import SettingError
from qdebias.evaluation.bias import Bias, deserved, fractional_ranks, measure_bias
from qdebias.evaluation.evidence import Evidence, Scores, read
from qdebias.methods import presets
from qdebias.methods.outline import outline_of
from qdebias.methods.plan import Failure
from qdebias.methods.recipe import Recipe
from qdebias.metrics.measures import LEAST, Correlation, correlate
from qdebias.report.figure import words
from qdebias.runs.derive import recorded
from qdebias.runs.manifest import Manifest
from qdebias.runs.run import Snapshot


class Condition(NamedTuple):
    """What the model said under one condition on average; `same` is None where it was not asked."""

    kind: str
    good: float
    same: float | None
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Human:
    """The human scores of the images of a report, (N,), and how well the scores agree with them.

    `agreement_before` is that of the plain question, None where it was not asked; `bias` is None where the labels do
    not tell what images show.
    """

    labels: Evidence
    quality: FloatArray
    agreement: Correlation
    agreement_before: Correlation | None
    bias: Bias | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Facts:
    """A run under one method, beside the plain question where that was asked too.

    `paths` are those of the (N,) images that have a score, and `rank` is the place of each score among all, in (0, 1);
    `before`, what it is compared with, may be empty and then its scores and ranks are NaN. `conditions` are averages,
    none for a method without conditions.
    """

    folder: Path
    manifest: Manifest
    recipe: Recipe
    before: str
    seed: int
    paths: tuple[str, ...]
    value: FloatArray
    value_before: FloatArray
    rank: FloatArray
    rank_before: FloatArray
    failures: tuple[Failure, ...]
    conditions: tuple[Condition, ...]
    human: Human | None


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
    """Compute the facts of a run from its stored answers, beside the method `before` if its answers are there.

    With human scores the report is about the images that have one; the intervals of the agreement have so many
    resamples, those of the bias a fifth.
    """
    recipe, compared = presets.get(method), presets.get(before)
    readings, failures, conditions = _read(snapshot, recipe, seed)
    other: dict[str, tuple[float, float]] = {}
    if compared.name != recipe.name:
        with suppress(SettingError):
            other, _, _ = _read(snapshot, compared, seed)
    quality: dict[str, float] | None = None
    if labels is not None:
        labelled = (str(Path(labels.root, name)) for name in labels.names)
        quality = dict(zip(labelled, labels.quality.tolist(), strict=True))
    chosen = tuple(path for path in readings if quality is None or path in quality)
    if not chosen:
        which = "of the labelled images" if labels is not None else "at all"
        raise SettingError(f"{snapshot.folder} has no score under {recipe.name} {which}, so there is nothing to report")
    value, order = np.array([readings[path] for path in chosen]).T
    value_before, order_before = np.array([other.get(path, (np.nan, np.nan)) for path in chosen]).T
    known = ~np.isnan(order_before)
    rank_before = np.full(len(chosen), np.nan)
    rank_before[known] = fractional_ranks(order_before[known])
    human, other_name = None, compared.name if known.any() else ""
    if labels is not None and quality is not None:
        columns, names = (value, order, value_before, order_before), (other_name, recipe.name)
        human = _human(labels, np.array([quality[path] for path in chosen]), columns, names, resamples)
    return Facts(
        folder=snapshot.folder,
        manifest=snapshot.manifest,
        recipe=recipe,
        before=other_name,
        seed=seed,
        paths=chosen,
        value=value,
        value_before=value_before,
        rank=fractional_ranks(order),
        rank_before=rank_before,
        failures=tuple(one for one in failures if quality is None or one.name in quality),
        conditions=conditions,
        human=human,
    )


def _read(
    snapshot: Snapshot, recipe: Recipe, seed: int
) -> tuple[dict[str, tuple[float, float]], list[Failure], tuple[Condition, ...]]:
    """Return the scores by path, the failures and the average conditions, or raise where answers are missing."""
    readings: dict[str, tuple[float, float]] = {}
    failures: list[Failure] = []
    sums: FloatArray = np.zeros((3, 0))
    for path, result in recorded(snapshot, recipe, seed=seed):
        if isinstance(result, Failure):
            failures.append(result)
            continue
        readings[path] = read(recipe.method, result, "exact")
        same = result.same if len(result.same) else np.full(len(result.good), np.nan)
        sums = np.stack([result.good, same, result.weight]) + (sums if sums.size else 0)
    outline, means = outline_of(recipe.method), (sums / max(len(readings), 1)).T.tolist()
    kinds = () if outline is None or len(outline.kinds) != len(means) else outline.kinds
    conditions = tuple(
        Condition(words(kind), good, None if np.isnan(same) else same, weight)
        for kind, (good, same, weight) in zip(kinds, means, strict=False)
    )
    return readings, failures, conditions


def short_names(paths: Sequence[str]) -> tuple[str, ...]:
    """Return paths without the folder that they have in common."""
    shared = commonpath([str(PurePath(path).parent) for path in paths])
    return tuple(str(PurePath(path).relative_to(shared)) for path in paths)


def _human(
    labels: Evidence, quality: FloatArray, columns: Sequence[FloatArray], names: tuple[str, str], resamples: int
) -> Human:
    """Compare scores and what SRCC ranks, those of the other method behind them, with (N,) human scores."""
    agreements: list[Correlation | None] = []
    for value, order in (columns[:2], columns[2:]):
        known = ~np.isnan(value)
        found = None
        if known.sum() >= LEAST:
            found = correlate(value[known], quality[known], ranked_by=order[known], resamples=resamples)
        agreements.append(found)
    if agreements[0] is None:
        raise SettingError(f"{len(quality)} images with both scores are too few to be compared with people")
    told = not any(labels.results.get(name, Scores(not_run="not asked")).not_run for name in names) and labels.contents
    bias = measure_bias(labels, before=names[0], after=names[1], resamples=resamples // 5) if told else None
    return Human(labels=labels, quality=quality, agreement=agreements[0], agreement_before=agreements[1], bias=bias)


def galleries_of(facts: Facts, count: int) -> list[Gallery]:
    """Return the galleries that the facts allow, each of at most `count` images and half of them all."""
    value, ranks, found = facts.value, facts.rank, []
    count = min(count, max(1, len(value) // 2))

    def add(title: str, explanation: str, key: FloatArray, captions: Sequence[str]) -> None:
        """Add the images with the largest key; those whose key is NaN are left out."""
        indices = [int(index) for index in np.argsort(-key, kind="stable")[:count] if not np.isnan(key[index])]
        if indices:
            shown = tuple(captions[index] for index in indices)
            found.append(Gallery(title=title, explanation=explanation, indices=tuple(indices), captions=shown))

    scores = [f"score {one:.3f}" for one in value]
    add("Best", "The highest scores.", ranks, scores)
    add("Worst", "The lowest scores.", -ranks, scores)
    if facts.before:
        places = [
            " → ".join("unknown" if np.isnan(place) else f"{100 * place:.0f} %" for place in pair)
            for pair in zip(facts.rank_before, ranks, strict=True)
        ]
        about = f"Place among all images under {facts.before} → under {facts.recipe.name}; 100 % is the best image."
        for title, key in (("Raised", ranks - facts.rank_before), ("Lowered", facts.rank_before - ranks)):
            add(f"{title} most by debiasing", about, np.where(key > 0, key, np.nan), places)
    if facts.human is not None:
        error = ranks - deserved(ranks, facts.human.quality)
        both = [f"{one}, people {human:.3g}" for one, human in zip(scores, facts.human.quality, strict=True)]
        about = "Ranked farthest {} the images of the same human score."
        add("Too high", about.format("above"), np.where(error > 0, error, np.nan), both)
        add("Too low", about.format("below"), np.where(error < 0, -error, np.nan), both)
    return found
