"""No command writes over what it reads, and no file is emptied before there is something to put in."""

import errno
import os
import tarfile
import unicodedata
from collections.abc import Callable
from io import BytesIO, TextIOWrapper
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from qdebias.cli.options import check_outputs
from qdebias.curation import COPY, MOVE, Way, place
from qdebias.errors import SettingError, StoreError
from qdebias.inputs.datasets import load_dataset
from qdebias.runs.records import Record, open_writer
from qdebias.system.output import beside, locked, replacing, write_file
from test_cli import run

OLD = "path,score\nold.png,0.5\n"


def save(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


@pytest.mark.parametrize(
    "arguments",
    [
        ("a.png", "--model", "/no/such/model"),
        ("a.png", "--model", "openai:http://127.0.0.1:9/v1#m"),
        ("a.png", "--device", "cuda:99"),
        ("a.png", "--method", "papr"),
        ("nothing.png",),
        ("a.png", "--run", "other"),
        ("a.png", "--run", "another-model"),
    ],
)
def test_what_cannot_begin_leaves_the_old_file_as_it_was(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "a.png")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file.txt").write_text("no run")
    assert (
        run("score", "a.png", "--model", "sharpness", "--method", "vanilla", "--run", "another-model").returncode == 0
    )
    for name in ("old.csv", "old.jsonl", "old.parquet"):
        (tmp_path / name).write_text(OLD)
        assert run("score", *arguments, "--out", name).returncode == 2
        assert (tmp_path / name).read_text() == OLD
    assert not list(tmp_path.glob(".*")), "nothing is left behind"


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_the_old_file_stays_until_the_first_row(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows{suffix}"
    path.write_text(OLD)
    with open_writer(path) as write:
        assert path.read_text() == OLD
        write(Record(path="new.png", score=0.5, error=None, model="m", method="k", seed=0))
        assert "new.png" in path.read_text()
        assert "old.png" not in path.read_text()


def test_no_rows_are_a_file_without_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(OLD)
    with open_writer(path):
        pass
    assert path.read_text().startswith("path,score,error")
    assert path.read_text().count("\n") == 1


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "sub" / "a.png")
    path = tmp_path / "sub" / "t.csv"
    path.write_text("image,mos\na.png,1\n")
    (tmp_path / "link.csv").symlink_to(path)
    os.link(path, tmp_path / "hard.csv")
    (tmp_path / "folder").symlink_to(tmp_path / "sub")
    return path


@pytest.mark.parametrize("name", ["sub/t.csv", "./sub/../sub//t.csv", "link.csv", "hard.csv", "folder/t.csv"])
def test_an_output_that_is_an_input_is_refused_by_whatever_name(name: str, table: Path) -> None:
    before = table.read_text()
    for command in ("score", "evaluate"):
        done = run(command, "sub/t.csv", "--model", "fake", "--out", name)
        assert done.returncode == 2
        assert "what the command reads (sub/t.csv)" in done.stderr
    assert "what the command reads" in run("score", str(table), "--model", "fake", "--out", name).stderr
    assert "what the command reads" in run("score", "*/t.csv", "--model", "fake", "--out", name).stderr
    assert table.read_text() == before


@pytest.mark.usefixtures("table")
def test_a_picture_of_an_input_folder_is_not_replaced(tmp_path: Path) -> None:
    before = (tmp_path / "sub" / "a.png").read_bytes()
    (tmp_path / "list.txt").write_text("sub/a.png\n")
    for argument in ("sub", "sub/a.png", "sub/*.png", "list.txt", "folder"):
        done = run("explain", argument, "--model", "fake", "--out", "sub/a.png")
        assert (done.returncode, (tmp_path / "sub" / "a.png").read_bytes()) == (2, before), argument


@pytest.mark.parametrize(
    ("command", "kept"),
    [
        (("score", "list.txt", "--out", "sub/t.csv"), "sub/t.csv"),
        (("score", "sub/t{0..2}.csv", "--out", "sub/t1.csv"), "sub/t1.csv"),
        (("score", "held.parquet", "--out", "sub/../held.parquet"), "held.parquet"),
        (("score", "*.parquet", "--out", "held.parquet"), "held.parquet"),
        (("explain", "list.txt", "--out", "sub/a.png"), "sub/a.png"),
        (("rank", "sub", "other", "--out", "sub/a.png"), "sub/a.png"),
        (("fit", "sub/t.csv", "--out", "hard.csv"), "hard.csv"),
        (("burst", "sub", "other", "--sheet", "folder/a.png"), "sub/a.png"),
        (("score", "sub", "--calibration", "kept.csv", "--out", "./kept.csv"), "kept.csv"),
        (("score", "file://{here}/sub/t.csv", "--out", "sub/t.csv"), "sub/t.csv"),
        (("evaluate", "sub/t.csv", "--out", "hard.csv"), "hard.csv"),
        (("calibrate", "sub/t.csv", "--out", "folder/t.csv"), "sub/t.csv"),
        (("calibrate", "sub/t.csv", "--model", "model", "--out", "model/config.json"), "model/config.json"),
        (("calibrate", "sub/t.csv", "--out", "sub/a.png"), "sub/a.png"),
        (("compare", "sub/t.csv", "--out", "sub/a.png"), "sub/a.png"),
        (("bias", "--dataset", "sub/t.csv", "--out", "link.csv"), "sub/t.csv"),
        (("bias", "--dataset", "sub/t.csv", "--plot", "sub/a.png"), "sub/a.png"),
        (("bias", "sub", "--plot", "sub/../folder/a.png"), "sub/a.png"),
        (("reproduce", "figure1", "--dataset", "sub/t.csv", "--out", "sub/a.png"), "sub/a.png"),
        (("degrade", "sub", "other/a.png.Fog.png", "--out", "other"), "other/a.png.Fog.png"),
        (("degrade", "sub", "--out", "linked"), "sub/a.png"),
        (("filter", "--scores", "kept.csv", "--top", "1", "--out", "."), "kept.csv"),
        (("filter", "list{0..1}.txt", "--top", "1", "--out", "lists"), "lists/kept.csv"),
    ],
)
def test_no_command_writes_over_what_it_reads(command: tuple[str, ...], kept: str, table: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("sub/a.png\nsub/t.csv\n")
    for name in ("t0.csv", "t1.csv", "t2.csv"):
        (table.parent / name).write_text(table.read_text())
    pq.write_table(pa.table({"image": [(tmp_path / "sub" / "a.png").read_bytes()]}), tmp_path / "held.parquet")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    save(tmp_path / "other" / "a.png.Fog.png", 1)
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "a.png.Fog.png").symlink_to(tmp_path / "sub" / "a.png")
    (tmp_path / "kept.csv").write_text("image,score\nsub/a.png,0.5\n")
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "kept.csv").write_text("mine")
    for name in ("list0.txt", "list1.txt"):
        (tmp_path / name).write_text("sub/a.png\nlists/kept.csv\n")
    before = (tmp_path / kept).read_bytes()
    words = [word.replace("{here}", str(tmp_path)) for word in command]
    fake = () if "--model" in words or words[0] == "degrade" else ("--model", "fake")
    done = run(*words, *fake)
    assert (done.returncode, (tmp_path / kept).read_bytes()) == (2, before), done.stderr
    assert "what the command reads" in done.stderr or "is the name of an image" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["score", "evaluate"])
