"""A command is killed, or told to end, somewhere in the middle; the same command resumes."""

import signal
import time
from functools import partial
from pathlib import Path

from faults.batch import Batch, prepare
from faults.cell import Observed, Try

PROMPT = 5.0
"""Seconds within which a command ends that is told to, on a busy machine."""


def killed(command: Batch) -> Try:
    """SIGKILL."""
    return partial(_goes_on, command, (signal.SIGKILL,))


def told(command: Batch) -> Try:
    """SIGTERM, and Ctrl-C in every other trial."""
    return partial(_goes_on, command, (signal.SIGTERM, signal.SIGINT))


def _goes_on(command: Batch, signals: tuple[signal.Signals, ...], root: Path, times: int) -> Observed:
    prepare(root)
    chance, places = command.chance(), []
    for trial in range(times):
        process, number = command.under_way(root, 1 + chance.randrange(4)), signals[trial % len(signals)]
        time.sleep(chance.uniform(0, 0.02))
        begin = time.monotonic()
        process.send(number)
        done = process.finish(30)
        assert done.returncode == -number, done
        assert time.monotonic() - begin < PROMPT
        if number != signal.SIGKILL:
            kept, last = done.stderr.splitlines()[-2:]
            assert kept.endswith("keeps what was done, and the same command resumes from there"), done.stderr
            assert last == f"stopped by {number.name}"
        places.append(command.steps(root))
    assert command.complete(root) == command.expected(), "not the results of a run that was not stopped"
    total = command.steps(root)
    assert places[-1] < total, "every trial has to come before the end"
    return Observed(
        trials=times, words=f"stopped at {places[0]} to {places[-1]} of {total}: every image once, identical bytes"
    )
