"""Ranking images by asking which of two is better, in both orders, through a run folder that keeps every answer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from qdebias.backends.base import Backend
from qdebias.equations import FloatArray, sigmoid
from qdebias.errors import SettingError
from qdebias.evaluation.pairs import ImageFile, Limits, Pair, PairComparer, read_digests
from qdebias.evaluation.strengths import (
    LEAST_ANCHORS,
    MOST_ANCHORS,
    Strengths,
    bradley_terry,
    check_count,
    rings,
    strengths_against,
)
from qdebias.image import MAX_PIXELS
from qdebias.prompts import Question
from qdebias.runs.records import Record, Row
from qdebias.runs.run import Run

QUESTIONS: Mapping[str, Question] = {
    about: Question(
        text=f"Which image {verb}, the first or the second?",
        answer_prefix=f"The {noun} is the",
        options=(" first", " second"),
        values=(1.0, 0.0),
    )
    for about, verb, noun in (
        ("quality", "has better visual quality", "image with better visual quality"),
        ("sharpness", "is sharper", "sharper image"),
        ("noise", "has less noise", "image with less noise"),
        ("exposure", "is better exposed", "better exposed image"),
        ("aesthetics", "is more aesthetically pleasing", "more aesthetically pleasing image"),
    )
}
"""Each question by what it is about; the value of an option is 1 where the first image is the better one.

Two-alternative forced choice, as in 2AFC prompting of LMMs and Compare2Score (Zhu et al., 2024); the words are ours.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked(Row):
    """An image and its place, or why it has none.

    Attributes:
        rank: 1 is the best; images of equal strength share a rank, and the next one is as far behind as they are many.
        path: The image as it was named.
        strength: See `qdebias.evaluation.strengths.Strengths`: by the model, exp(a - b) are the odds that a is better
            than b.
        standard_error: Standard error of the strength; None where nothing tells it.
        low: Lower end of the 95 % interval, strength - 1.96 standard errors.
        high: Upper end.
        opponents: With how many others it was compared.
        error: Why it has no place; None where it has one.
    """

    rank: int | None = None
    path: str
    strength: float | None = None
    standard_error: float | None = None
    low: float | None = None
    high: float | None = None
    opponents: int = 0
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchoredRecord(Record):
    """The score of an image against anchors; the further columns are those of `Ranked`.

    Its log-odds are the strength, and the score the probability that it is better than an anchor of mean strength.
    """

    standard_error: float | None = None
    low: float | None = None
    high: float | None = None
    opponents: int = 0


def anchored_record(row: Ranked, *, model: str, method: str) -> AnchoredRecord:
    """Return the row of an image that was compared with anchors."""
    return AnchoredRecord(
        path=row.path,
        score=None if row.strength is None else float(sigmoid(row.strength)),
        error=row.error,
        model=model,
        method=method,
        seed=0,
        log_odds=row.strength,
        standard_error=row.standard_error,
        low=row.low,
        high=row.high,
        opponents=row.opponents,
    )


Places: TypeAlias = npt.NDArray[np.intp]

