"""Bytes of what a command wrote are changed or cut off: that is noticed, or mended, and never another score."""

import shutil
from functools import partial
from pathlib import Path
from random import Random

from command import assert_calm
from faults.batch import EVALUATE, FAKE, Batch, prepare
from faults.cell import Observed, Try
from faults.disks import contents
from faults.processes import assert_one_line, run

NAMED = r"answers\.jsonl|images\.jsonl|run\.json|index\.sqlite|tables/labels-seed0\.json"
PASSED_OVER = ("lock",)


def corrupted(command: Batch) -> Try:
    """One byte of one file is another, or one file ends early; with its index and without."""
    return partial(_corrupted, command)


def _corrupted(command: Batch, root: Path, times: int) -> Observed:
    prepare(root)
    expected, shown = command.complete(root, FAKE), _shown(command, root)
    sound, chance = contents(root / "run"), command.chance()
    names = sorted(set(sound) - set(PASSED_OVER))
    noticed = mended = 0
    for trial in range(times):
        name = names[trial % len(names)]
        restore(root / "run", sound, without="index.sqlite" if trial % 2 and name.endswith("jsonl") else "")
        (root / "run" / name).write_bytes(damaged(sound[name], chance))
        assert _shown(command, root) <= shown, name
        done = command.run(root, FAKE)
        if done.returncode == 2:
            assert_one_line(done, NAMED)
            noticed += 1
        else:
            assert_calm(done, 0)
            assert command.results(root, done) == expected, name
            mended += 1
    restore(root / "run", sound)
    assert command.complete(root, FAKE) == expected
    return Observed(
        trials=times,
        words=f"{noticed} refused with a one-line error that names the file, {mended} "
        "repaired; never a different score",
    )


def _shown(command: Batch, root: Path) -> set[str]:
    """Return the lines with scores that other commands read from the folder."""
    readers = [["export", "run", "--json"], *([["tables", "--run", "run"]] if command is EVALUATE else [])]
    lines: set[str] = set()
    for words in readers:
        done = run(words, folder=root)
        assert_calm(done, 0, 1, 2)
        lines |= {line for line in done.stdout.splitlines() if '"score": null' not in line}
    return lines


def restore(folder: Path, sound: dict[str, bytes], without: str = "") -> None:
    """Put a folder back as it was, but for one file."""
    shutil.rmtree(folder)
    for name, data in sound.items():
        if name != without:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)


def damaged(data: bytes, chance: Random) -> bytes:
    """Return the bytes with one bit turned, or cut off."""
    place = chance.randrange(len(data))
    if chance.random() < 0.3:
        return data[:place]
    return data[:place] + bytes([data[place] ^ (1 << chance.randrange(8))]) + data[place + 1 :]
