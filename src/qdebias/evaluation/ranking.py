"""Ranking images by asking which of two is better, in both orders; a run folder keeps every answer."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
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
"""Each question by its topic; the value of an option is 1 if it names the first image.

Two-alternative forced choice, as in 2AFC prompting of LMMs and Compare2Score (Zhu et al., 2024), in our own words.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked(Row):
    """An image with its rank, 1 for the best; `low` and `high` are 1.96 standard errors from the strength.

    By the Bradley-Terry model, exp(a - b) are the odds that an image of strength a is better than one of strength b.
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
    """An image compared with anchors: `log_odds` is its strength, the score P(better than a mean anchor)."""

    standard_error: float | None = None
    low: float | None = None
    high: float | None = None
    opponents: int = 0


def anchored_record(row: Ranked, *, model: str, method: str) -> AnchoredRecord:
    """Return the record of an image that was compared with anchors."""
    same = asdict(row)
    del same["rank"], same["strength"]
    score = None if row.strength is None else float(sigmoid(row.strength))
    return AnchoredRecord(score=score, log_odds=row.strength, model=model, method=method, seed=0, **same)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """Images in order, the best first and those without a rank last, and the number of `pairs` that were compared.

    `first` is the mean log-odds by which the model prefers the first image of a pair, whichever it is (this cancels in
    the strengths); `swayed` is the share of pairs for which it prefers the same place in both orders.
    """

    rows: tuple[Ranked, ...]
    pairs: int
    first: float
    swayed: float


def _load(path: Path, max_pixels: int, max_side: int | None) -> RgbImage:
    image = load_image(path, max_pixels=max_pixels)
    return image if max_side is None else downsized(image, max_side, name=str(path))


def read_digests(paths: Sequence[Path], *, max_pixels: int, max_side: int | None) -> dict[Path, str | ImageError]:
    """Return `qdebias.image.digest` of each file's pixels, or why it cannot be read; no pixels are kept."""

    def read(path: Path) -> str | ImageError:
        try:
            return digest(_load(path, max_pixels, max_side))
        except ImageError as error:
            return ImageError(str(error))  # without the traceback, which would keep the file's content in memory

    files = dict.fromkeys(paths)
    with ThreadPoolExecutor(2, thread_name_prefix="qdebias-load") as pool:
        return dict(zip(files, pool.map(read, files), strict=True))


Pair: TypeAlias = tuple[str, str]
"""The digests of two images."""
Margins: TypeAlias = tuple[float, float]
"""The log-odds that the first image of a pair is better, when asked in this order and in the other."""