def test_an_input_whose_accents_are_typed_otherwise_is_the_same_file(command: str, table: Path, tmp_path: Path) -> None:
    composed, apart = (unicodedata.normalize(form, "café.csv") for form in ("NFC", "NFD"))
    (tmp_path / apart).write_text("image,mos\nsub/a.png,1\n")
    for name in (composed, apart, f"./sub/../{composed}"):
        done = run(command, name, "--model", "fake", "--out", apart)
        assert (done.returncode, "what the command reads" in done.stderr) == (2, True), done.stderr
    assert len(load_dataset(composed)) == 1
    assert table.is_file()


def test_names_on_stdin_are_inputs_like_others(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = table.read_text()
    monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(b"sub/t.csv\n")))
    done = run("score", "-", "--model", "fake", "--out", "link.csv")
    assert (done.returncode, table.read_text()) == (2, before), done.stderr


@pytest.mark.usefixtures("table")
def test_a_picture_of_a_run_is_not_replaced_by_its_plot(tmp_path: Path) -> None:
    for seed in range(6):
        save(tmp_path / "six" / f"{seed}.png", seed)
    rows = "".join(f"{seed}.png,{seed},{'ab'[seed % 2]}\n" for seed in range(6))
    (tmp_path / "six" / "l.csv").write_text(f"image,mos,scene\n{rows}")
    common = ("--model", "fake", "--resamples", "0", "--run", "run")
    for method in ("paper", "vanilla"):
        assert run("evaluate", "six/l.csv", "--method", method, *common).returncode == 0
    before = {path: path.read_bytes() for path in (*tmp_path.glob("six/*"), *tmp_path.glob("run/**/*.json"))}
    commands = [
        ("bias", "--run", "run", "--plot", "six/0.png"),
        ("report", "run", "--out", "six/0.png"),
        *(("report", "run", "--out", str(path)) for path in before if path.suffix == ".json"),
        ("tables", "run", "--dataset", "six/l.csv", "--out", "six/l.csv"),
        ("export", "run", "--method", "paper", "--out", "run/images.jsonl"),
    ]
    for command in commands:
        done = run(*command)
        assert done.returncode == 2, (command, done.stderr)
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("rank", "sub", "--out", "x.txt"), "results are written as"),
        (("evaluate", "sub/t.csv", "--out", "x.txt"), "results are written as"),
        (("evaluate", "sub/t.csv", "--out", "no/x.csv"), "there is no folder no"),
        (("explain", "sub", "--out", "x.doc"), "pictures are written as"),
        (("bias", "sub", "--plot", "x.doc"), "pictures are written as"),
    ],
)
@pytest.mark.usefixtures("table")
def test_what_cannot_be_written_is_told_before_a_model_is_loaded(command: tuple[str, ...], message: str) -> None:
    done = run(*command, "--model", "/no/such/model")
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr


