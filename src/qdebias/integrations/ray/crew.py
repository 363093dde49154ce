"""The workers of a run: processes that hold the model and score one chunk after the other, and who copes with deaths.

Ray would start a worker that died again and give it the same task again, without an end where the task itself is what
kills it. So neither is asked of Ray: a dead worker is replaced by a new one, its chunk goes to whoever is free, and a
chunk whose workers keep dying is gone through image by image until it is known which one does it.
"""

import itertools
import tempfile
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from textwrap import shorten
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from qdebias.errors import BackendError
from qdebias.inputs import Image, LeftOut
from qdebias.integrations.ray.folder import Folder, Plan, score_file
from qdebias.methods.plan import Failure, Score
from qdebias.runs.options import Options
from qdebias.runs.records import AnsweredRecord, answered_record, columns_of, open_writer
from qdebias.runs.scorer import Scorer

TOGETHER = 2  # deaths of workers on a chunk before it is gone through image by image
ALONE = 2  # deaths of workers on one image alone before it is given up
LOADING = 3  # deaths of workers in a row, while they load the model, before the run is
PATIENCE = 30.0  # seconds without any news before it is asked whether there are workers at all
_WORDS = 300  # letters of what Ray says about a death that are passed on


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
        self._setting, self._folder, self._plan = setting, folder, Plan(folder)
        self._left_out: list[LeftOut] = []

    def load(self) -> Mapping[str, str]:
        """Load the model and return its identity."""
        return dict(self._scorer.fingerprint.identity)

    def score(self, chunk: int, deadly: Mapping[int, int] | None = None) -> Tally:
        """Score a chunk and write its file.

        With `deadly` it is done image by image, each noted down before it is touched; those in it are given up, by
        their places in the chunk: how many workers died on each.
        """
        setting, images, failed = self._setting, 0, 0
        results = self._scorer.score_named(self._images(chunk)) if deadly is None else self._score_alone(chunk, deadly)
        with tempfile.TemporaryDirectory(prefix="qdebias-") as here:
            path = Path(here) / "chunk.parquet"
            with open_writer(path, columns_of(AnsweredRecord, setting.recipe.words)) as write:
                for name, result in results:
                    images, failed = images + 1, failed + isinstance(result, Failure)
                    write(answered_record(name, result, model=setting.model, method=setting.method, seed=setting.seed))
            self._folder.write(score_file(chunk), path.read_bytes())
        if deadly is not None:
            self._folder.remove(_note(chunk))
        return Tally(chunk=chunk, images=images, failed=failed, left_out=tuple(self._left_out))

    def _score_alone(self, chunk: int, deadly: Mapping[int, int]) -> Iterator[tuple[str, Score | Failure]]:
        images = self._images(chunk)
        for place in itertools.count():
            self._folder.write(_note(chunk), str(place).encode())
            image = next(images, None)
            if image is None:
                return
            if place in deadly:
                name = str(image) if isinstance(image, Path) else image.name
                died = f"{deadly[place]} workers died while they scored nothing else"
                yield name, Failure(name=name, error=f"{name}: {died}; make it smaller or leave it out")
            else:
                yield from self._scorer.score_named([image])

    def _images(self, chunk: int) -> Iterator[Image]:
        self._left_out.clear()
        for image in self._plan.piece(chunk):
            if isinstance(image, LeftOut):
                self._left_out.append(image)
            else:
                yield image

    @cached_property
    def _scorer(self) -> Scorer:
        return self._setting.scorer()


def _note(chunk: int) -> str:
    """Return the name of the file that says which image of a chunk is being scored alone."""
    return f"notes/{chunk:08}"


class Crew:
    """The workers of a run: `size` of them, those for which Ray has no room as soon as it has.

    `hire` asks Ray for one more worker and returns its handle at once; `recognise` is given the identity of the model
    of each, and raises where it is a wrong one.
    """

    def __init__(
        self, hire: Callable[[], Any], size: int, recognise: Callable[[Mapping[str, str]], None], folder: Folder
    ) -> None:
        self.deaths, self.last_death = 0, ""  # how many workers died so far; how the last of them did, in Ray's words
        self._hire, self._size, self._recognise, self._folder = hire, size, recognise, folder
        self._jobs: dict[Any, tuple[Any, int | None]] = {}  # by Ray's reference: worker and chunk, None: it loads
        self._idle: list[Any] = []
        self._todo: deque[int] = deque()
        self._together: Counter[int] = Counter()  # deaths on a chunk
        self._alone: defaultdict[int, Counter[int]] = defaultdict(Counter)  # deaths on a chunk, by the place in it
        self._died_loading = 0

    @property
    def at_work(self) -> int:
        """How many workers are scoring."""
        return sum(chunk is not None for _, chunk in self._jobs.values())

    @property
    def awaited(self) -> int:
        """How many workers are being placed by Ray, or load the model."""
        return len(self._jobs) - self.at_work

    def work(self, chunks: Iterable[int]) -> Iterator[Tally | None]:
        """Yield what became of each chunk, as they are done; None where a worker died or there was no news for a while.

        What a worker raises is raised: the model cannot be loaded or answer, or the folder cannot be written.
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
        for worker in [*self._idle, *(worker for worker, _ in self._jobs.values())]:
            ray.kill(worker)

    def _assign(self) -> None:
        """Give every free worker a chunk, and hire as many as chunks are left for."""
        while self._idle and self._todo:
            worker, chunk = self._idle.pop(), self._todo.popleft()
            deadly = None
            if self._together[chunk] >= TOGETHER:
                deadly = {place: count for place, count in self._alone[chunk].items() if count >= ALONE}
            self._jobs[worker.score.remote(chunk, deadly)] = worker, chunk
        while len(self._jobs) < self._size and self.awaited < len(self._todo):
            worker = self._hire()
            self._jobs[worker.load.remote()] = worker, None

    def _heard(self, answer: Any) -> Tally | None:  # noqa: ANN401 (Ray has several kinds of references)
        worker, chunk = self._jobs.pop(answer)
        try:
            result: Any = ray.get(answer)
        except RayTaskError as error:
            self._idle.append(worker)
            raise error.cause or error from None
        except RayError as error:
            self._lost(worker, chunk, error)
            return None
        self._idle.append(worker)
        if chunk is None:
            self._died_loading = 0
            self._recognise(result)
        return result if isinstance(result, Tally) else None

    def _lost(self, worker: Any, chunk: int | None, error: RayError) -> None:  # noqa: ANN401
        """Note a death, and take back what the worker was doing."""
        ray.kill(worker)  # it may live on where only the network broke
        told = " ".join(line for line in str(error).splitlines() if not line.startswith("\t"))  # no numbers of actors
        self.deaths, self.last_death = self.deaths + 1, shorten(told, _WORDS, placeholder=" ...")
        if chunk is None:
            self._died_loading += 1
            if self._died_loading >= LOADING:
                raise BackendError(
                    f"{LOADING} workers in a row died while they loaded the model: {self.last_death}"
                ) from error
            return
        if self._together[chunk] < TOGETHER:
            self._together[chunk] += 1
        else:
            place = int(self._folder.read(_note(chunk)) or -1)  # -1: before the first image
            self._alone[chunk][place] += 1
            if self._alone[chunk][place] > ALONE:
                raise BackendError(
                    f"chunk {chunk} of the plan ends every worker, and which of its images does so is not known; "
                    f"look at what it names, and leave that out"
                )
        self._folder.remove(_note(chunk))
        self._todo.appendleft(chunk)