def _answered(
    pairs: Sequence[Pair],
    files: Mapping[str, Path],
    run: Run,
    backend: Backend,
    question: Question,
    batch: int,
    load: Callable[[Path], RgbImage],
    on_progress: Callable[[int, int], None],
) -> tuple[dict[Pair, Margins], dict[str, str]]:
    """Ask in both orders about pairs that the run has no answers for; return all margins, and errors by digest."""
    stored, errors = StoredBackend(backend, run), dict[str, str]()

    @lru_cache(2 * batch + 2)  # consecutive pairs share images
    def pixels(name: str) -> RgbImage:
        image = load(files[name])
        if stored.digest_of(image) != name:
            raise ImageError(f"{files[name]}: changed while it was being ranked; rank again")
        return image

    def known(pair: Pair) -> Margins | None:
        asked = question_id("before", question)
        first, second = (run.index.logits(answer_key(run.identity, both, asked)) for both in (pair, pair[::-1]))
        if first is None or second is None:
            return None
        return float(first[0] - first[1]), -float(second[0] - second[1])

    def ask(some: Sequence[Pair]) -> None:
        """Ask about all at once; if an image is refused, ask about each pair alone to keep the others."""
        try:
            both = [order for pair in some for order in (pair, pair[::-1])]
            requests = [Request(images=tuple(map(pixels, order)), questions=(question,)) for order in both]
            stored.option_logits(requests)
        except ImageError as error:
            if len(some) > 1:
                for pair in some:
                    ask([pair])
                return
            errors.update(dict.fromkeys(some[0], str(error)))

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
    the first or the second place cancels. Files with the same pixels are one image and share its rank. The run folder,
    which is for images of `max_side`, keeps every answer: if this is stopped, the same call continues from there.

    `opponents` and `seed` decide which pairs are compared, `batch` of them at a time, see `rings`. With `anchors`, each
    image is compared with these fixed images instead of the others. `on_progress` is called with the number of pairs
    that are done and the number of all pairs.
    """
    if len(question.options) != 2 or batch < 1:
        raise SettingError(
            f"a comparison has two options, for the first image and for the second, and a batch of 1 or more; got "
            f"{question.options} and {batch}"
        )
    digests = read_digests(paths, max_pixels=max_pixels, max_side=max_side)
    images = {name: path for path, name in reversed(digests.items()) if isinstance(name, str)}  # the first file of each
    images = dict(reversed(images.items()))
    fixed = _anchors(anchors, max_pixels, max_side) if anchors else {}
    if fixed:
        pairs = [*combinations(fixed, 2), *((one, mark) for one in images for mark in fixed if one != mark)]
    else:
        check_count(len(images))
        names = list(images)
        pairs = [(names[one], names[other]) for one, other in rings(names, opponents=opponents, seed=seed)]
    load, tell = partial(_load, max_pixels=max_pixels, max_side=max_side), on_progress or (lambda *_: None)
    answered, errors = _answered(pairs, fixed | images, run, backend, question, batch, load, tell)
    found = _on_scale(images, fixed, answered, errors) if fixed else _fitted(images, answered)
    if not (found or fixed):
        unreadable = (str(one) for one in digests.values() if isinstance(one, ImageError))
        why = [*errors.values(), *unreadable, "there is one image only"][0]
        raise SettingError(f"a ranking needs two or more different images that can be compared: {why}")
    rows = _rows(digests, found, errors)
    both = np.array(list(answered.values()))
    return Ranking(
        rows=tuple(sorted(rows, key=lambda row: (row.rank is None, row.rank or 0, row.path))),
        pairs=len(both),
        first=float((both[:, 0] - both[:, 1]).mean() / 2),
        swayed=float(np.mean(both[:, 0] * both[:, 1] < 0)),
    )


def _anchors(paths: Sequence[Path], max_pixels: int, max_side: int | None) -> dict[str, Path]:
    """Return the anchors by their digests; all are needed, as the scale depends on each."""
    found: dict[str, Path] = {}
    for path, name in read_digests(paths, max_pixels=max_pixels, max_side=max_side).items():
        if isinstance(name, ImageError):
            raise SettingError(f"an anchor cannot be read, and the scale depends on every anchor: {name}")
        found[name] = path
    if not LEAST_ANCHORS <= len(found) <= MOST_ANCHORS:
        raise SettingError(f"a scale needs {LEAST_ANCHORS} to {MOST_ANCHORS} different anchors, got {len(found)}")
    return found


Found: TypeAlias = dict[str, tuple[float, float, int]]
"""Strength, standard error (NaN if unknown) and number of opponents of each image, by its digest."""


def _on_scale(
    images: Iterable[str], anchors: Iterable[str], answered: Mapping[Pair, Margins], errors: Mapping[str, str]
) -> Found:
    """Return the strengths of images compared with anchors, after those of the anchors among themselves."""
    among = list(combinations(anchors, 2))
    if lost := next((pair for pair in among if pair not in answered), None):
        raise SettingError(f"the model cannot compare two anchors, so there is no scale: {errors[lost[0]]}")
    scale, found = _fitted(anchors, {pair: answered[pair] for pair in among}), {}
    for name in images:
        marks = [mark for mark in anchors if (name, mark) in answered]
        if marks:
            log_odds = np.mean([answered[name, mark] for mark in marks], axis=1)
            value, error = against(np.array([scale[mark][0] for mark in marks]), log_odds)
            found[name] = value, error, len(marks)
    return found


def _fitted(images: Iterable[str], answered: Mapping[Pair, Margins]) -> Found:
    """Return the strengths of the largest set of images that are connected by comparisons."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not answered:
        return {}
    names = list(images)
    places = {name: place for place, name in enumerate(names)}
    ends = np.array([[places[name] for name in pair] for pair in answered], dtype=np.intp)
    graph = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(len(names), len(names)))
    _, labels = connected_components(graph, directed=False)
    members = np.flatnonzero(labels == np.argmax(np.bincount(labels)))
    inside = np.isin(ends[:, 0], members)
    log_odds = np.array(list(answered.values()))[inside].mean(axis=1)
    columns = bradley_terry(len(members), np.searchsorted(members, ends[inside]), log_odds)
    opponents = np.bincount(ends[inside].ravel(), minlength=len(names))[members]
    rows = zip(*(column.tolist() for column in (*columns, opponents)), strict=True)
    return dict(zip((names[place] for place in members.tolist()), rows, strict=True))


def _rows(digests: Mapping[Path, str | ImageError], found: Found, errors: Mapping[str, str]) -> Iterator[Ranked]:
    """Yield the row of each file, ranked among all of them."""
    strengths = np.array([found[name][0] for name in digests.values() if isinstance(name, str) and name in found])
    for path, name in digests.items():
        if isinstance(name, ImageError):
            yield Ranked(path=str(path), error=str(name))
            continue
        if name not in found:
            why = errors.get(name, f"{path}: is not connected with the others by comparisons")
            yield Ranked(path=str(path), error=why)
            continue
        value, error, opponents = found[name]
        known = np.isfinite(error)
        yield Ranked(
            rank=1 + int((strengths > value).sum()),
            path=str(path),
            strength=value,
            standard_error=error if known else None,
            low=value - 1.96 * error if known else None,
            high=value + 1.96 * error if known else None,
            opponents=opponents,
        )
