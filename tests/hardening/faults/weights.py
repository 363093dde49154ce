"""The file of a model's weights is cut off, overwritten or replaced while it is in use."""

import shutil
from functools import partial
from pathlib import Path

from command import assert_calm
from faults.batch import Batch, forget, prepare
from faults.cell import Observed, Try
from faults.memory import NANO
from faults.processes import assert_one_line

MODEL = "hf:model"
FILE = Path("model") / "model.safetensors"
NAMED = r"model.*(damaged|cut short|cannot be loaded|incomplete)"


def swapped(command: Batch) -> Try:
    """In the middle of a run, and before one."""
    return partial(_swapped, command)


def _swapped(command: Batch, root: Path, times: int) -> Observed:
    prepare(root, 15)
    shutil.copytree(NANO, root / "model")
    sound = (root / FILE).read_bytes()
    expected = command.complete(root, MODEL)
    for change in CHANGES[:times]:
        forget(root)
        process = command.under_way(root, 5, MODEL)
        change(root / FILE)
        done = process.finish()
        assert_calm(done, 0)
        assert command.results(root, done) == expected, change
        words = NAMED if change is cut_off else "run holds the answers of another model.*weights: "
        assert_one_line(command.run(root, MODEL), words)
        (root / FILE).write_bytes(sound)
    assert command.complete(root, MODEL) == expected
    return Observed(
        trials=2 * times,
        words="identical bytes to the end of that run; then refused with a one-line error that names weights or file",
    )


def cut_off(path: Path) -> None:
    """Leave half of a file."""
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def overwritten(path: Path) -> None:
    """Write zeros into a file."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(bytes(path.stat().st_size // 4))


def replaced(path: Path) -> None:
    """Put another file instead of one."""
    other = path.with_suffix(".new")
    shutil.copy(path, other)
    overwritten(other)
    other.replace(path)


CHANGES = (cut_off, overwritten, replaced)
