"""The command line as a user meets it."""

import json
import re
import subprocess
import sys
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

import qdebias
from qdebias.backends.catalogue import CAUTIONS, KNOWN_MODELS
from qdebias.backends.fake import FakeBackend
from qdebias.cli.app import app
from qdebias.cli.lookup import doctor
from qdebias.image import RgbImage, load_image
from qdebias.inputs.datasets.dataset import CATALOGUE
from qdebias.methods.method import Context
from qdebias.methods.presets import PAPER

EXAMPLES = Path(__file__).resolve().parent.parent / "examples" / "photos"


@dataclass(frozen=True)
class Outcome:
    returncode: int
    stdout: str
    stderr: str


CARD = Path(qdebias.__file__).parent / "backends" / "nano" / "checkpoint" / "README.md"


def run(*arguments: object, cwd: Path | None = None) -> Outcome:
    """Run a command inside this process."""
    with chdir(cwd or Path.cwd()):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Outcome(result.exit_code, result.stdout, result.stderr)


def run_apart(*arguments: object) -> Outcome:
    """Run a command as the shell does, in a process of its own."""
    command = [sys.executable, "-c", "from qdebias.cli import main; main()", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return Outcome(result.returncode, result.stdout, result.stderr)


def rows(output: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in output.splitlines()]


@pytest.fixture
def folder(photo: RgbImage, tmp_path: Path) -> Path:
    for name, image in (("a.png", photo), ("c.png", photo[:, ::-1])):
        Image.fromarray(image).save(tmp_path / name)
    return tmp_path


@pytest.fixture
def bad_folder(folder: Path) -> Path:
    """The images of `folder` among every kind of bad input."""
    good = (folder / "a.png").read_bytes()
    (folder / "truncated.png").write_bytes(good[: len(good) // 2])
    (folder / "letter.jpg").write_text("Dear reader,")
    (folder / "empty.jpg").touch()
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    Image.new("1", (10_000, 6_000)).save(folder / "large.png")
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
    frames[0].save(folder / "film.gif", save_all=True, append_images=frames[1:])
    return folder


def test_scores_are_printed_one_a_line(folder: Path) -> None:
    got = run("score", "a.png", "c.png", "--model", "fake", cwd=folder)
    expected = [score.value for score in qdebias.score([folder / "a.png", folder / "c.png"], model=FakeBackend())]
    assert got.stdout == f"{expected[0]:.4f}\ta.png\n{expected[1]:.4f}\tc.png\n"
    assert "2 images, 0 failed" in got.stderr
    assert got.returncode == 0


def test_json_has_the_same_bytes_twice_and_the_scores_of_the_library(folder: Path) -> None:
    first, second = (run_apart("score", folder, "--model", "fake", "--json") for _ in range(2))
    assert first.stdout == second.stdout
    scores = qdebias.score([folder / "a.png", folder / "c.png"], model=FakeBackend())
    assert [row["score"] for row in rows(first.stdout)] == [score.value for score in scores]


def test_every_bad_image_has_its_line_and_the_rest_is_scored(bad_folder: Path) -> None:
    got = run_apart("score", bad_folder, bad_folder / "missing.png", "--model", "fake", "--json")
    assert got.returncode == 1
    assert "Traceback" not in got.stderr
    by_name = {Path(str(row["path"])).name: row for row in rows(got.stdout)}
    assert {name for name, row in by_name.items() if row["error"] is None} == {"a.png", "c.png"}
    for name, why in {
        "truncated.png": "damaged or truncated",
        "letter.jpg": "is not an image",
        "empty.jpg": "is not an image",
        "dot.png": "1 x 1 is too small",
        "large.png": "60 megapixels, more than the limit of 50",
        "film.gif": "holds several frames",
        "missing.png": "no such file",
    }.items():
        error = str(by_name[name]["error"])
        assert by_name[name]["score"] is None
        assert why in error
        assert str(bad_folder / name) in error
        assert got.stderr.count(error) == 1
    assert "9 images, 7 failed" in got.stderr


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["nowhere.png"], "nothing to score: nowhere.png: no such file"),
        (["empty"], "nothing to score: empty: no image in this folder"),
        (["a.png", "--model", "nonsense"], "no backend 'nonsense'"),
        (["a.png", "--method", "nonsense"], "no method 'nonsense'"),
        (["a.png", "--model", "fake", "--out", "x.docx"], "x.docx: results are written as"),
        (["a.png", "--model", "hf:weightless"], "weightless"),
        (["a.png", "--batch", "0"], "--batch"),
    ],
)
def test_what_cannot_start_is_one_line_and_exit_code_2(arguments: list[str], why: str, folder: Path) -> None:
    (folder / "empty").mkdir()
    (folder / "weightless").mkdir()
    (folder / "weightless" / "config.json").write_text('{"model_type": "llava"}')
    got = run("score", *arguments, cwd=folder)
    assert got.returncode == 2
    assert got.stdout == ""
    assert why in got.stderr
    assert "Traceback" not in got.stderr


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_results_are_also_written_to_a_file(suffix: str, folder: Path) -> None:
    got = run("score", folder, "--model", "fake", "--out", folder / f"scores.{suffix}")
    assert got.returncode == 0
    assert (folder / f"scores.{suffix}").stat().st_size > 100


