"""Tries the cells whose names have one of the given words in them, or all, and prints the table as Markdown."""

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from faults.cell import Cell
from faults.matrix import CELLS
from faults.processes import expect_all


def main() -> None:
    """Print a row a cell as it is done, and the number of trials."""
    expect_all()
    wanted = [cell for cell in CELLS if not sys.argv[1:] or any(word in cell.name for word in sys.argv[1:])]
    print("| fault | command | promised | observed | trials |\n|---|---|---|---|---|")
    trials = sum(map(_tried, wanted))
    print(f"\n{trials:,} trials, nothing lost")


def _tried(cell: Cell) -> int:
    begin = time.monotonic()
    if cell.attempt is None:
        print(f"| {cell.fault} | `{cell.command}` | - | {cell.promised} | - |", flush=True)
        return 0
    with TemporaryDirectory() as folder:
        try:
            seen = cell.attempt(Path(folder) / "trial", cell.times)
        except pytest.skip.Exception as reason:
            print(f"| {cell.fault} | `{cell.command}` | {cell.promised} | not tried: {reason} | 0 |", flush=True)
            return 0
    print(f"| {cell.fault} | `{cell.command}` | {cell.promised} | {seen.words} | {seen.trials} |", flush=True)
    print(f"{time.monotonic() - begin:5.0f} s", file=sys.stderr)
    return seen.trials


if __name__ == "__main__":  # processes that are forked import this file
    main()
