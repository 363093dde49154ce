"""Reaching Ray; its workers, which hold the model and score chunk after chunk; and the crew that replaces dead ones.

Ray would restart a dead worker and repeat its task without end where the task itself kills it. So a dead worker is
replaced by a new one, its chunk goes to the next free worker, and a chunk that keeps killing workers is scored image by
image until it is known which one does it.
"""

import itertools
import logging
import os
import signal
import socket
import subprocess
import tempfile
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from textwrap import shorten
from typing import Any, cast

import ray
from ray.exceptions import RayError, RayTaskError
from ray.job_config import JobConfig

from qdebias.errors import BackendError, SettingError
from qdebias.inputs import Image, LeftOut
from qdebias.inputs.items import add_left_out
from qdebias.integrations.ray import AUTO, LOCAL, Workers
from qdebias.integrations.ray.folder import Folder, Plan, score_file
from qdebias.methods.plan import Failure, Score
from qdebias.runs.options import Options
from qdebias.runs.records import AnsweredRecord, columns_of, open_writer, record
from qdebias.runs.scorer import Scorer
from qdebias.system.processes import module_command

PORT_SECONDS = 5.0  # for a machine to open its port
HEAD_SECONDS = 20.0  # for the head of a cluster to answer, the start of the process that asks it included
_CLIENT = "ray://"
_OBJECTS = 100 << 20  # bytes that a local cluster sets aside for objects: numbers of chunks are all that is sent
TOGETHER = 2  # deaths of workers on a chunk before it is scored image by image
ALONE = 2  # deaths of workers on one image alone before it is given up
LOADING = 3  # deaths of workers in a row, while they load the model, before the run is
PATIENCE = 30.0  # seconds without an answer before the progress is reported anyway
_WORDS = 300  # most letters of Ray's message about a death


def check_reachable(address: str) -> None:
    """Raise SettingError before `ray.init` does if no cluster is at an address, or one of another version or token."""
    if address == AUTO:
        address = os.environ.get("RAY_ADDRESS") or AUTO
    if address == LOCAL:
        return
    if address != AUTO:
        host, _, port = address.removeprefix(_CLIENT).rpartition(":")
        if not (host and port.isdecimal()):
            raise _no_cluster(address, f"an address is HOST:PORT, {AUTO!r} or {LOCAL!r}")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=PORT_SECONDS).close()
        except (OSError, OverflowError) as error:
            raise _no_cluster(address, getattr(error, "strerror", None) or str(error)) from error
    if address.startswith(_CLIENT):
        return
    # in a process of its own, as what asks can neither be given a limit nor be kept from writing to stderr
    named = () if address == AUTO else ("--address", address)
    command = module_command("ray.scripts.scripts", "health-check", *named)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=HEAD_SECONDS, check=False)  # noqa: S603
    except subprocess.TimeoutExpired as error:
        raise _no_cluster(address, f"no head of a cluster answers within {HEAD_SECONDS:.0f} s") from error
    if done.returncode and address != AUTO:  # for "auto", ray.init finds the token by itself
        words = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise SettingError(f"the Ray cluster at {address!r} refuses this command: {words.partition(': ')[2] or words}")


