"""Worker processes of the server, each killed and replaced when it hangs or dies.

A thread per process talks to it over pipes. A client that leaves interrupts nothing: the process finishes its task, or
is killed at its time limit, and is then free for the next client.
"""

import asyncio
import os
import pickle
import struct
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import IO, Any, Generic, TypeVar

import numpy as np

from qdebias.image import RgbImage
from qdebias.service import READY
from qdebias.service.buffers import Upload, freed_aside
from qdebias.service.decoder import HEAD, REASONS, SIZE
from qdebias.service.guard import log
from qdebias.service.limits import Settings
from qdebias.service.refusal import Reason, Refusal
from qdebias.system.processes import module_command, module_path

TASKS_A_PROCESS = 2000  # after which a process is replaced, in case it leaks memory
START_SECONDS = 120.0  # time limit for a process to become ready
RETRY_SECONDS = 1.0  # wait before a process that failed to start is started again
_SYSTEM = {name: os.environ[name] for name in ("SYSTEMROOT",) if name in os.environ}  # Python on Windows needs it

Result = TypeVar("Result")
Exchange = Callable[[IO[bytes], IO[bytes]], Result]
"""Writes a task to a process and reads the result; raises one of `_NO_RESULT` if there is none."""
_NO_RESULT = (OSError, EOFError, ValueError, IndexError, struct.error, pickle.UnpicklingError)


class EndedError(Exception):
    """A process died, or was killed at its time limit."""


class Process:
    """A process that runs a module, and the thread that talks to it; killed if a task takes longer than `seconds`."""

    def __init__(
        self, module: str, *arguments: object, seconds: float, environment: Mapping[str, str] | None = None
    ) -> None:
        self._command = module_command(module, *map(str, arguments))
        self._environment = dict(environment or {})
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="qdebias-process")
        self._tasks = 0
        self._ready = self._stopped = False
        self.seconds = seconds
        self.process: subprocess.Popen[bytes] | None = None
        self.task: asyncio.Future[Any] | None = None  # in progress

    @property
    def able(self) -> bool:
        """Whether it is ready, alive, and not due to be replaced."""
        return self._ready and self.process is not None and self.process.poll() is None

    async def start(self) -> None:
        """Start the process, replacing an older one, and wait until it is ready; raises OSError if that fails."""
        loop = asyncio.get_running_loop()
        limit = loop.call_later(START_SECONDS, self.kill)
        try:
            await loop.run_in_executor(self._thread, self._start)
        finally:
            limit.cancel()

    async def run(self, exchange: Exchange[Result]) -> Result:
        """Run a task in the process; raises EndedError if it died, or was killed at its time limit."""

        def work() -> Result:
            process = self.process
            if process is None or process.stdin is None or process.stdout is None:
                raise EndedError
            try:
                return exchange(process.stdin, process.stdout)
            except _NO_RESULT as error:
                self.kill()
                raise EndedError from error

        loop = asyncio.get_running_loop()
        task = self.task = loop.run_in_executor(self._thread, work)
        limit = loop.call_later(self.seconds, self.kill)

        def done(finished: asyncio.Future[Result]) -> None:
            limit.cancel()
            if not finished.cancelled():
                finished.exception()  # marks it as seen: the client may have left
            self.task = None
            self._tasks += 1
            self._ready &= self._tasks < TASKS_A_PROCESS

        task.add_done_callback(done)
        return await asyncio.shield(task)

    def kill(self) -> None:
        """Kill the process; a task in progress fails."""
        self._ready = False
        if self.process is not None:
            self.process.kill()

    def stop(self) -> None:
        """Kill the process for good."""
        self._stopped = True
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._end()

    def _start(self) -> None:
        self._end()
        self.process = subprocess.Popen(  # noqa: S603
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**_SYSTEM, **self._environment, "PYTHONPATH": module_path(), "OPENBLAS_NUM_THREADS": "1"},
            process_group=0,  # so that Ctrl-C at the server's terminal does not end it
        )
        if self._stopped or self.process.stdout is None or self.process.stdout.read(1) != READY:
            self.kill()
            raise ChildProcessError("it ended before it was ready")
        self._tasks, self._ready = 0, True

    def _end(self) -> None:
        self.kill()
        if self.process is not None:
            with suppress(OSError), self.process:  # closes the pipes and waits
                pass


