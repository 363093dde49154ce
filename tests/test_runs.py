"""The commands that keep, show, retry and export runs."""

import csv
import json
import os
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

import qdebias
from qdebias.backends.fake import FakeBackend
from qdebias.cli.app import app
from qdebias.cli.console import pace
from qdebias.runs.run import open_run, open_snapshot
from qdebias.runs.scorer import Scorer
from qdebias.runs.status import run_status
from qdebias.runs.stored import StoredScorer
from reference_data import skip_absent


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    noise = np.random.default_rng(5)
    for number in range(5):
        Image.fromarray(noise.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    return folder


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def rows(output: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in output.splitlines()]


def expected(photos: Path, method: str = "paper") -> list[float]:
    return [one.value for one in Scorer(backend=FakeBackend(), method=method).score_many(sorted(photos.glob("?.png")))]


def test_score_goes_on_in_the_same_folder(photos: Path, tmp_path: Path) -> None:
    arguments = ("score", photos, "--model", "fake", "--json")
    plain = run(*arguments)
    first = run("score", photos / "0.png", photos / "1.png", "--model", "fake", "--run", tmp_path / "run")
    whole = run(*arguments, "--run", tmp_path / "run")
    again = run(*arguments, "--run", tmp_path / "run")
    assert first.exit_code == whole.exit_code == again.exit_code == 0
    assert plain.stdout == whole.stdout == again.stdout
    assert "2 images were done before" in whole.stderr
    assert "5 images were done before" in again.stderr


def test_status_tells_how_far_a_run_is(photos: Path, tmp_path: Path) -> None:
    (photos / "letter.png").write_text("Dear reader,")
    run("score", photos, "--model", "fake", "--run", tmp_path / "run", "--batch", 1)
    run("score", photos / "0.png", "--model", "fake", "--run", tmp_path / "run", "--method", "vanilla")
    found = json.loads(run("status", tmp_path / "run", "--json").stdout)
    assert found["methods"] == [
        {"name": "paper", "seed": 0, "done": 5, "failed": 1, "left": 0},
        {"name": "vanilla", "seed": 0, "done": 1, "failed": 0, "left": 0},
    ]
    assert (found["answers"], found["sessions"], found["model"]) == (41, 2, "fake")
    assert (found["writer"], found["identity"]) == (None, {"backend": "fake", "model": "fake"})
    words = run("status", tmp_path / "run").stdout
    assert "paper" in words
    assert "not running" in words


def test_status_of_a_run_under_way_names_the_writer_and_what_is_left(photos: Path, tmp_path: Path) -> None:
    backend, paths = FakeBackend(delay=0.01), sorted(photos.iterdir())
    with open_run(tmp_path / "run", backend.fingerprint, model="fake") as folder:
        outcomes = StoredScorer(folder, Scorer(backend=backend, batch=1), name="paper", total=5).ask(paths)
        for _ in range(3):
            next(outcomes)
        found = json.loads(run("status", tmp_path / "run", "--json").stdout)
        assert found["methods"] == [{"name": "paper", "seed": 0, "done": 3, "failed": 0, "left": 2}]
        assert found["writer"].startswith("process ")
        assert 0 < found["rate"] < 110
        assert "min" in run("status", tmp_path / "run").stdout


def test_rate_counts_images_that_were_looked_at(photos: Path, tmp_path: Path) -> None:
    backend, paths = FakeBackend(delay=0.01), sorted(photos.iterdir())
    with open_run(tmp_path / "run", backend.fingerprint, model="fake") as folder:
        list(StoredScorer(folder, Scorer(backend=backend, batch=1), name="paper").ask(paths))
        derived = StoredScorer(folder, Scorer(backend=backend, method="average"), name="average")
        assert list(derived.ask(paths)) == []
    rows = [json.loads(line) for line in (tmp_path / "run" / "images.jsonl").read_text().splitlines()]
    assert [row["asked"] for row in rows] == [True] * 5 + [False] * 5
    with open_snapshot(tmp_path / "run") as snapshot:
        times = [row["time"] for row in rows[:5]]
        assert run_status(snapshot).rate == pytest.approx(4 / (times[-1] - times[0]), rel=1e-3)


def test_pace_is_the_rate_of_the_answered_images() -> None:
    assert pace([0.0], 100) == ""
    assert pace([0.0, 0.5, 1.0, 1.5, 2.0], None) == "2.00 images/s"
    assert pace([0.0, 0.5, 1.0, 1.5, 2.0], 1000) == "2.00 images/s, 0:08:20 left"


def test_retry_tries_failures_again_and_names_those_that_stay(photos: Path, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (photos / name).write_text("Dear reader,")
    assert run("score", photos, "--model", "fake", "--run", tmp_path / "run").exit_code == 1
    assert run("score", photos, "--model", "fake", "--run", tmp_path / "run", "--method", "vanilla").exit_code == 1
    Image.open(photos / "0.png").save(photos / "a.png")
    got = run("retry", tmp_path / "run")
    assert got.exit_code == 1
    assert got.stderr.count("b.png: is not an image") == 2
    assert "4 images tried again, 2 failed" in got.stderr
    Image.open(photos / "1.png").save(photos / "b.png")
    assert run("retry", tmp_path / "run").exit_code == 0
    assert "0 images tried again" in run("retry", tmp_path / "run").stderr
    assert run("score", photos, "--model", "fake", "--run", tmp_path / "run").exit_code == 0


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_export_needs_neither_images_nor_model(suffix: str, photos: Path, tmp_path: Path) -> None:
    scores, average = expected(photos), expected(photos, "average")
    run("score", photos, "--model", "fake", "--run", tmp_path / "run")
    for photo in photos.iterdir():
        photo.unlink()
    out = tmp_path / f"scores.{suffix}"
    for method, want in ((), scores), (("--method", "paper"), scores), (("--method", "average"), average):
        assert run("export", tmp_path / "run", "--out", out, *method).exit_code == 0
        assert read_scores(out) == want


def read_scores(path: Path) -> list[float]:
    if path.suffix == ".parquet":
        return [float(row["score"]) for row in pq.read_table(path).to_pylist()]
    if path.suffix == ".jsonl":
        return [float(row["score"]) for row in map(json.loads, path.read_text().splitlines())]
    with path.open(newline="") as file:
        return [float(row["score"]) for row in csv.DictReader(file)]


def test_an_exported_score_can_be_computed_again_from_its_logits(photos: Path, tmp_path: Path) -> None:
    run("score", photos, "--model", "fake", "--run", tmp_path / "run")
    for row in rows(run("export", tmp_path / "run", "--json").stdout):
        pairs = np.exp(np.array(row["logits"]))  # (condition, question, option)
        good, same = (pairs[..., 0] / pairs.sum(axis=-1)).T
        weight = np.exp(same) / np.exp(same).sum()
        assert weight @ good == pytest.approx(row["score"], abs=1e-12)


def test_the_script_in_the_docs_computes_the_same_scores(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run("score", photos, "--model", "fake", "--run", "runs/photos")
    run("score", photos, "--model", "fake", "--run", "runs/photos", "--method", "vanilla")
    text = (Path(__file__).parent.parent / "docs" / "runs.md").read_text(encoding="utf-8")
    (script,) = (block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "by hand" in block)
    capsys.readouterr()
    exec(script, {})  # noqa: S102 (it is ours)
    printed = dict(line.split(" ", 1)[::-1] for line in capsys.readouterr().out.splitlines())
    scores = {row["path"]: row["score"] for row in rows(run("export", "runs/photos", "--json", "-k", "paper").stdout)}
    assert {path: float(score) for path, score in printed.items()} == pytest.approx(scores, abs=1e-12)


def test_failures_are_exported_with_their_error(photos: Path, tmp_path: Path) -> None:
    (photos / "0.png").write_text("Dear reader,")
    run("score", photos, "--model", "fake", "--run", tmp_path / "run")
    for method in ("paper", "average"):
        got = run("export", tmp_path / "run", "--json", "--method", method)
        assert got.exit_code == 1
        assert [row["error"] is None for row in rows(got.stdout)] == [False, True, True, True, True]
        assert "0.png: is not an image" in str(rows(got.stdout)[0]["error"])


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_names_that_are_no_text_are_kept(suffix: str, photos: Path, tmp_path: Path) -> None:
    bad = photos / os.fsdecode(b"\xff.png")
    try:
        bad.write_text("Dear reader,")
    except (OSError, UnicodeError):
        skip_absent("this file system takes only names that are text")
    for _ in range(2):
        assert run("score", photos, "--model", "fake", "--run", tmp_path / "run").exit_code == 1
    assert run("export", tmp_path / "run", "--out", tmp_path / f"scores.{suffix}").exit_code == 1
    Image.open(photos / "0.png").transpose(Image.Transpose.ROTATE_90).save(photos / "turned.png")
    (photos / "turned.png").replace(bad)
    assert run("retry", tmp_path / "run").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("status", "nowhere"), "nowhere is not a run folder"),
        (("retry", "nowhere"), "nowhere is not a run folder"),
        (("export", "nowhere", "--json"), "nowhere is not a run folder"),
        (("export", "{run}"), "name a file with --out"),
        (
            ("export", "{run}", "--json", "--method", "vanilla"),
            "has no answers to the questions of vanilla with seed 0",
        ),
        (("export", "{run}", "--json", "--method", "nonsense"), "no method 'nonsense'"),
        (("export", "{run}", "--json", "--seed", "3"), "none was used with seed 3"),
        (("score", "{photos}", "--model", "fake", "--run", "{photos}"), "holds 0.png and no run"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    arguments: tuple[str, ...], why: str, photos: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    run("score", photos, "--model", "fake", "--run", folder)
    got = run(*(argument.format(run=folder, photos=photos) for argument in arguments))
    assert got.exit_code == 2
    assert why in got.stderr
    assert len(got.stderr.strip().splitlines()) == 1


def test_a_method_of_ones_own_is_retried_in_python_only(photos: Path, tmp_path: Path) -> None:
    backend = FakeBackend()
    (photos / "0.png").write_text("Dear reader,")
    method = qdebias.Vanilla(question=qdebias.methods.presets.VANILLA, temperature=2.0)
    with open_run(tmp_path / "run", backend.fingerprint, model="fake") as folder:
        list(StoredScorer(folder, Scorer(backend=backend, method=method), name="mine").ask(sorted(photos.iterdir())))
    got = run("retry", tmp_path / "run")
    assert got.exit_code == 2
    assert "method 'mine' of this run cannot be restored from its name alone" in got.stderr
