"""The workers of a run: processes that hold the model and score one chunk after the other, and who copes with deaths.

Ray would start a worker that died again and give it the same task again, without an end where the task itself is what
kills it. So neither is asked of Ray: a dead worker is replaced by a new one, its chunk goes to whoever is free, and a
chunk whose workers keep dying is gone through image by image until it is known which one does it.
"""

import tempfile
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import shorten
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from qdebias.errors import BackendError
from qdebias.inputs import Image, LeftOut
from qdebias.integrations.ray.folder import Folder
from qdebias.integrations.ray.plan import Plan, score_file
from qdebias.methods.plan import Failure, Score
from qdebias.runs.options import Options
from qdebias.runs.records import AnsweredRecord, answered_record, columns_of, open_writer
from qdebias.runs.scorer import Scorer


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What became of a chunk."""

    chunk: int
    images: int
    failed: int
    left_out: tuple[LeftOut, ...] = ()


class Worker:
    """Scores chunks of a run; a Ray actor, though it knows nothing of Ray."""

    def __init__(self, setting: Options, folder: Folder) -> None:
        self._setting, self._folder = setting, folder
        self._plan = Plan(folder)
        self._scorer: Scorer | None = None
        self._left_out: list[LeftOut] = []

    def load(self) -> Mapping[str, str]:
        """Load the model and return its identity."""
        return dict(self._ready().fingerprint.identity)

    def score(self, chunk: int) -> Tally:
        """Score a chunk and write its file."""
        return self._write(chunk, self._ready().score_named(self._images(chunk)))

    def score_alone(self, chunk: int, deadly: Mapping[int, int]) -> Tally:
        """Score a chunk image by image, noting down each before it is touched.

        Args:
            chunk: Its number.
            deadly: Images that are given up, by their places in the chunk: how many workers died on each.
        """
        tally = self._write(chunk, self._alone(chunk, deadly))
        self._folder.remove(note_file(chunk))
        return tally

    def _alone(self, chunk: int, deadly: Mapping[int, int]) -> Iterator[tuple[str, Score | Failure]]:
        scorer, images = self._ready(), self._images(chunk)
        for place in range(1 << 62):
            self._folder.write(note_file(chunk), str(place).encode())
            image = next(images, None)
            if image is None:
                return
            if place in deadly:
                name = _name(image)
                died = f"{deadly[place]} workers died while they scored nothing else"
                yield name, Failure(name=name, error=f"{name}: {died}; make it smaller or leave it out")
            else:
                yield from scorer.score_named([image])

    def _images(self, chunk: int) -> Iterator[Image]:
        self._left_out.clear()
        for image in self._plan.piece(chunk):
            if isinstance(image, LeftOut):
                self._left_out.append(image)
            else:
                yield image

    def _write(self, chunk: int, results: Iterable[tuple[str, Score | Failure]]) -> Tally:
        setting, images, failed = self._setting, 0, 0
        with tempfile.TemporaryDirectory(prefix="qdebias-") as here:
            path = Path(here) / "chunk.parquet"
            with open_writer(path, columns_of(AnsweredRecord, setting.recipe.words)) as write:
                for name, result in results:
                    images, failed = images + 1, failed + isinstance(result, Failure)
                    write(answered_record(name, result, model=setting.model, method=setting.method, seed=setting.seed))
            self._folder.write(score_file(chunk), path.read_bytes())
        return Tally(chunk=chunk, images=images, failed=failed, left_out=tuple(self._left_out))

    def _ready(self) -> Scorer:
        if self._scorer is None:
            self._scorer = self._setting.scorer()
        return self._scorer


def note_file(chunk: int) -> str:
    """Return the name of the file that says which image of a chunk is being scored alone."""
    return f"notes/{chunk:08}"


def _name(image: Image) -> str:
    return str(image) if isinstance(image, Path) else image.name


TOGETHER = 2
"""Deaths of workers on a chunk before it is gone through image by image."""

ALONE = 2
"""Deaths of workers on one image alone before it is given up."""

LOADING = 3
"""Deaths of workers in a row, while they load the model, before the run is."""

PATIENCE = 30.0
"""Seconds without any news before it is asked whether there are workers at all."""

_WORDS = 300
"""Letters of what Ray says about a death that are passed on."""


@dataclass(slots=True)
class _Deaths:
    together: int = 0
    alone: Counter[int] = field(default_factory=Counter)

    @property
    def isolates(self) -> bool:
        return self.together >= TOGETHER

    def deadly(self) -> dict[int, int]:
        return {place: count for place, count in self.alone.items() if count >= ALONE}


@dataclass(frozen=True, slots=True)
class _Job:
    """What a worker was last told to do: a chunk, or to load the model."""

    worker: Any
    chunk: int | None


class Crew:
    """The workers of a run.

    Args:
        hire: Asks Ray for one more worker and returns its handle at once.
        size: How many workers there are to be; those for which Ray has no room join when it has.
        recognise: Is given the identity of the model of each worker, and raises where it is a wrong one.
        folder: The folder of the run.

    Attributes:
        deaths: How many workers died so far.
        last_death: How the last of them did, in Ray's words.
        at_work: How many are scoring.
    """

    def __init__(
        self, hire: Callable[[], Any], size: int, recognise: Callable[[Mapping[str, str]], None], folder: Folder
    ) -> None:
        self.deaths, self.last_death = 0, ""
        self._hire, self._size, self._recognise, self._folder = hire, size, recognise, folder
        self._jobs: dict[Any, _Job] = {}
        self._idle: list[Any] = []
        self._todo: deque[int] = deque()
        self._deaths: defaultdict[int, _Deaths] = defaultdict(_Deaths)
        self._died_loading = 0

    @property
    def at_work(self) -> int:
        """How many workers are scoring."""
        return sum(job.chunk is not None for job in self._jobs.values())

    @property
    def awaited(self) -> int:
        """How many workers are being placed by Ray, or load the model."""
        return len(self._jobs) - self.at_work

    def work(self, chunks: Iterable[int]) -> Iterator[Tally | None]:
        """Yield what became of each chunk, as they are done; None where a worker died or there was no news for a while.

        Raises:
            QdebiasError: What a worker raised: the model cannot be loaded or cannot answer, or the folder cannot be
                written.
        """
        self._todo.extend(chunks)
        self._assign()
        while self._todo or self.at_work:
            deaths = self.deaths
            ready, _ = ray.wait(list(self._jobs), num_returns=1, timeout=PATIENCE)
            tally = self._heard(ready[0]) if ready else None
            self._assign()
            if tally is not None or not ready or self.deaths > deaths:
                yield tally

    def dismiss(self) -> None:
        """End every worker."""
        for worker in [*self._idle, *(job.worker for job in self._jobs.values())]:
            ray.kill(worker)

    def _heard(self, answer: Any) -> Tally | None:  # noqa: ANN401 (Ray has several kinds of references)
        job = self._jobs.pop(answer)
        try:
            result: Any = ray.get(answer)
        except RayTaskError as error:
            self._idle.append(job.worker)
            raise error.cause or error from None
        except RayError as error:
            self._lost(job, error)
            return None
        self._idle.append(job.worker)
        if job.chunk is None:
            self._died_loading = 0
            self._recognise(result)
        return result if isinstance(result, Tally) else None

    def _assign(self) -> None:
        """Give every free worker a chunk, and hire as many as chunks are left for."""
        while self._idle and self._todo:
            worker, chunk = self._idle.pop(), self._todo.popleft()
            deaths = self._deaths.get(chunk)
            if deaths is not None and deaths.isolates:
                self._jobs[worker.score_alone.remote(chunk, deaths.deadly())] = _Job(worker, chunk)
            else:
                self._jobs[worker.score.remote(chunk)] = _Job(worker, chunk)
        while len(self._jobs) < self._size and self.awaited < len(self._todo):
            worker = self._hire()
            self._jobs[worker.load.remote()] = _Job(worker, None)

    def _lost(self, job: _Job, error: RayError) -> None:
        """Note a death, and take back what the worker was doing."""
        ray.kill(job.worker)  # it may live on where only the network broke
        told = " ".join(line for line in str(error).splitlines() if not line.startswith("\t"))  # no numbers of actors
        self.deaths, self.last_death = self.deaths + 1, shorten(told, _WORDS, placeholder=" ...")
        if job.chunk is None:
            self._died_loading += 1
            if self._died_loading >= LOADING:
                raise BackendError(
                    f"{LOADING} workers in a row died while they loaded the model: {self.last_death}"
                ) from error
            return
        self._blame(job.chunk)
        self._todo.appendleft(job.chunk)

    def _blame(self, chunk: int) -> None:
        deaths, note = self._deaths[chunk], note_file(chunk)
        if deaths.isolates:
            place = int(self._folder.read(note) or -1)  # -1: before the first image
            deaths.alone[place] += 1
            if deaths.alone[place] > ALONE:
                raise BackendError(
                    f"chunk {chunk} of the plan ends every worker, and which of its images does so is not known; "
                    f"look at what it names, and leave that out"
                )
        else:
            deaths.together += 1
        self._folder.remove(note)
