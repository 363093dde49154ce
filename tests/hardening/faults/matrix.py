"""All cells of the matrix."""

from collections.abc import Callable

from faults import clock, corruption, disks, kills, memory, network, weights, writers
from faults.batch import EVALUATE, SCORE, Batch
from faults.cell import Cell, Try

GOES_ON = "the same command goes on: every image once, equal bytes"


def _batch(fault: str, promised: str, tried: Callable[[Batch], Try], *, times: int, quick: int = 0) -> list[Cell]:
    """Return the cells of `score` and `evaluate`, of which the first is also tried in the usual tests."""
    return [
        Cell(fault=fault, command=one.name, promised=promised, attempt=tried(one), times=times, quick=many)
        for one, many in ((SCORE, quick), (EVALUATE, 0))
    ]


CELLS: list[Cell] = [
    *_batch("SIGKILL", GOES_ON, kills.killed, times=8, quick=2),
    *_batch("SIGTERM", f"ends at once, by that signal, with a word; {GOES_ON}", kills.told, times=6, quick=2),
    *_batch(
        "out of memory",
        "an image that does not fit is a row with an error, a model one line; either can be tried again",
        memory.short_of_memory,
        times=1,
    ),
    *_batch("disk full", f"one line; {GOES_ON}, once there is space", disks.full_disk, times=4),
    *_batch("read-only", "one line, nothing is changed, and the run can be read", disks.locked_disk, times=2),
    *_batch(
        "network drop",
        "asked again for `patience` seconds, then one line; going on asks only what is missing; an image that cannot "
        "be fetched is a row with an error",
        network.drops,
        times=4,
    ),
    *_batch("slow server", "waited for, then as a network drop", network.stalls, times=2),
    *_batch("clock jump", "changes nothing but the times in words and logs", clock.jumps, times=2),
    *_batch(
        "corrupt store",
        "one line that names the file, or mended by asking again; never another score",
        corruption.corrupted,
        times=24,
    ),
    *_batch("two runs on one folder", "the second is refused in one line", writers.two_at_once, times=4, quick=1),
    *_batch(
        "model file truncated or swapped",
        "a run keeps the weights that it began with; the next one is refused in one line",
        weights.swapped,
        times=3,
    ),
]
