"""The disk is full, or may not be written; once that is mended, the same command resumes."""

import signal
from functools import partial
from pathlib import Path

from command import assert_calm
from faults.batch import FAKE, Batch, prepare
from faults.cell import Observed, Try
from faults.processes import assert_one_line, run
from mounting import grow, read_only, small_disk

SIZES = (4, 16, 28, 64)
"""KiB of the disks that run full: in the beginning, in the middle, and shortly before the end."""

FULL = "No space left on device|database or disk is full|disk I/O error"
READ_ONLY = "Read-only file system"


def full_disk(command: Batch) -> Try:
    """A disk without space below the run folder, then below the file of results alone."""
    return partial(_full, command)


def locked_disk(command: Batch) -> Try:
    """A run folder, then a file of results, that may not be written."""
    return partial(_locked, command)


def _full(command: Batch, root: Path, times: int) -> Observed:
    prepare(root)
    places = []
    for size in SIZES[:times]:
        with small_disk(root / "run", size):
            refused = command.run(root)
            assert_one_line(refused, FULL)
            places.append(command.steps(root))
            grow(root / "run")
            assert command.complete(root, FAKE) == command.expected(FAKE)
    for suffix in ("csv", "jsonl", "parquet"):
        with small_disk(root / "small", 4):
            out = root / "small" / f"rows.{suffix}"
            assert_one_line(command.run(root, FAKE, "--out", out), rf"rows\.{suffix}: cannot be written")
            assert suffix != "parquet" or not list(out.parent.iterdir()), "a table is whole or absent"
    assert command.complete(root, FAKE) == command.expected(FAKE)
    return Observed(
        trials=len(places) + 3,
        words=f"a one-line error, full at {places[0]} to {places[-1]} of "
        f"{command.steps(root)}, then resumed: identical bytes",
    )


def _locked(command: Batch, root: Path, times: int) -> Observed:
    prepare(root)
    expected = command.expected(FAKE)
    for _ in range(times):
        process = command.under_way(root, 5)
        process.send(signal.SIGKILL)
        process.finish()
        before = contents(root / "run")
        with read_only(root / "run"):
            assert_one_line(command.run(root, FAKE), READ_ONLY)
            assert_calm(run(["status", "run"], folder=root), 0)
        assert contents(root / "run") == before
    (root / "locked").mkdir()
    with read_only(root / "locked"):
        assert_one_line(command.run(root, FAKE, "--out", "locked/rows.csv"), READ_ONLY)
        assert_one_line(command.run(root, FAKE, "--run", "locked/run"), READ_ONLY)
    assert command.complete(root, FAKE) == expected
    return Observed(
        trials=times + 2, words="a one-line error, nothing changed, still readable; then resumed: identical bytes"
    )


def contents(folder: Path) -> dict[str, bytes]:
    """Return all files below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
