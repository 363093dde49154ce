"""Ranking images by asking which of two is better, in both orders, through a run folder that keeps every answer."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from typing import TypeAlias

import numpy as np

from qdebias.backends.base import Backend
from qdebias.equations import sigmoid
from qdebias.errors import ImageError, SettingError
from qdebias.evaluation.strengths import LEAST_ANCHORS, MOST_ANCHORS, against, bradley_terry, check_count, rings
from qdebias.image import MAX_PIXELS, RgbImage, digest, downsized, load_image
from qdebias.methods.outline import answer_key, question_id
from qdebias.prompts import Question, Request
from qdebias.runs.records import Record, Row
from qdebias.runs.run import Run
from qdebias.runs.stored import StoredBackend

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
    """An image and its place, or why it has none; those of equal strength share a rank, 1 is the best.

    By the Bradley-Terry model, exp(a - b) are the odds that an image of strength a is better than one of strength b.
    `low` and `high` are the 95 % interval, 1.96 standard errors to either side; None where nothing tells them.
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
    """An image beside anchors: the strength as log-odds, and P(better than an anchor of mean strength) as score."""

    standard_error: float | None = None
    low: float | None = None
    high: float | None = None
    opponents: int = 0


def anchored_record(row: Ranked, *, model: str, method: str) -> AnchoredRecord:
    """Return the row of an image that was compared with anchors."""
    same = asdict(row)
    del same["rank"], same["strength"]
    score = None if row.strength is None else float(sigmoid(row.strength))
    return AnchoredRecord(score=score, log_odds=row.strength, model=model, method=method, seed=0, **same)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """Images in order, the best first and those without a rank last; and how the model answered about so many pairs.

    `first` is the mean log-odds by which it prefers the first image, whatever that is (it cancels in the strengths),
    and `swayed` the share of the pairs of which it names the same place in both orders.
    """

    rows: tuple[Ranked, ...]
    pairs: int
    first: float
    swayed: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFile:
    """A file and `qdebias.image.digest` of its pixels, or why it cannot be read."""

    path: Path
    digest: str = ""
    error: str = ""


Loader: TypeAlias = Callable[[Path], RgbImage]


def loader(max_pixels: int, max_side: int | None) -> Loader:
    """Return what loads images: larger ones than `max_pixels` are refused, others made as small as `max_side`."""

    def load(path: Path) -> RgbImage:
        image = load_image(path, max_pixels=max_pixels)
        return image if max_side is None else downsized(image, max_side, name=str(path))

    return load


def read_digests(paths: Sequence[Path], load: Loader) -> list[ImageFile]:
    """Return what each file holds, each file once; no pixels are kept."""

    def read(path: Path) -> ImageFile:
        try:
            return ImageFile(path=path, digest=digest(load(path)))
        except ImageError as error:
            return ImageFile(path=path, error=str(error))

    with ThreadPoolExecutor(2, thread_name_prefix="qdebias-load") as pool:
        return list(pool.map(read, dict.fromkeys(paths)))


Pair: TypeAlias = tuple[ImageFile, ImageFile]
Margins: TypeAlias = tuple[float, float]
"""The log-odds that the first of a pair is better, asked in this order and in the other."""


def _answered(
    pairs: Sequence[Pair],
    run: Run,
    backend: Backend,
    question: Question,
    batch: int,
    load: Loader,
    on_progress: Callable[[int, int], None],
) -> tuple[dict[Pair, Margins], dict[Pair, str]]:
    """Ask in both orders about the pairs that the run does not know, and return what it knows then, and why not all."""
    stored, errors = StoredBackend(backend, run), dict[Pair, str]()

    @lru_cache(2 * batch + 2)  # pairs after one another share images
    def pixels(file: ImageFile) -> RgbImage:
        image = load(file.path)
        if stored.digest_of(image) != file.digest:
            raise ImageError(f"{file.path}: changed while it was being ranked; rank again")
        return image

    def known(pair: Pair) -> Margins | None:
        digests, asked = (pair[0].digest, pair[1].digest), question_id("before", question)
        first, second = (run.index.logits(answer_key(run.identity, both, asked)) for both in (digests, digests[::-1]))
        if first is None or second is None:
            return None
        return float(first[0] - first[1]), -float(second[0] - second[1])

    def ask(some: Sequence[Pair]) -> None:
        """Ask about all at once; where an image is refused, find out in which pair it is and keep the others."""
        try:
            both = [order for pair in some for order in (pair, pair[::-1])]
            requests = [Request(images=tuple(map(pixels, order)), questions=(question,)) for order in both]
            stored.option_logits(requests)
        except ImageError as error:
            if len(some) == 1:
                errors[some[0]] = str(error)
                return
            for pair in some:
                ask([pair])

    missing = [pair for pair in pairs if known(pair) is None]
    for start in range(0, len(missing), batch):
        some = missing[start : start + batch]
        ask(some)
        on_progress(len(pairs) - len(missing) + start + len(some), len(pairs))
    return {pair: margins for pair in pairs if (margins := known(pair)) is not None}, errors


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
    """Rank images by asking a model that takes two images which of two is better.

    Each pair is asked about in both orders, and the mean of the two log-odds counts, so that a constant preference for
    the first or the second place cancels. Files of the same pixels are one image and share its rank. Stopped at any
    point, the same call resumes from there: the run folder, which is of images of `max_side`, keeps every answer.

    `opponents` and `seed` say which pairs are compared, `batch` of them at a time, see `rings`; or each image is
    compared with `anchors`, which are always the same, instead of the others. `on_progress` is told how many pairs are
    done, and of how many.
    """
    if len(question.options) != 2 or batch < 1:
        raise SettingError(
            f"a comparison has two options, for the first image and for the second, and a batch of 1 or more; got "
            f"{question.options} and {batch}"
        )
    load = loader(max_pixels, max_side)
    files = read_digests(paths, load)
    images = list({one.digest: one for one in reversed(files) if one.digest}.values())[::-1]
    fixed = _anchors(anchors, load) if anchors else []
    if fixed:
        beside = ((one, mark) for one in images for mark in fixed if one.digest != mark.digest)
        pairs = [*combinations(fixed, 2), *beside]
    else:
        check_count(len(images))
        places = rings([one.digest for one in images], opponents=opponents, seed=seed)
        pairs = [(images[first], images[second]) for first, second in places]
    answered, errors = _answered(pairs, run, backend, question, batch, load, on_progress or (lambda *_: None))
    found = _on_scale(images, fixed, answered, errors) if fixed else _fitted(images, answered)
    if not (found or fixed):
        why = [*errors.values(), *(one.error for one in files if one.error), "there is one image alone"][0]
        raise SettingError(f"a ranking needs two or more different images that can be compared: {why}")
    rows = _rows(files, found, errors)
    both = np.array(list(answered.values()))
    return Ranking(
        rows=tuple(sorted(rows, key=lambda row: (row.rank is None, row.rank or 0, row.path))),
        pairs=len(both),
        first=float((both[:, 0] - both[:, 1]).mean() / 2),
        swayed=float(np.mean(both[:, 0] * both[:, 1] < 0)),
    )


