"""What a report says, as numbers: from a run folder, and from human scores where there are some."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from os.path import commonpath
from pathlib import Path, PurePath

import numpy as np

from qdebias.equations import FloatArray
from qdebias.errors import SettingError
from qdebias.evaluation.bias import Bias, deserved, fractional_ranks, measure_bias
from qdebias.evaluation.evidence import Evidence, Scores
from qdebias.evaluation.readout import Reading, read
from qdebias.methods import presets
from qdebias.methods.outline import outline_of
from qdebias.methods.plan import Failure, Score
from qdebias.methods.recipe import Recipe
from qdebias.metrics.measures import LEAST, Correlation, correlate
from qdebias.report.figure import words
from qdebias.runs.derive import recorded
from qdebias.runs.manifest import Manifest
from qdebias.runs.run import Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What the model said under one condition, of an image or on average; `same` is None where it was not asked.

    Attributes:
        picture: The conditional image as a data address; empty on average.
    """

    kind: str
    good: float
    same: float | None
    weight: float
    picture: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Human:
    """What people said about the images of a report.

    Attributes:
        labels: The dataset.
        quality: (N,) human scores, higher is better.
        agreement: How well the scores agree with them.
        agreement_before: How well those of the plain question do; None where it was not asked.
        bias: How far what images show decides their rank; None where that cannot be told.
    """

    labels: Evidence
    quality: FloatArray
    agreement: Correlation
    agreement_before: Correlation | None
    bias: Bias | None


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
        conditions: What was said under each condition, on average; none for a method without conditions.
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
    conditions: tuple[Condition, ...]
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
    found = _read(snapshot, recipe, seed)
    other: dict[str, Reading] = {}
    if compared.name != recipe.name:
        with suppress(SettingError):
            other = _read(snapshot, compared, seed).readings
    quality: dict[str, float] | None = None
    if labels is not None:
        paths = (str(Path(labels.root, name)) for name in labels.names)
        quality = dict(zip(paths, labels.quality.tolist(), strict=True))
    chosen = tuple(path for path in found.readings if quality is None or path in quality)
    if not chosen:
        which = "of the labelled images" if labels is not None else "at all"
        raise SettingError(f"{snapshot.folder} has no score under {recipe.name} {which}, so there is nothing to report")
    (value, order), (value_before, order_before) = (_columns(one, chosen) for one in (found.readings, other))
    known = ~np.isnan(order_before)
    rank_before = np.full(len(chosen), np.nan)
    rank_before[known] = fractional_ranks(order_before[known])
    facts = Facts(
        folder=snapshot.folder,
        manifest=snapshot.manifest,
        recipe=recipe,
        before=compared.name if known.any() else "",
        seed=seed,
        paths=chosen,
        names=short_names(chosen),
        value=value,
        value_before=value_before,
        rank=fractional_ranks(order),
        rank_before=rank_before,
        failures=tuple(one for one in found.failures if quality is None or one.name in quality),
        conditions=found.conditions,
    )
    if labels is None or quality is None:
        return facts
    human = np.array([quality[path] for path in chosen])
    return replace(facts, human=_human(labels, facts, human, (order, order_before), resamples))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """The scores of a run under a method, without more than numbers of each image."""

    readings: dict[str, Reading]
    failures: list[Failure]
    conditions: tuple[Condition, ...]


def _read(snapshot: Snapshot, recipe: Recipe, seed: int) -> _Found:
    """Return the scores; raises SettingError where the run does not answer what the method asks."""
    readings: dict[str, Reading] = {}
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
        Condition(kind=words(kind), good=good, same=None if np.isnan(same) else same, weight=weight)
        for kind, (good, same, weight) in zip(kinds, means, strict=False)
    )
    return _Found(readings=readings, failures=failures, conditions=conditions)


def scores_of(snapshot: Snapshot, recipe: Recipe, wanted: set[str], *, seed: int) -> dict[str, Score]:
    """Return the scores of a few images in full, by path."""
    rows = recorded(snapshot, recipe, seed=seed)
    return {path: result for path, result in rows if path in wanted and isinstance(result, Score)}


def short_names(paths: Sequence[str]) -> tuple[str, ...]:
    """Return paths without the folder that they have in common."""
    shared = commonpath([str(PurePath(path).parent) for path in paths])
    return tuple(str(PurePath(path).relative_to(shared)) for path in paths)


def _columns(readings: Mapping[str, Reading], paths: Sequence[str]) -> tuple[FloatArray, FloatArray]:
    """Return (N,) the scores and what SRCC ranks, in the order of the paths; NaN where an image has none."""
    unknown = Reading(score=np.nan, rank=np.nan)
    found = [readings.get(path, unknown) for path in paths]
    return np.array([one.score for one in found]), np.array([one.rank for one in found])


def _human(
    labels: Evidence, facts: Facts, quality: FloatArray, orders: tuple[FloatArray, FloatArray], resamples: int
) -> Human:
    """Compare the scores with (N,) human ones; `orders` is what SRCC ranks under either method."""
    agreements = []
    for value, order in zip((facts.value, facts.value_before), orders, strict=True):
        known = ~np.isnan(value)
        columns = value[known], quality[known]
        few = known.sum() < LEAST
        agreements.append(None if few else correlate(*columns, ranked_by=order[known], resamples=resamples))
    if agreements[0] is None:
        raise SettingError(f"{len(quality)} images with both scores are too few to be compared with people")
    before, after = facts.before, facts.recipe.name
    told = all(isinstance(labels.results.get(name), Scores) for name in (before, after)) and labels.contents
    return Human(
        labels=labels,
        quality=quality,
        agreement=agreements[0],
        agreement_before=agreements[1],
        bias=measure_bias(labels, before=before, after=after, resamples=resamples // 5) if told else None,
    )


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
        places = [
            " → ".join("unknown" if np.isnan(place) else f"{100 * place:.0f} %" for place in pair)
            for pair in zip(facts.rank_before, ranks, strict=True)
        ]
        about = f"Place among all images under {facts.before} → under {facts.recipe.name}; 100 % is the best image."
        for title, key in (("Raised", ranks - facts.rank_before), ("Lowered", facts.rank_before - ranks)):
            found.append(_gallery(f"{title} most by debiasing", about, np.where(key > 0, key, np.nan), places, count))
    if facts.human is not None:
        error = ranks - deserved(ranks, facts.human.quality)
        both = [f"{one}, people {human:.3g}" for one, human in zip(scores, facts.human.quality, strict=True)]
        about = "Ranked farthest {} the images of the same human score."
        found.append(_gallery("Too high", about.format("above"), np.where(error > 0, error, np.nan), both, count))
        found.append(_gallery("Too low", about.format("below"), np.where(error < 0, -error, np.nan), both, count))
    return [gallery for gallery in found if gallery.indices]


def _gallery(title: str, explanation: str, key: FloatArray, captions: Sequence[str], count: int) -> Gallery:
    """Return the images with the largest key; those whose key is NaN are left out."""
    indices = tuple(int(index) for index in np.argsort(-key, kind="stable")[:count] if not np.isnan(key[index]))
    return Gallery(
        title=title, explanation=explanation, indices=indices, captions=tuple(captions[index] for index in indices)
    )
