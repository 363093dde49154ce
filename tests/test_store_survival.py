"""A run folder survives kills, torn lines, full disks, second writers and folders that cannot be written."""

import errno
import json
import multiprocessing
import os
import random
import re
import resource
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mounting import grow, read_only, small_disk
from qdebias.backends.fake import FakeBackend
from qdebias.degrade import Rng
from qdebias.errors import StoreError
from qdebias.image import RgbImage
from qdebias.methods.method import QDebias, Score
from qdebias.methods.presets import CONDITIONAL, SAME_OBJECT
from qdebias.runs import lines
from qdebias.runs import run as run_module
from qdebias.runs.index import INDEX
from qdebias.runs.run import open_run, open_snapshot
from qdebias.runs.scorer import Scorer
from qdebias.runs.stored import StoredScorer


def mirrored(image: RgbImage, _: Rng) -> RgbImage:
    return image[:, ::-1]


def darker(image: RgbImage, _: Rng) -> RgbImage:
    return image // 2


def coarse(image: RgbImage, _: Rng) -> RgbImage:
    return image // 64 * 64


def noisy(image: RgbImage, rng: Rng) -> RgbImage:
    return image // 2 + rng.uniform(0, 127, image.shape).astype(np.uint8)


METHOD = QDebias(quality=CONDITIONAL, same=SAME_OBJECT, degradations=(mirrored, darker, coarse, noisy))
"""As the paper's, with degradations that need no compiled code to be loaded in each process."""

QUESTIONS = 8
"""Two about each of four conditional images."""

servers = multiprocessing.get_context("forkserver")
servers.set_forkserver_preload(["qdebias.runs", "pytest", "PIL.Image"])


def make_photos(folder: Path, count: int) -> list[Path]:
    noise = np.random.default_rng(5)
    folder.mkdir()
    for number in range(count):
        Image.fromarray(noise.integers(0, 256, (32, 40, 3), dtype=np.uint8)).save(folder / f"{number:03}.png")
    return sorted(folder.iterdir())


def work(
    folder: Path, paths: list[Path], *, batch: int = 1, acknowledged: Path | None = None, delay: float = 0.0
) -> int:
    """Ask what is missing, write down each image once it is reported done, and return how many questions were asked."""
    backend = FakeBackend(delay=delay)
    with open_run(folder, backend.fingerprint, model="fake") as run:
        for outcome in StoredScorer(run, Scorer(backend=backend, method=METHOD, batch=batch), name="mine").ask(paths):
            if acknowledged is not None:
                with acknowledged.open("a") as file:
                    file.write(f"{outcome.path}\n")
    return sum(len(request.questions) for call in backend.calls for request in call)


def scores(folder: Path, paths: list[Path]) -> list[float]:
    backend = FakeBackend()
    with open_run(folder, backend.fingerprint, model="fake") as run:
        results = list(StoredScorer(run, Scorer(backend=backend, method=METHOD), name="mine").results(paths))
    assert not backend.calls
    return [result.value for result in results if isinstance(result, Score)]


