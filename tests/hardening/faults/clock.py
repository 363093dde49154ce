"""The wall clock jumps by a year, forward and back, all the time; see `shim/sitecustomize.py`."""

import json
import signal
import time
from functools import partial
from itertools import pairwise
from pathlib import Path

from faults.batch import Batch, lines, prepare
from faults.cell import Observed, Try
from faults.processes import FRESH, HERE

JUMPS = {FRESH: str(HERE / "shim")}

A_SECOND = 5
"""How often it jumps."""

MONTH = 2_600_000
"""Seconds: far more than a trial takes, far less than the clock jumps."""


def jumps(command: Batch) -> Try:
    """Killed under such a clock, and gone on with under it."""
    return partial(_jumps, command)


def _jumps(command: Batch, root: Path, times: int) -> Observed:
    prepare(root)
    begin = time.monotonic()
    for _ in range(times):
        process = command.under_way(root, command.total // 6, environment=JUMPS)
        process.send(signal.SIGKILL)
        process.finish()
    assert command.complete(root, environment=JUMPS) == command.expected()
    jumped = int((time.monotonic() - begin) * A_SECOND)
    _check_it_jumped(root)
    return Observed(trials=jumped, words=f"{jumped} jumps: every image once, identical bytes")


def _check_it_jumped(root: Path) -> None:
    """A run folder says when each image was done, so the jumps show in it."""
    told = [json.loads(line)["time"] for line in lines(root / "run" / "images.jsonl")]
    assert not told or any(abs(after - before) > MONTH for before, after in pairwise(told)), "the clock did not jump"
