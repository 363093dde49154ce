"""Two commands write into one folder, or into one file, at once."""

import signal
from functools import partial
from pathlib import Path

from command import assert_calm
from faults.batch import FAKE, SCORE, Batch, forget, prepare
from faults.cell import Observed, Try
from faults.processes import Done, assert_one_line


def two_at_once(command: Batch) -> Try:
    """A second command comes later, and two begin together."""
    return partial(_two, command)


def _two(command: Batch, root: Path, times: int) -> Observed:
    prepare(root)
    expected = command.expected()
    for trial in range(times):
        first = command.under_way(root, 5)
        same_run = command is not SCORE or trial % 2 == 0  # `evaluate` writes its file in one go, in the end
        second = ("--out", "rows-2.jsonl") if same_run else ("--run", "run-2")
        what = r"run is being written by process \d+ on " if same_run else r"rows\.jsonl: is being written by another"
        first.send(signal.SIGSTOP)
        assert_one_line(command.run(root, FAKE, *second), what)
        first.send(signal.SIGCONT)
        _is_whole(command, root, first.finish(), expected)
    for _ in range(times):
        both = [command.start(root), command.start(root)]
        done = sorted((one.finish() for one in both), key=lambda one: one.returncode)
        assert_one_line(done[1], "is being written by")
        _is_whole(command, root, done[0], expected)
    return Observed(trials=2 * times, words="the second refused with a one-line error, the first undisturbed")


def _is_whole(command: Batch, root: Path, done: Done, expected: object) -> None:
    assert_calm(done, 0)
    command.check_whole(root)
    assert command.results(root, done) == expected
    forget(root)