def whole_rows(path: Path) -> list[dict[str, object]]:
    """Return the lines of a file, leaving out a torn last one."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def assert_complete(folder: Path, paths: list[Path]) -> None:
    keys = Counter(row["key"] for row in whole_rows(folder / "answers.jsonl"))
    assert len(keys) == QUESTIONS * len(paths)
    assert set(keys.values()) == {1}
    assert Counter(row["path"] for row in whole_rows(folder / "images.jsonl")) == Counter(map(str, paths))


def start(target: Callable[..., object], *arguments: object) -> ForkServerProcess:
    process = servers.Process(target=target, args=arguments, daemon=True)
    process.start()
    return process


def kill(process: ForkServerProcess) -> None:
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL


def _work_and_acknowledge(folder: Path, paths: list[Path], acknowledged: Path, batch: int, pause: float) -> None:
    run_module.INDEX_SECONDS = run_module.SYNC_SECONDS = pause
    work(folder, paths, batch=batch, acknowledged=acknowledged, delay=0.002)


@pytest.mark.parametrize(("batch", "pause"), [(1, 10.0), (4, 10.0), (1, 0.0)])
def test_kills_at_random_points_lose_and_repeat_nothing(batch: int, pause: float, tmp_path: Path) -> None:
    """Eight kills each; without a pause, the index is written and everything forced to disk after every single line."""
    paths = make_photos(tmp_path / "photos", 600)
    folder, acknowledged = tmp_path / "run", tmp_path / "acknowledged"
    chance = random.Random(batch)  # noqa: S311
    acknowledged.touch()
    for _ in range(8):
        before = acknowledged.stat().st_size
        process = start(_work_and_acknowledge, folder, paths, acknowledged, batch, pause)
        while acknowledged.stat().st_size == before:
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.03))
        kill(process)
        done = Counter(row["path"] for row in whole_rows(folder / "images.jsonl"))
        reported = [line for line in acknowledged.read_text().splitlines(keepends=True) if line.endswith("\n")]
        assert {line.rstrip("\n") for line in reported} <= set(done)
        assert set(done.values()) == {1}
    assert len(done) < len(paths), "every kill has to come before the end"
    work(folder, paths, batch=batch)
    assert_complete(folder, paths)
    assert scores(folder, paths) == [
        score.value for score in Scorer(backend=FakeBackend(), method=METHOD).score_many(paths)
    ]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    base = tmp_path_factory.mktemp("finished")
    paths = make_photos(base / "photos", 6)
    work(base / "run", paths)
    return base / "run", paths


def copy_of(finished: tuple[Path, list[Path]], tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    for file in finished[0].iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.mark.parametrize("keep_index", [True, False])
@pytest.mark.parametrize("name", ["answers.jsonl", "images.jsonl"])
def test_a_file_cut_off_anywhere_is_repaired(
    name: str, keep_index: bool, finished: tuple[Path, list[Path]], tmp_path: Path
) -> None:
    paths = finished[1]
    folder = copy_of(finished, tmp_path)
    whole = (folder / name).read_bytes()
    somewhere = random.Random(3).sample(range(len(whole)), 5)  # noqa: S311
    for size in [0, 1, len(whole) - 1, *somewhere]:
        with (folder / name).open("r+b") as file:
            file.truncate(size)
        if not keep_index:
            (folder / INDEX).unlink()
        complete_calls = sum(b'"more":0' in line for line in whole[:size].split(b"\n")[:-1])
        asked = work(folder, paths)
        assert asked == (QUESTIONS * (len(paths) - complete_calls) if name == "answers.jsonl" else 0)
        assert_complete(folder, paths)


def test_what_a_loss_of_power_leaves_at_the_end_is_cut_off(finished: tuple[Path, list[Path]], tmp_path: Path) -> None:
    folder = copy_of(finished, tmp_path)
    good = (folder / "answers.jsonl").read_bytes().splitlines(keepends=True)[-1]
    with (folder / "answers.jsonl").open("ab") as file:
        file.write(b"\0" * 5000 + b"\n" + good)
    with open_run(folder, FakeBackend().fingerprint, model="fake") as run:
        assert run.notes == [f"answers.jsonl: cut off {5001 + len(good)} bytes of unfinished work"]
    assert work(folder, finished[1]) == 0
    assert_complete(folder, finished[1])


def test_outcomes_do_not_outlive_the_answers_they_stand_on(finished: tuple[Path, list[Path]], tmp_path: Path) -> None:
    folder, paths = copy_of(finished, tmp_path), finished[1]
    with (folder / "answers.jsonl").open("r+b") as file:
        file.truncate(file.seek(0, os.SEEK_END) // 2 - 100)
    with open_run(folder, FakeBackend().fingerprint, model="fake"):
        assert len(whole_rows(folder / "images.jsonl")) == 2
    work(folder, paths)
    assert_complete(folder, paths)


def test_damage_in_the_middle_is_named_and_not_mended_silently(
    finished: tuple[Path, list[Path]], tmp_path: Path
) -> None:
    folder, paths = copy_of(finished, tmp_path), finished[1]
    file = folder / "answers.jsonl"
    rows = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([*rows[:19], b"x" + rows[19], *rows[20:]]))
    with pytest.raises(StoreError, match=r"answers\.jsonl: line 20 is damaged .* keep the first 19 lines"):
        work(folder, paths)
    file.write_bytes(b"".join(rows[:19]))
    assert work(folder, paths) == QUESTIONS * 4
    assert_complete(folder, paths)


@pytest.mark.parametrize(("old", "new"), [(b'"logits":[', b'"logits":["x",'), (b'{"key":"', b'{"key":"z')])
def test_lines_that_no_run_writes_are_one_clear_error(
    old: bytes, new: bytes, finished: tuple[Path, list[Path]], tmp_path: Path
) -> None:
    folder = copy_of(finished, tmp_path)
    file = folder / "answers.jsonl"
    without_sums = re.sub(rb',"sum":"[0-9a-f]{8}"', b"", file.read_bytes())
    file.write_bytes(without_sums.replace(old, new, 1))
    with pytest.raises(StoreError, match=r"answers\.jsonl or images\.jsonl has a line that no run writes"):
        work(folder, finished[1])


def test_a_changed_digit_is_damage_and_not_another_score(finished: tuple[Path, list[Path]], tmp_path: Path) -> None:
    folder, paths = copy_of(finished, tmp_path), finished[1]
    expected = scores(folder, paths)
    answers, index = folder / "answers.jsonl", folder / INDEX
    whole, indexed = answers.read_bytes(), index.read_bytes()
    logits = json.loads(whole.splitlines()[3])["logits"]
    packed = np.array(logits).tobytes()
    assert indexed.count(packed) == 1
    index.write_bytes(indexed.replace(packed, np.array(logits[::-1]).tobytes()))
    with pytest.raises(StoreError, match="does not fit the other files of the run, or is damaged; delete it"):
        scores(folder, paths)
    index.unlink()
    assert scores(folder, paths) == expected
    index.unlink()
    answers.write_bytes(whole.replace(str(logits[0]).encode(), str(-logits[0]).encode(), 1))
    with pytest.raises(StoreError, match="line 4 is damaged"):
        scores(folder, paths)
    answers.write_bytes(whole)
    manifest = folder / "run.json"
    changed = manifest.read_text().replace('"seed": 0', '"seed": 1')
    for text in (changed, re.sub(r'"sum": "[0-9a-f]{8}",', "", changed)):
        manifest.write_text(text)
        with pytest.raises(StoreError, match=r"run\.json: was changed since it was written"):
            scores(folder, paths)


def test_another_name_or_digest_in_the_index_is_damage_and_not_another_result(
    finished: tuple[Path, list[Path]], tmp_path: Path
) -> None:
    folder, paths = copy_of(finished, tmp_path), finished[1]
    expected, whole = scores(folder, paths), (folder / INDEX).read_bytes()
    row = whole_rows(folder / "images.jsonl")[2]
    for said in (bytes.fromhex(str(row["image"])), str(row["method"]).encode(), str(row["path"]).encode()):
        place = whole.index(said)
        (folder / INDEX).write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(StoreError, match=r"delete it, and it is rebuilt"):
            scores(folder, paths)
        (folder / INDEX).unlink()
        assert scores(folder, paths) == expected


@pytest.mark.parametrize("damage", [b"", b"garbage" * 1000, None])
def test_the_index_is_made_anew_when_it_cannot_be_used(
    damage: bytes | None, finished: tuple[Path, list[Path]], tmp_path: Path
) -> None:
    folder, paths = copy_of(finished, tmp_path), finished[1]
    expected = scores(folder, paths)
    if damage is None:
        (folder / INDEX).unlink()
    else:
        (folder / INDEX).write_bytes(damage)
    with open_snapshot(folder) as snapshot:
        assert snapshot.index.answer_count() == QUESTIONS * len(paths)
    assert scores(folder, paths) == expected
    assert work(folder, paths) == 0


def test_an_index_of_another_run_is_not_believed(finished: tuple[Path, list[Path]], tmp_path: Path) -> None:
    folder, paths = copy_of(finished, tmp_path), finished[1]
    work(tmp_path / "other", make_photos(tmp_path / "others", 9))
    (folder / INDEX).write_bytes((tmp_path / "other" / INDEX).read_bytes())
    assert work(folder, paths) == 0
    with open_snapshot(folder) as snapshot:
        assert snapshot.index.answer_count() == QUESTIONS * len(paths)


def _hold(folder: Path, held: Path) -> None:
    with open_run(folder, FakeBackend().fingerprint, model="fake"):
        held.touch()
        time.sleep(60)


def test_a_second_writer_is_refused_until_the_first_is_dead(tmp_path: Path) -> None:
    folder, held, paths = tmp_path / "run", tmp_path / "held", make_photos(tmp_path / "photos", 2)
    process = start(_hold, folder, held)
    while not held.exists():
        time.sleep(0.01)
    with pytest.raises(StoreError, match=rf"run is being written by process {process.pid} on .* since .*; wait for it"):
        work(folder, paths)
    with open_snapshot(folder) as snapshot:  # reading needs no lock
        assert snapshot.index.answer_count() == 0
    kill(process)
    assert (folder / "lock.holder").exists()
    work(folder, paths)
    assert_complete(folder, paths)


def _work_in_little_space(folder: Path, paths: list[Path], limit: int, told: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        work(folder, paths, acknowledged=None)
        message = "finished"
    except StoreError as error:
        message = str(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    told.write_text(message[: limit - 1])


@pytest.mark.parametrize("limit", [600, 3_000, 12_000, 25_000, 40_000])
def test_files_that_may_not_grow_stop_the_run_and_harm_nothing(limit: int, tmp_path: Path) -> None:
    """The operating system refuses every write behind `limit` bytes of a file, part of a line or not."""
    paths, folder, told = make_photos(tmp_path / "photos", 24), tmp_path / "run", tmp_path / "told"
    process = start(_work_in_little_space, folder, paths, limit, told)
    process.join()
    assert process.exitcode == 0
    message = told.read_text()
    assert "cannot be written" in message or "nothing of the run is lost" in message
    for name in ("answers.jsonl", "images.jsonl"):
        with suppress(FileNotFoundError):
            assert (folder / name).read_bytes()[-1:] in (b"", b"\n")
    done = {row["path"] for row in whole_rows(folder / "images.jsonl")}
    assert work(folder, paths) <= QUESTIONS * (len(paths) - len(done))
    assert_complete(folder, paths)


def test_a_full_disk_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes are refused as a full disk refuses them, after some of the bytes have been written."""
    paths, folder = make_photos(tmp_path / "photos", 5), tmp_path / "run"
    work(folder, paths[:2])
    real = os.write

    def write(file: int, data: bytes) -> int:
        if len(data) > 300:
            return real(file, data[:300])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(lines.os, "write", write)
        with pytest.raises(
            StoreError, match=r"answers\.jsonl: cannot be written \(No space left on device\); what was"
        ):
            work(folder, paths)
    assert work(folder, paths) == QUESTIONS * 3
    assert_complete(folder, paths)