def test_files_of_a_run_folder_and_a_second_output_are_refused(tmp_path: Path) -> None:
    for name in ("images.jsonl", "answers.jsonl"):
        with pytest.raises(SettingError, match="what the command reads"):
            check_outputs({"run": tmp_path, "out": tmp_path / name})
    with pytest.raises(SettingError, match="are the same file"):
        check_outputs({"out": tmp_path / "a.svg", "plot": tmp_path / "b" / ".." / "a.svg"}, "bias")


def test_a_result_beside_the_images_is_written_again_and_again(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    for _ in range(2):
        done = run("score", tmp_path, "--model", "fake", "--out", tmp_path / "scores.csv")
        assert done.returncode == 0, done.stderr


def test_a_file_is_replaced_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    path.chmod(0o640)

    def half() -> None:
        with replacing(path) as file:
            file.write(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        half()
    assert [one.name for one in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "old"
    write_file(path, "new")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("new", 0o640)


def test_what_is_written_beside_has_a_name_of_nobody_else(tmp_path: Path) -> None:
    with beside(tmp_path / "a") as (_, one), beside(tmp_path / "a") as (_, other):
        assert one != other
    assert list(tmp_path.iterdir()) == []


def test_a_foreign_file_of_the_name_of_a_partial_copy_is_left_alone(tmp_path: Path) -> None:
    image, target = save(tmp_path / "photos" / "a.png"), tmp_path / "best"
    target.mkdir()
    (tmp_path / "precious").write_text("precious")
    (target / ".a.png.partial").symlink_to(tmp_path / "precious")
    place([image], [tmp_path / "photos"], target, COPY)
    assert (tmp_path / "precious").read_text() == "precious"
    assert (target / ".a.png.partial").is_symlink()
    assert (target / "a.png").read_bytes() == image.read_bytes()


def test_a_link_in_the_target_that_leads_back_to_the_images_is_refused(tmp_path: Path) -> None:
    image = save(tmp_path / "photos" / "sub" / "a.png")
    (tmp_path / "photos" / "other").mkdir()
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "sub").symlink_to(tmp_path / "photos" / "other")
    with pytest.raises(SettingError, match="leads into a folder where the images are from; nothing was done"):
        place([image], [tmp_path / "photos"], tmp_path / "best", COPY)
    assert list((tmp_path / "photos" / "other").iterdir()) == []


@pytest.mark.parametrize("option", ["--copy-to", "--move-to", "--link-to"])
def test_what_cannot_be_copied_is_told_before_scoring(option: str, tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    with tarfile.open(tmp_path / "s.tar", "w") as shard:
        shard.add(tmp_path / "a.png", "a.png")
    done = run("filter", tmp_path / "s.tar", "--top", "1", option, tmp_path / "best", "--model", "fake")
    assert (done.returncode, "is not a separate file here" in done.stderr) == (2, True)
    assert done.stdout == ""


@pytest.mark.parametrize("option", ["--copy-to", "--move-to", "--link-to"])
@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("leading", "leads into a folder where the images are from"),
        ("taken", "already exists and is not"),
        ("file", "is not a writable folder"),
        ("file/below", "is not a writable folder"),
        ("photos/best", "lies in photos"),
    ],
)
def test_places_that_cannot_be_filled_are_told_before_a_model_is_loaded(
    option: str, target: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "photos" / "sub" / "a.png")
    (tmp_path / "leading").mkdir()
    (tmp_path / "leading" / "sub").symlink_to(tmp_path / "photos")
    save(tmp_path / "taken" / "sub" / "a.png", 1)
    (tmp_path / "file").write_text("mine")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    done = run("filter", "photos", "--top", "1", option, target, "--model", "/no/such/model")
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def without_links(monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], object]) -> None:
    """A file system without hard links, on which somebody else does something at the worst moment."""

    def refuse(*_: object, **__: object) -> None:
        meanwhile()
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)