def test_names_of_files_cannot_break_the_output(photo: RgbImage, tmp_path: Path) -> None:
    name = "two\nlines [red]x.png"
    Image.fromarray(photo).save(tmp_path / name)
    (tmp_path / "bad\n[bold].png").write_text("")
    got = run("score", tmp_path, "--model", "fake")
    assert "two\\nlines [red]x.png" in got.stdout
    assert len(got.stdout.splitlines()) == 2
    assert "bad\\n[bold].png: is not an image" in got.stderr


def test_degrade_writes_the_pixels_that_score_uses(photo: RgbImage, folder: Path) -> None:
    got = run("degrade", folder / "a.png", "--out", folder / "degraded", "--seed", 4)
    assert got.returncode == 0
    for condition in PAPER.plan(photo, Context(seed=4)).conditions:
        path = folder / "degraded" / f"a.png.{condition.kind}.png"
        assert str(path) in got.stdout
        np.testing.assert_array_equal(load_image(path), condition.image)


def test_degrade_refuses_methods_and_names_that_make_no_sense(folder: Path) -> None:
    (folder / "other").mkdir()
    (folder / "other" / "a.png").write_bytes((folder / "a.png").read_bytes())
    assert "would get the same name" in run("degrade", folder).stderr
    assert "degrades nothing" in run("degrade", folder / "a.png", "--method", "vanilla", "--out", folder / "x").stderr


def test_explain_draws_one_row_an_image_and_names_the_failures(bad_folder: Path) -> None:
    got = run("explain", bad_folder, "--model", "fake", "--out", bad_folder / "new" / "why.png")
    assert got.returncode == 1
    assert "2 images explained" in got.stderr
    assert got.stderr.count("failed: ") == 6
    with Image.open(bad_folder / "new" / "why.png") as picture:
        assert picture.width > 1000


def test_explain_names_a_picture_that_cannot_be_written(folder: Path) -> None:
    got = run("explain", folder / "a.png", "--model", "fake", "--out", folder / "why.docx")
    assert got.returncode == 2
    assert "pictures are written as" in got.stderr


def test_help_and_lists_teach() -> None:
    assert "--method" in run("score", "--help").stdout
    assert qdebias.__version__ in run("--version").stdout
    assert "released-as-written" in run("methods").stdout
    assert "How about the visual quality of the second image? Good or poor?" in run("methods", "paper").stdout
    assert run("methods", "nonsense").returncode == 2
    listed = run("models").stdout
    assert all(model.name in listed for model in KNOWN_MODELS)
    bakllava = run("models", "bakllava").stdout
    assert "several images in a prompt: not trained on" in bakllava
    assert "licence of the weights: Llama 2" in bakllava
    assert "no model 'nonsense' is known; there are: nano," in run("models", "nonsense").stderr


def test_doctor_tells_what_is_broken_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(name: str) -> None:
        raise AttributeError(f"{name} has no attribute\nto_tuple")

    monkeypatch.setattr("qdebias.cli.lookup.load_backend", broken)
    with pytest.raises(typer.Exit) as end:
        doctor()
    assert end.value.exit_code == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("--  embedded model: AttributeError: nano has no attribute")
    assert "pip check" in last


def test_doctor_finds_the_embedded_model() -> None:
    got = run("doctor")
    assert got.returncode == 0
    assert "embedded model: nano answers" in got.stdout
    assert "Llama 3.2 Vision (Mllama) hardly knows which of two images is the first" in " ".join(got.stdout.split())


def test_the_examples_are_scored_by_the_embedded_model_the_same_in_any_batch() -> None:
    once, again, single = (run_apart("score", EXAMPLES, "--json", "--batch", batch) for batch in (8, 8, 1))
    assert once.stdout == again.stdout
    assert len(rows(once.stdout)) == 8
    for row, other in zip(rows(once.stdout), rows(single.stdout), strict=True):
        assert row["score"] == pytest.approx(other["score"], abs=1e-5)


def test_the_library_and_the_command_line_agree_on_the_released_method() -> None:
    path = EXAMPLES / "fig.jpg"
    (score,) = qdebias.score([path], model="nano", method="released")
    (row,) = rows(run("score", path, "--method", "released", "--json").stdout)
    assert row["score"] == score.value


def test_datasets_are_listed_and_printed_in_full() -> None:
    listed = run("datasets").stdout
    for name in CATALOGUE:
        assert name in listed
    one = run("datasets", "KADID-10k")
    assert one.stdout.startswith("kadid10k: KADID-10k\n")
    assert "where to get it: https://" in one.stdout
    assert (unknown := run("datasets", "nonsense")).returncode == 2
    assert "no dataset is called 'nonsense'" in unknown.stderr


def test_the_embedded_model_says_what_it_is(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(tmp_path / "a.png")
    said = run("score", tmp_path / "a.png", "--method", "vanilla").stderr.splitlines()
    assert said[-1] == CAUTIONS["nano"]
    assert "nano is for trying things out" in said[-1]
    assert "trying" not in run("score", tmp_path / "a.png", "--method", "vanilla", "-q").stderr
    assert "trying" not in run("score", tmp_path / "a.png", "--method", "vanilla", "--model", "fake").stderr
    (figure,) = re.findall(r"SRCC with human scores is (\.\d+),", CAUTIONS["nano"])
    assert figure in CARD.read_text(encoding="utf-8"), "the card has another figure"