def test_a_read_only_folder_is_one_clear_error_and_can_be_read(
    finished: tuple[Path, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening for writing is refused as a read-only file system refuses it (permissions do not bind root)."""
    folder, paths = copy_of(finished, tmp_path), finished[1]
    real = os.open

    def open_for_reading(path: object, flags: int, *more: object, **named: object) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        return real(path, flags, *more, **named)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", open_for_reading)
        with pytest.raises(StoreError, match=r"run: cannot be locked for writing \(.*Read-only file system"):
            work(folder, paths)
        with open_snapshot(folder) as snapshot:
            assert snapshot.index.answer_count() == QUESTIONS * len(paths)
    assert work(folder, paths) == 0


@pytest.mark.parametrize("size", [16, 64, 96, 128])
def test_a_disk_that_is_really_full_stops_the_run_which_goes_on_once_there_is_space(size: int, tmp_path: Path) -> None:
    paths, folder = make_photos(tmp_path / "photos", 60), tmp_path / "small" / "run"
    with small_disk(folder.parent, size):
        with pytest.raises(StoreError, match=r"No space left on device|full"):
            work(folder, paths, batch=4)
        done = len(whole_rows(folder / "images.jsonl"))
        grow(folder.parent)
        assert work(folder, paths, batch=4) <= QUESTIONS * (len(paths) - done)
        assert_complete(folder, paths)


def test_a_file_system_that_is_really_read_only_is_one_clear_error_and_can_be_read(
    finished: tuple[Path, list[Path]], tmp_path: Path
) -> None:
    folder, paths = copy_of(finished, tmp_path), finished[1]
    with (folder / "answers.jsonl").open("ab") as file:
        file.write(b'{"key"')
    with read_only(folder):
        with pytest.raises(StoreError, match="Read-only file system"):
            work(folder, paths)
        with pytest.raises(StoreError, match=r"new: cannot be written \(Read-only file system\)"):
            work(folder / "new", paths)
        with open_snapshot(folder) as snapshot:
            assert snapshot.index.answer_count() == QUESTIONS * len(paths)
    assert work(folder, paths) == 0


def test_a_folder_that_cannot_be_made_is_one_clear_error() -> None:
    with pytest.raises(StoreError, match="cannot be written"):
        work(Path("/proc/run"), [])