def _no_cluster(address: str, why: str) -> SettingError:
    remedy = f"`ray start --head` begins one and tells its address, {LOCAL!r} takes this machine without one"
    return SettingError(f"no Ray cluster at {address!r} ({why}); {remedy}")


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Use the cluster that this process is connected to, or connect to one for as long as it is needed."""
    if ray.is_initialized() and address is None:
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray tells its makers about each cluster unless told not to
    address, config = address or LOCAL, JobConfig()
    config._py_driver_sys_path = _NoFolders()
    own: dict[str, Any] = {"object_store_memory": _OBJECTS, "include_dashboard": False} if address == LOCAL else {}
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, job_config=config, **own)
    except (ConnectionError, ValueError, RuntimeError, RayError) as error:
        raise _no_cluster(address, " ".join(str(error).split())) from error
    if callable(handler) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)  # Ray's would print a stack and exit with a number of its own
    try:
        yield
    finally:
        ray.shutdown()


class _NoFolders(list[str]):
    """Takes none of the folders that Ray would let its workers import from: the current one, and the program's."""

    def extend(self, folders: Iterable[str]) -> None:
        """Leave the list as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """The result of a chunk."""

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

        With `deadly`, deaths of workers by place in the chunk, each image is noted down before it is scored alone, and
        those places are given up.
        """
        setting, images, failed = self._setting, 0, 0
        asked: dict[str, Any] = {"model": setting.model, "method": setting.method, "seed": setting.seed}
        results = self._scorer.score_named(self._images(chunk)) if deadly is None else self._score_alone(chunk, deadly)
        with tempfile.TemporaryDirectory(prefix="qdebias-") as here:
            path = Path(here) / "chunk.parquet"
            with open_writer(path, columns_of(AnsweredRecord, setting.recipe.words)) as write:
                for name, result in results:
                    images, failed = images + 1, failed + isinstance(result, Failure)
                    write(record(name, result, **asked, kind=AnsweredRecord))
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
                add_left_out(self._left_out, image)
            else:
                yield image

    @cached_property
    def _scorer(self) -> Scorer:
        return self._setting.scorer()


def _note(chunk: int) -> str:
    """Return the name of the file with the place of the image of a chunk that is being scored alone."""
    return f"notes/{chunk:08}"


class Crew:
    """The workers of a run, those for which Ray has no room yet as soon as it has.

    `recognise` is given the identity of the model of each worker, and raises where it is a wrong one.
    """

    def __init__(
        self, setting: Options, folder: Folder, workers: Workers, recognise: Callable[[Mapping[str, str]], None]
    ) -> None:
        room = ray.cluster_resources()  # type: ignore[no-untyped-call]
        gpus = float("GPU" in room) if workers.gpus is None else workers.gpus
        fits = [room.get("CPU", 0.0) / workers.cpus, *([room.get("GPU", 0.0) / gpus] if gpus else [])]
        # Neither restarts nor retries: a task that kills its worker would be tried for ever.
        actor = ray.remote(num_cpus=workers.cpus, num_gpus=gpus, max_restarts=0, max_task_retries=0)(Worker)
        self._hire: Callable[[], Any] = partial(actor.remote, setting, folder)
        self._size = workers.count or max(1, int(min(fits)))
        self._recognise, self._folder = recognise, folder
        self.deaths, self.last_death = 0, ""  # how many workers died so far; how the last of them did, in Ray's words
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

    def work(self, chunks: Iterable[int]) -> Generator[Tally | None]:
        """Yield the result of each chunk as they are done; None after a death, or after a while without an answer.

        What a worker raises is raised: the model cannot be loaded or answer, or the folder cannot be written.
        """
        self._todo.extend(chunks)
        try:
            self._assign()
            while self._todo or self.at_work:
                deaths = self.deaths
                ready, _ = ray.wait(list(self._jobs), num_returns=1, timeout=PATIENCE)
                tally = self._heard(ready[0]) if ready else None
                self._assign()
                if tally is not None or not ready or self.deaths > deaths:
                    yield tally
        finally:
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
            ray.kill(worker)  # it may live on where only the network broke
            self._note_death(chunk, error)
            return None
        self._idle.append(worker)
        if chunk is not None:
            return cast(Tally, result)
        self._died_loading = 0
        self._recognise(result)
        return None

    def _note_death(self, chunk: int | None, error: RayError) -> None:
        """Count a death, and take back the chunk."""
        words = " ".join(line for line in str(error).splitlines() if not line.startswith("\t"))  # no numbers of actors
        self.deaths, self.last_death = self.deaths + 1, shorten(words, _WORDS, placeholder=" ...")
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
