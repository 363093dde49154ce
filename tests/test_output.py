"""No command writes over what it reads, and no file is emptied before there is something to put in."""

import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from qdebias.cli.outputs import check_outputs
from qdebias.curation import COPY, place
from qdebias.errors import SettingError
from qdebias.output import beside, replacing, write_file
from qdebias.records import Record, open_writer
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
    ],
)
def test_what_cannot_begin_leaves_the_old_file_as_it_was(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "a.png")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file.txt").write_text("no run")
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


def test_files_of_a_run_folder_and_a_second_output_are_refused(tmp_path: Path) -> None:
    for name in ("images.jsonl", "answers.jsonl"):
        with pytest.raises(SettingError, match="what the command reads"):
            check_outputs({"run": tmp_path, "out": tmp_path / name})
    with pytest.raises(SettingError, match="are the same file"):
        check_outputs({"out": tmp_path / "a.png", "plot": tmp_path / "." / "a.png"})


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
    assert (done.returncode, "is no file of its own here" in done.stderr) == (2, True)
    assert done.stdout == ""
