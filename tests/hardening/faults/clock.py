"""The wall clock jumps by a year, forward and back, all the time; see `shim/sitecustomize.py`."""

import json
import signal
from functools import partial
from itertools import pairwise
from pathlib import Path

from faults.batch import Batch, lines, prepare
from faults.cell import Observed, Try
from faults.processes import FRESH, HERE

JUMPS = {FRESH: str(HERE / "shim")}

MONTH = 2_600_000
"""Seconds: far more than a trial takes, far less than the clock jumps."""


def jumps(command: Batch) -> Try:
    """Killed under such a clock, and gone on with under it."""
    return partial(_jumps, command)


def _jumps(command: Batch, root: Path, times: int) -> Observed:
    prepare(root)
    for _ in range(times):
        process = command.under_way(root, 10, environment=JUMPS)
        process.send(signal.SIGKILL)
        process.finish()
    assert command.complete(root, environment=JUMPS) == command.expected()
    times_told = [json.loads(line)["time"] for line in lines(root / "run" / "images.jsonl")]
    jumped = sum(abs(after - before) > MONTH for before, after in pairwise(times_told))
    assert jumped >= times, "the clock did not jump"
    return Observed(trials=jumped, words=f"{jumped} jumps seen in what it wrote down: every image once, equal bytes")
