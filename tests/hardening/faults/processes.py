"""Commands as processes of their own: forked from one that has imported the package, which saves a second each."""

import multiprocessing
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from tempfile import TemporaryDirectory

from command import assert_calm, command

HERE = Path(__file__).resolve().parent
MODULES = [str(HERE.parent), str(HERE.parent.parent)]
"""Where models and helpers of the trials are found."""

FRESH = "FAULTS_FRESH"
"""Variable with a folder that stands first on Python's path: the command is then a process that begins anew."""

Done = subprocess.CompletedProcess[str]

_servers = multiprocessing.get_context("forkserver")
_FEW = ["pytest", "faults.processes", "qdebias.cli.score", "qdebias.cli.evaluate"]
_MORE = [
    "faults.matrix",
    "qdebias.backends.openai_http.backend",
    "qdebias.backends.hf.loading",
    "qdebias.cli.serve",
    "qdebias.service.server",
    "numba",
]


_servers.set_forkserver_preload(_FEW)


def expect_all() -> None:
    """Import beforehand what all cells need; call it before the first command."""
    _servers.set_forkserver_preload([*_FEW, *_MORE])


class Command:
    """A command that was started.

    Args:
        arguments: Of the command line.
        folder: Where it runs.
        memory: Bytes of address space that it may take beyond what it begins with; None does not limit it.
        environment: More variables.
    """

    def __init__(
        self,
        arguments: Sequence[object],
        *,
        folder: Path,
        memory: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._words = ["qdebias", *map(str, arguments)]
        self._told = TemporaryDirectory()
        told, settings = Path(self._told.name), {"OMP_NUM_THREADS": "1", **(environment or {})}
        self._process = _start(self._words, folder, told, memory, settings)

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid or 0

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.is_alive()

    def finish(self, seconds: float = 120) -> Done:
        """Wait until it ends; one that does not is killed and fails the trial."""
        self._process.join(seconds)
        late = self._process.is_alive()
        if late:
            self._process.kill()
            self._process.join()
        out, err = (Path(self._told.name, name).read_text() for name in ("out", "err"))
        self._told.cleanup()
        assert not late, f"{self._words} did not end within {seconds} s: {err[-3000:]}"
        return Done(self._words, self._process.exitcode or 0, out, err)


def run(arguments: Sequence[object], *, folder: Path, seconds: float = 120, **settings: object) -> Done:
    """Run a command to its end."""
    return Command(arguments, folder=folder, **settings).finish(seconds)  # type: ignore[arg-type]


def assert_one_line(done: Done, pattern: str) -> None:
    """The command ended with one line that says why, and exit code 2."""
    assert_calm(done, 2)
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    assert re.search(pattern, lines[0]), lines[0]
    assert done.stderr.endswith(f"{lines[0]}\n"), done.stderr


def wait_until(happened: object, *, seconds: float = 180) -> None:
    """Wait for what another process or thread will do."""
    end = time.monotonic() + seconds
    while not happened():  # type: ignore[operator]
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.002)


def _start(
    words: Sequence[str], folder: Path, told: Path, memory: int | None, settings: Mapping[str, str]
) -> ForkServerProcess:
    process = _servers.Process(target=_become, args=(words, folder, told, memory, settings), daemon=True)
    process.start()
    return process


def _become(words: Sequence[str], folder: Path, told: Path, memory: int | None, settings: Mapping[str, str]) -> None:
    """Be the command."""
    for number, name in ((1, "out"), (2, "err")):
        file = os.open(told / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(file, number)
    os.chdir(folder)
    os.environ.update(settings)
    sys.path[:0] = MODULES
    sys.argv = list(words)
    if FRESH in settings:
        os.environ["PYTHONPATH"] = os.pathsep.join([settings[FRESH], *MODULES, os.environ.get("PYTHONPATH", "")])
        fresh = command(*words[1:])
        os.execv(fresh[0], fresh)  # noqa: S606
    from qdebias.cli import main

    if memory is not None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + memory
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    main()