Worker = TypeVar("Worker", bound=Process)


class Pool(Generic[Worker]):
    """Processes for the same tasks, each for one task at a time."""

    def __init__(self, processes: list[Worker]) -> None:
        self._all = processes
        self._idle: asyncio.Queue[Worker] = asyncio.Queue()
        self._starts: set[asyncio.Task[None]] = set()

    @property
    def able(self) -> int:
        """Number of processes that can take a task."""
        return sum(process.able for process in self._all)

    def revive(self) -> None:
        """Restart the processes that died while they were idle."""
        for _ in range(self._idle.qsize()):
            self._release(self._idle.get_nowait())

    def start(self) -> None:
        """Start every process."""
        for process in self._all:
            self._release(process)

    async def stop(self) -> None:
        """Kill every process."""
        for task in self._starts:
            task.cancel()
        for process in self._all:
            process.stop()
        await asyncio.gather(*self._starts, return_exceptions=True)

    @asynccontextmanager
    async def idle(self) -> AsyncIterator[Worker]:
        """Wait for an idle process and reserve it until the context ends."""
        while not (process := await self._idle.get()).able:
            self._release(process)
        try:
            yield process
        finally:
            if process.task is None:
                self._release(process)
            else:  # the client left
                process.task.add_done_callback(lambda _: self._release(process))

    def _release(self, process: Worker) -> None:
        """Make a process available for the next task, after a restart if it needs one."""
        if process.able:
            self._idle.put_nowait(process)
        else:
            task = asyncio.get_running_loop().create_task(self._restart(process))
            self._starts.add(task)
            task.add_done_callback(self._starts.discard)

    async def _restart(self, process: Worker) -> None:
        while not process.able:
            try:
                await process.start()
            except OSError as error:
                log.error("process does not start", error=str(error))
                await asyncio.sleep(RETRY_SECONDS)
        self._idle.put_nowait(process)


_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(1 << 20)}
"""Makes glibc return the memory of an image to the system as soon as it is freed; by default it learns to keep it."""


class Decoder(Process):
    """A process that decodes images."""

    def __init__(self, settings: Settings) -> None:
        limits = (settings.pixels, settings.image_bytes)
        super().__init__("qdebias.service.decoder", *limits, seconds=settings.decode_seconds, environment=_MEMORY)
        self._most_pixels = settings.pixels

    async def decode(self, file: bytes | memoryview | Upload, *, lossy: bool = True) -> RgbImage:
        """Return the pixels of a file; without `lossy`, one that was compressed with loss is refused."""

        def exchange(source: IO[bytes], sink: IO[bytes]) -> RgbImage | Reason:
            view, base64 = (file.view, file.base64) if isinstance(file, Upload) else (memoryview(file), False)
            source.write(HEAD.pack(base64, not lossy, len(view)))
            source.write(view)
            source.flush()
            reason = REASONS[sink.read(1)[0]]
            if reason is not None:
                return reason
            height, width = SIZE.unpack(sink.read(SIZE.size))
            if height * width > self._most_pixels:
                raise ValueError("more pixels than were allowed")
            image: RgbImage = freed_aside(np.empty((height, width, 3), dtype=np.uint8))
            if sink.readinto(image.data.cast("B")) < image.nbytes:  # type: ignore[attr-defined]  # a buffered reader's
                raise EOFError
            return image

        try:
            result = await self.run(exchange)
        except EndedError as error:
            raise Refusal(Reason.DECODING_TOOK_TOO_LONG) from error
        if isinstance(result, Reason):
            raise Refusal(result, "an image is not base64" if result is Reason.MALFORMED else "")
        return result
