"""`score --ray local`, as far as the trials have to know it, and what only it meets."""

import shutil
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq

from command import assert_calm
from faults.batch import COUNT, FAKE, Batch, forget, prepare
from faults.cell import Observed
from faults.corruption import damaged, restore
from faults.disks import READ_ONLY, contents
from faults.memory import NANO
from faults.processes import FRESH, HERE, Done, assert_one_line
from faults.weights import CHANGES, FILE, MODEL, NAMED
from mounting import grow, read_only, small_disk

CHUNK = 5


def _rows(root: Path) -> list[dict[str, object]]:
    return [
        row for path in sorted((root / "out" / "scores").glob("*.parquet")) for row in pq.read_table(path).to_pylist()
    ]


def _steps(root: Path) -> int:
    return len(list((root / "out" / "scores").glob("*.parquet")))


def _results(root: Path, _: Done) -> object:
    return [(Path(str(row["path"])).name, row["score"], row["logits"], row["error"]) for row in _rows(root)]


def _check_each_image_is_there_once(root: Path) -> None:
    counts = Counter(row["path"] for row in _rows(root))
    assert len(counts) == len(list((root / "photos").iterdir()))
    assert set(counts.values()) == {1}


RAY = Batch(
    name="Ray run",
    words=(
        *("score", "photos", "--ray", "local", "--actors", "1", "--out", "out", "--chunk", str(CHUNK)),
        *("--method", "vanilla", "--batch", "1"),
    ),
    steps=_steps,
    results=_results,
    check_whole=_check_each_image_is_there_once,
    size=CHUNK,
    environment={FRESH: str(HERE), "RAY_USAGE_STATS_ENABLED": "0"},
)


def two_at_once(root: Path, _: int) -> Observed:
    """A second command comes while the first is at work."""
    prepare(root)
    first = RAY.under_way(root, 1)
    assert_one_line(RAY.run(root), r"out is being written by process \d+ on ")
    done = first.finish()
    assert done.returncode == 0, done
    RAY.check_whole(root)
    assert RAY.results(root, done) == RAY.expected()
    return Observed(trials=1, words="the second refused with a one-line error, the first undisturbed")


def full_disk(root: Path, _: int) -> Observed:
    """The disk below the folder runs full."""
    prepare(root)
    with small_disk(root / "out", 40):
        assert_one_line(RAY.run(root, FAKE), "No space left on device")
        done = RAY.steps(root)
        grow(root / "out")
        assert RAY.complete(root, FAKE) == RAY.expected()
    return Observed(
        trials=1, words=f"a one-line error, full at {done} of {COUNT // CHUNK} chunks; then resumed: identical rows"
    )


def locked_disk(root: Path, _: int) -> Observed:
    """The folder may not be written."""
    prepare(root)
    (root / "out").mkdir()
    with read_only(root / "out"):
        assert_one_line(RAY.run(root, FAKE), READ_ONLY)
    assert not contents(root / "out")
    return Observed(trials=1, words="a one-line error before anything starts")


def corrupted(root: Path, times: int) -> Observed:
    """Bytes of the manifest are changed or cut off; where all is scored, no cluster is needed to notice."""
    prepare(root)
    expected, chance = RAY.complete(root, FAKE), RAY.chance()
    sound = {name: data for name, data in contents(root / "out").items() if not name.startswith("lock")}
    noticed = 0
    for _ in range(times):
        restore(root / "out", sound)
        (root / "out" / "manifest.json").write_bytes(damaged(sound["manifest.json"], chance))
        done = RAY.run(root, FAKE)
        if done.returncode:
            assert_one_line(done, "manifest|folder holds scores of another kind|images are not those")
            noticed += 1
        assert RAY.results(root, done) == expected
    return Observed(trials=times, words=f"{noticed} of {times} refused with a one-line error, rows unchanged")


def swapped(root: Path, times: int) -> Observed:
    """The weights are overwritten, cut off or replaced while a worker runs, and another worker begins with them."""
    prepare(root)
    shutil.copytree(NANO, root / "model")
    sound, expected = (root / FILE).read_bytes(), RAY.complete(root, MODEL)
    for change in CHANGES[:times]:
        forget(root)
        process = RAY.under_way(root, 1, MODEL)
        change(root / FILE)
        done = process.finish()
        assert_calm(done, 0)
        assert RAY.results(root, done) == expected, change
        (root / "out" / "scores" / "00000003.parquet").unlink()
        assert_one_line(RAY.run(root, MODEL), rf"{NAMED}|holds scores of another kind \(weights: ")
        (root / FILE).write_bytes(sound)
        assert RAY.complete(root, MODEL) == expected
    return Observed(trials=2 * times, words="identical rows to the end of that run; then refused with a one-line error")
