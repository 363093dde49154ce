"""What surrounds the model: time and memory however long the list is, and whether the model is kept busy."""

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from qdebias.backends.base import Backend, Fingerprint, OptionLogits
from qdebias.cli.benchmark.machine import photo_like
from qdebias.image import RgbImage
from qdebias.prompts import Request
from qdebias.runs.scorer import Scorer
from qdebias.system.processes import peak_memory, resident_memory

SIDES = (64, 2000)
"""Shortest and longest side of the files, in pixels."""

_EARLY = 200
_BUSY_IMAGES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """One length of list.

    Attributes:
        images: How many were scored.
        milliseconds_per_image: Degrading, asking a backend that answers at once, and combining.
        process_memory_bytes: The most that the process has ever held; it never falls from one length to the next.
    """

    images: int
    milliseconds_per_image: float
    process_memory_bytes: int


def measure_scale(lengths: Sequence[int] = (10, 100, 1000, 10_000), *, side: int = 64) -> Iterator[Scale]:
    """Yield a line for each length of list, as it is measured.

    Args:
        lengths: Ascending, since memory is the most so far.
        side: Images are squares of sides from this to twice this.
    """
    scorer = Scorer(backend=Instant())
    for length in lengths:
        start = time.perf_counter()
        for _ in scorer.score_many(_images(length, side)):
            pass
        spent = time.perf_counter() - start
        yield Scale(images=length, milliseconds_per_image=1000 * spent / length, process_memory_bytes=peak_memory())


class Instant:
    """Answers at once and remembers nothing."""

    fingerprint = Fingerprint(identity={"backend": "benchmark"})

    def option_logits(self, requests: Sequence[Request]) -> OptionLogits:
        """Return no preference for any option."""
        return [[np.zeros(len(question.options)) for question in request.questions] for request in requests]


def _images(count: int, side: int) -> Iterator[RgbImage]:
    return (photo_like(seed, side + seed % side, side + seed * 7 % side) for seed in range(count))


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """One list of files.

    Attributes:
        model: What answered; "slow" takes half as long again for an image as one thread needs to prepare it.
        images: How many were scored.
        seconds: From the first file to the last score.
        busy: Share of that time in which the model ran.
        early_memory_bytes: What the process held up to image 200, the mean over a hundred images.
        memory_bytes: What it held in the end, likewise.
        most_memory_bytes: The most that it held after any image.
    """

    model: str
    images: int
    seconds: float
    busy: float
    early_memory_bytes: int
    memory_bytes: int
    most_memory_bytes: int


def measure_files(model: Backend | None, name: str, *, images: int = 2000) -> Iterator[Files]:
    """Yield a line for a model, then one for a slow one, which only sleeps.

    Args:
        model: None: one that answers at once.
        name: What it is called.
        images: How many are scored; each of 60 different files comes several times, in random order.
    """
    with TemporaryDirectory(prefix="qdebias-") as folder:
        files = make_files(Path(folder), 60)
        order = np.random.default_rng(0).integers(len(files), size=images)
        paths = [files[place] for place in order]
        yield _measured(model or Instant(), name, paths)
        pause = 1.5 * _preparation(files)
        yield _measured(_Slow(pause=pause), "slow", paths[:_BUSY_IMAGES])


def make_files(folder: Path, count: int) -> list[Path]:
    """Write made-up photographs, JPEG and PNG in turn, with sides from 64 to 2000 pixels; return their paths."""
    sizes = np.random.default_rng(0).integers(SIDES[0], SIDES[1] + 1, size=(count, 2))
    paths = [folder / f"{number}{'.png' if number % 2 else '.jpg'}" for number in range(count)]
    for number, (path, (width, height)) in enumerate(zip(paths, sizes, strict=True)):
        Image.fromarray(photo_like(number, int(width), int(height))).save(path)
    return paths


@dataclass(slots=True)
class _Clocked:
    """A backend, and for how long it ran."""

    backend: Backend
    seconds: float = 0.0

    @property
    def fingerprint(self) -> Fingerprint:
        return self.backend.fingerprint

    def option_logits(self, requests: Sequence[Request]) -> OptionLogits:
        start = time.perf_counter()
        answers = self.backend.option_logits(requests)
        self.seconds += time.perf_counter() - start
        return answers


@dataclass(frozen=True, slots=True)
class _Slow:
    """Sleeps for each image, then answers at once."""

    pause: float
    instant: Instant = field(default_factory=Instant)

    @property
    def fingerprint(self) -> Fingerprint:
        return self.instant.fingerprint

    def option_logits(self, requests: Sequence[Request]) -> OptionLogits:
        time.sleep(self.pause * len({id(request.images[-1]) for request in requests}))
        return self.instant.option_logits(requests)


def _measured(backend: Backend, name: str, paths: Sequence[Path]) -> Files:
    clocked = _Clocked(backend)
    memory = []
    start = time.perf_counter()
    for _ in Scorer(backend=clocked).score_many(paths):
        memory.append(resident_memory())
    seconds = time.perf_counter() - start
    return Files(
        model=name,
        images=len(paths),
        seconds=seconds,
        busy=clocked.seconds / seconds,
        early_memory_bytes=round(statistics.fmean(memory[:_EARLY][-100:])),
        memory_bytes=round(statistics.fmean(memory[-100:])),
        most_memory_bytes=max(memory),
    )


def _preparation(paths: Sequence[Path]) -> float:
    """Return the seconds that one thread takes to decode and degrade an image, on average."""
    scorer = Scorer(backend=Instant())
    start = time.perf_counter()
    for path in paths:
        scorer.explain(path)
    return (time.perf_counter() - start) / len(paths)