NORMAL = 1.96
"""Standard errors from the middle to the ends of a 95 % interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """Images in order, and how the model answered.

    Attributes:
        rows: The best first, those of equal strength by path; at the end those that could not be ranked.
        pairs: How many pairs were answered about, each in both orders.
        first: Mean log-odds by which the model prefers the first image, whatever it is; it cancels in the strengths.
        swayed: Share of the pairs of which the model names the same place in both orders, so that what it prefers
            depends on the order.
    """

    rows: tuple[Ranked, ...]
    pairs: int
    first: float
    swayed: float


def rank(
    paths: Sequence[Path],
    *,
    backend: Backend,
    run: Run,
    question: Question = QUESTIONS["quality"],
    opponents: int = 8,
    seed: int = 0,
    batch: int = 4,
    max_pixels: int = MAX_PIXELS,
    max_side: int | None = None,
    anchors: Sequence[Path] = (),
    on_progress: Callable[[int, int], None] | None = None,
) -> Ranking:
    """Rank images by asking which of two is better.

    Each pair is asked about in both orders, and the mean of the two log-odds counts, so that a constant preference for
    the first or the second place cancels. Files of the same pixels are one image and share its rank. Stopped at any
    point, the same call resumes from there.

    Args:
        paths: Image files.
        backend: The model; it has to take two images.
        run: Its run folder.
        question: What is asked: an own one has two options, the first of which says that the first image is better.
        opponents: With how many others each image is compared, see `rings`.
        seed: Which pairs are compared, see `rings`.
        batch: How many pairs are handed to the model at a time.
        max_pixels: Larger images are refused.
        max_side: See `qdebias.Scorer`; the run folder is of this size.
        anchors: Image files, always the same, that each image is compared with instead of the others, see
            `qdebias.evaluation.strengths`; opponents and seed have no say then. None: images are compared with
            each other.
        on_progress: Is told how many pairs are done, and of how many.

    Raises:
        SettingError: Fewer than two different images can be ranked, or too many; or a setting is out of range.
        BackendError: The model cannot answer.
        StoreError: The run folder cannot be written.
    """
    if len(question.options) != 2 or batch < 1:
        raise SettingError(
            f"a comparison has two options, for the first image and for the second, and a batch of 1 or more; got "
            f"{question.options} and {batch}"
        )
    limits = Limits(max_pixels=max_pixels, max_side=max_side)
    files = list(read_digests(list(dict.fromkeys(paths)), limits))
    images = list({one.digest: one for one in reversed(files) if one.digest}.values())[::-1]
    fixed = _anchors(anchors, limits) if anchors else []
    pairs = _pairs(images, fixed, opponents, seed)
    comparer = PairComparer(run, backend, question, batch=batch, limits=limits)
    for done in comparer.ask(pairs):
        if on_progress is not None:
            on_progress(done, len(pairs))
    answered = {pair: margins for pair in pairs if (margins := comparer.margins(pair)) is not None}
    if fixed:
        return _anchored(files, images, fixed, answered, comparer.errors)
    return _ranking(files, images, answered, comparer.errors)


def _pairs(images: Sequence[ImageFile], anchors: Sequence[ImageFile], opponents: int, seed: int) -> list[Pair]:
    """Return what is compared: all anchors, and each image with every one that is not itself; else rings of images."""
    if anchors:
        beside = ((one, mark) for one in images for mark in anchors if one.digest != mark.digest)
        return [*combinations(anchors, 2), *beside]
    check_count(len(images))
    return [(images[a], images[b]) for a, b in rings([one.digest for one in images], opponents=opponents, seed=seed)]


def _anchors(paths: Sequence[Path], limits: Limits) -> list[ImageFile]:
    """Return the anchors, or raise: without one of them the scale is another."""
    files = list(read_digests(list(dict.fromkeys(paths)), limits))
    for one in files:
        if one.error:
            raise SettingError(f"an anchor cannot be read, and without it the scale would be another: {one.error}")
    found = list({one.digest: one for one in files}.values())
    if not LEAST_ANCHORS <= len(found) <= MOST_ANCHORS:
        raise SettingError(f"a scale needs {LEAST_ANCHORS} to {MOST_ANCHORS} different anchors, got {len(found)}")
    return found


def _anchored(
    files: Sequence[ImageFile],
    images: Sequence[ImageFile],
    anchors: Sequence[ImageFile],
    answered: Mapping[Pair, tuple[float, float]],
    errors: Mapping[Pair, str],
) -> Ranking:
    lost = next((pair for pair in combinations(anchors, 2) if pair not in answered), None)
    if lost is not None:
        raise SettingError(f"the model cannot compare two anchors, so there is no scale: {errors[lost]}")
    scale = _ranking(anchors, anchors, {pair: answered[pair] for pair in combinations(anchors, 2)}, {})
    strength = {row.path: row.strength for row in scale.rows}
    values = np.array([strength[str(mark.path)] for mark in anchors], dtype=np.float64)
    log_odds = np.full((len(images), len(anchors)), np.nan)
    for row, one in enumerate(images):
        for column, mark in enumerate(anchors):
            if (one, mark) in answered:
                log_odds[row, column] = np.mean(answered[one, mark])
    made = _rows(strengths_against(values, log_odds), np.isfinite(log_odds).sum(axis=1))
    rows = {one.digest: row for one, row in zip(images, made, strict=True) if row.opponents}
    return _found([_row(one, rows.get(one.digest), errors) for one in files], np.array(list(answered.values())))


def _found(rows: Sequence[Ranked], margins: FloatArray) -> Ranking:
    """Return the ranking: each row with its rank, those that have none at the end."""
    strengths = np.array([row.strength for row in rows if row.strength is not None])
    placed = [
        row if row.strength is None else replace(row, rank=1 + int((strengths > row.strength).sum())) for row in rows
    ]
    return Ranking(
        rows=tuple(sorted(placed, key=lambda row: (row.rank is None, row.rank or 0, row.path))),
        pairs=len(margins),
        first=float((margins[:, 0] - margins[:, 1]).mean() / 2),
        swayed=float(np.mean(margins[:, 0] * margins[:, 1] < 0)),
    )


def _ranking(
    files: Sequence[ImageFile],
    images: Sequence[ImageFile],
    answered: Mapping[Pair, tuple[float, float]],
    errors: Mapping[Pair, str],
) -> Ranking:
    places = {one.digest: place for place, one in enumerate(images)}
    ends = np.array([[places[one.digest] for one in pair] for pair in answered], dtype=np.intp).reshape(-1, 2)
    margins = np.array(list(answered.values()), dtype=np.float64).reshape(-1, 2)
    members = _largest_component(len(images), ends)
    if len(members) < 2:
        why = next(iter([*errors.values(), *(one.error for one in files if one.error)]), "there is one image alone")
        raise SettingError(f"a ranking needs two or more different images that can be compared: {why}")
    inside = np.isin(ends[:, 0], members)
    found = bradley_terry(len(members), np.searchsorted(members, ends[inside]), margins[inside].mean(axis=1))
    opponents = np.bincount(ends[inside].ravel(), minlength=len(images))[members]
    rows = dict(zip((images[place].digest for place in members), _rows(found, opponents), strict=True))
    return _found([_row(one, rows.get(one.digest), errors) for one in files], margins)


def _rows(found: Strengths, opponents: Places) -> list[Ranked]:
    """Return the row of each image that has a strength, still without rank and path."""
    rows = []
    for value, error, count in zip(found.value.tolist(), found.error.tolist(), opponents.tolist(), strict=True):
        known = np.isfinite(error)
        rows.append(
            Ranked(
                path="",
                strength=value,
                standard_error=error if known else None,
                low=value - NORMAL * error if known else None,
                high=value + NORMAL * error if known else None,
                opponents=count,
            )
        )
    return rows


def _row(file: ImageFile, row: Ranked | None, errors: Mapping[Pair, str]) -> Ranked:
    if row is not None:
        return replace(row, path=str(file.path))
    own = (error for pair, error in errors.items() if file.digest in (pair[0].digest, pair[1].digest))
    why = file.error or next(own, f"{file.path}: is not connected with the others by comparisons")
    return Ranked(path=str(file.path), error=why)


def _largest_component(count: int, pairs: Places) -> Places:
    """Return the places of the most images that are connected by comparisons, in ascending order."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    _, labels = connected_components(graph, directed=False)
    return np.flatnonzero(labels == np.argmax(np.bincount(labels))) if count else np.empty(0, dtype=np.intp)