def _anchors(paths: Sequence[Path], load: Loader) -> list[ImageFile]:
    """Return the anchors, or raise: without one of them the scale is another."""
    files = read_digests(paths, load)
    for one in files:
        if one.error:
            raise SettingError(f"an anchor cannot be read, and without it the scale would be another: {one.error}")
    found = list({one.digest: one for one in files}.values())
    if not LEAST_ANCHORS <= len(found) <= MOST_ANCHORS:
        raise SettingError(f"a scale needs {LEAST_ANCHORS} to {MOST_ANCHORS} different anchors, got {len(found)}")
    return found


Found: TypeAlias = dict[str, tuple[float, float, int]]
"""By the digest of an image its strength, standard error (NaN where nothing tells it) and number of opponents."""


def _on_scale(
    images: Sequence[ImageFile],
    anchors: Sequence[ImageFile],
    answered: Mapping[Pair, Margins],
    errors: Mapping[Pair, str],
) -> Found:
    """Return the strengths of images beside anchors, whose own follow from their comparisons with each other."""
    among = list(combinations(anchors, 2))
    if lost := next((pair for pair in among if pair not in answered), None):
        raise SettingError(f"the model cannot compare two anchors, so there is no scale: {errors[lost]}")
    scale, found = _fitted(anchors, {pair: answered[pair] for pair in among}), {}
    for one in images:
        marks = [mark for mark in anchors if (one, mark) in answered]
        if marks:
            log_odds = np.mean([answered[one, mark] for mark in marks], axis=1)
            value, error = against(np.array([scale[mark.digest][0] for mark in marks]), log_odds)
            found[one.digest] = value, error, len(marks)
    return found


def _fitted(images: Sequence[ImageFile], answered: Mapping[Pair, Margins]) -> Found:
    """Return the strengths of the most images that are connected by comparisons, nothing where no two are."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not answered:
        return {}
    places = {one.digest: place for place, one in enumerate(images)}
    ends = np.array([[places[one.digest] for one in pair] for pair in answered], dtype=np.intp)
    graph = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(len(images), len(images)))
    _, labels = connected_components(graph, directed=False)
    members = np.flatnonzero(labels == np.argmax(np.bincount(labels)))
    inside = ends[np.isin(ends[:, 0], members)]
    log_odds = np.array(list(answered.values()))[np.isin(ends[:, 0], members)].mean(axis=1)
    strengths = bradley_terry(len(members), np.searchsorted(members, inside), log_odds)
    opponents = np.bincount(inside.ravel(), minlength=len(images))[members]
    columns = (strengths.value.tolist(), strengths.error.tolist(), opponents.tolist())
    return dict(zip((images[place].digest for place in members.tolist()), zip(*columns, strict=True), strict=True))


def _rows(files: Sequence[ImageFile], found: Found, errors: Mapping[Pair, str]) -> Iterator[Ranked]:
    """Yield the row of each file, ranked among all of them."""
    strengths = np.array([found[one.digest][0] for one in files if one.digest in found])
    for file in files:
        if file.digest not in found:
            own = (error for pair, error in errors.items() if file.digest in (pair[0].digest, pair[1].digest))
            why = file.error or next(own, f"{file.path}: is not connected with the others by comparisons")
            yield Ranked(path=str(file.path), error=why)
            continue
        value, error, opponents = found[file.digest]
        known = np.isfinite(error)
        yield Ranked(
            rank=1 + int((strengths > value).sum()),
            path=str(file.path),
            strength=value,
            standard_error=error if known else None,
            low=value - 1.96 * error if known else None,
            high=value + 1.96 * error if known else None,
            opponents=opponents,
        )