@pytest.mark.parametrize("way", [COPY, MOVE])
def test_a_file_that_comes_into_being_meanwhile_is_not_replaced(
    way: Way, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, new = save(tmp_path / "photos" / "a.png"), tmp_path / "best" / "a.png"
    before = image.read_bytes()
    without_links(monkeypatch, lambda: new.write_text("somebody else's"))
    with pytest.raises(SettingError, match="cannot be made"):
        place([image], [tmp_path / "photos"], tmp_path / "best", way)
    assert (new.read_text(), image.read_bytes()) == ("somebody else's", before)
    assert [path.name for path in (tmp_path / "best").iterdir()] == ["a.png"]


def test_an_image_that_is_written_while_it_is_moved_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = save(tmp_path / "photos" / "a.png")
    without_links(monkeypatch, lambda: image.write_bytes(b"a newer picture"))
    with pytest.raises(SettingError, match="was changed meanwhile"):
        place([image], [tmp_path / "photos"], tmp_path / "best", MOVE)
    assert image.read_bytes() == b"a newer picture"


def test_the_note_of_a_lock_holds_no_signature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = "https://me:word@host/a.png?X-Amz-Signature=abc"
    monkeypatch.setattr("sys.argv", ["qdebias", "score", address, "b.png"])
    with locked(tmp_path):
        note = (tmp_path / "lock.holder").read_text()
    assert "qdebias score https://host/a.png b.png" in note
    assert not any(secret in note for secret in ("me:word", "Signature", "abc"))


def test_no_lock_is_opened_or_written_through_a_link(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    victim = tmp_path / "victim.txt"
    victim.write_text("somebody's")
    (tmp_path / "lock.holder").symlink_to(victim)
    with locked(tmp_path):
        assert "pid" in (tmp_path / "lock.holder").read_text()
        assert not (tmp_path / "lock.holder").is_symlink()
    (tmp_path / "lock").unlink()
    (tmp_path / "lock").symlink_to(victim)
    with pytest.raises(StoreError, match="cannot be locked"), locked(tmp_path):
        pass
    (tmp_path / ".out.csv.lock").symlink_to(victim)
    done = run("score", tmp_path / "a.png", "--model", "fake", "--out", tmp_path / "out.csv")
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert ".out.csv.lock: is a link, so it is not our lock; remove it" in done.stderr
    assert victim.read_text() == "somebody's"
