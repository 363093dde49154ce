"""All cells of the matrix."""

from collections.abc import Callable

from faults import clock, cluster, corruption, disks, kills, memory, network, serve, weights, writers
from faults.batch import EVALUATE, SCORE, Batch
from faults.cell import Cell, Try
from faults.cluster import RAY

RESUMES = "the same command resumes: every image once, identical bytes"


def _batch(fault: str, promised: str, tried: Callable[[Batch], Try], *, times: int, quick: int = 0) -> list[Cell]:
    """Return the cells of `score` and `evaluate`, of which the first is also tried in the usual tests."""
    return [
        Cell(fault=fault, command=one.name, promised=promised, attempt=tried(one), times=times, quick=many)
        for one, many in ((SCORE, quick), (EVALUATE, 0))
    ]


_CELLS = [
    *_batch("SIGKILL", RESUMES, kills.killed, times=8, quick=2),
    *_batch("SIGTERM", f"ends at once by that signal, with a message; {RESUMES}", kills.told, times=6, quick=2),
    *_batch(
        "out of memory",
        "an image that does not fit is a row with an error, a model that does not fit a one-line error; both can be "
        "retried",
        memory.short_of_memory,
        times=1,
    ),
    *_batch("disk full", f"a one-line error; {RESUMES}, once there is space", disks.full_disk, times=4),
    *_batch(
        "read-only", "a one-line error; nothing is changed, and the run can still be read", disks.locked_disk, times=2
    ),
    *_batch(
        "network drop",
        "retried for `patience` seconds, then a one-line error; resuming asks only what is missing; an image that "
        "cannot be fetched is a row with an error",
        network.drops,
        times=4,
    ),
    *_batch("slow server", "waited for, then treated as a network drop", network.stalls, times=2),
    *_batch("clock jump", "changes only the times in messages and logs", clock.jumps, times=2),
    *_batch(
        "corrupt store",
        "a one-line error that names the file, or repaired by asking again; never a different score",
        corruption.corrupted,
        times=24,
    ),
    *_batch(
        "two runs on one folder", "the second is refused with a one-line error", writers.two_at_once, times=4, quick=1
    ),
    *_batch(
        "model file truncated or swapped",
        "a run keeps the weights it started with; the next one is refused with a one-line error",
        weights.swapped,
        times=3,
    ),
    *(
        Cell(fault=fault, command="serve", promised=promised, attempt=attempt, times=times)
        for fault, promised, attempt, times in (
            ("SIGKILL", "an answer is complete or absent; nothing is kept that could be lost", serve.killed, 4),
            ("SIGTERM", "requests in progress are answered, later ones refused", serve.told, 4),
            ("out of memory", "images are decoded in processes with a memory limit: see `tests/service`", None, 0),
            ("disk full", "writes nothing", None, 0),
            ("read-only", "writes nothing", None, 0),
            ("network drop", "costs only the images of the clients that left, and no queue slot", serve.drops, 6),
            ("slow server", "a model that is too slow: 504 at the deadline", serve.slow_model, 2),
            ("clock jump", "changes nothing", serve.jumps, 1),
            ("corrupt store", "keeps nothing", None, 0),
            ("two runs on one folder", "at one port: the second is refused with a one-line error", serve.same_port, 2),
            ("model file truncated or swapped", "keeps the weights it started with", serve.swapped, 2),
        )
    ),
    *(
        Cell(fault=fault, command=RAY.name, promised=promised, attempt=attempt, times=times)
        for fault, promised, attempt, times in (
            ("SIGKILL", f"of the command: {RESUMES}", kills.killed(RAY), 2),
            ("SIGTERM", f"ends at once by that signal, with a message; {RESUMES}", kills.told(RAY), 2),
            ("out of memory", "costs a worker, which is replaced: see `tests/test_distributed.py`", None, 0),
            ("disk full", f"a one-line error; {RESUMES}, once there is space", cluster.full_disk, 1),
            ("read-only", "a one-line error, nothing is changed", cluster.locked_disk, 1),
            (
                "network drop",
                "between worker and server, as `score`; a chunk is redone as a whole",
                network.drops(RAY),
                2,
            ),
            ("slow server", "as a network drop", network.stalls(RAY), 1),
            ("clock jump", "no promise: Ray's own processes depend on the clock, see above", None, 0),
            (
                "corrupt store",
                "a changed manifest is refused, or what was changed does not matter",
                cluster.corrupted,
                6,
            ),
            ("two runs on one folder", "on a disk the second is refused with a one-line error", cluster.two_at_once, 1),
            ("model file truncated or swapped", "as `score`, for each worker", cluster.swapped, 1),
        )
    ),
]

_FAULTS = list(dict.fromkeys(cell.fault for cell in _CELLS))

CELLS = sorted(_CELLS, key=lambda cell: _FAULTS.index(cell.fault))
"""By fault, and within each by command."""
