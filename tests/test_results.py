"""What is done with results: unfinished runs say so, model scores are no labels, and figures take any name."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

import qdebias
from qdebias.backends.fake import FakeBackend
from qdebias.errors import SettingError
from qdebias.evaluation.comparison import compare_stored
from qdebias.inputs.datasets import load_dataset
from qdebias.metrics.measures import is_constant
from qdebias.report.figure import save
from qdebias.runs.run import open_run
from qdebias.runs.scorer import Scorer
from qdebias.runs.stored import StoredScorer
from test_cli import Outcome, run


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for number in range(6):
        noise = np.random.default_rng(number).integers(0, 256, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "photos" / f"{number}.png")
    rows = "".join(f"photos/{number}.png,{(number * 7) % 5}\n" for number in range(6))
    (tmp_path / "labels.csv").write_text("image,mos\n" + rows)
    return tmp_path / "photos"


def half(photos: Path) -> None:
    """A run of six images that was stopped after two."""
    backend = FakeBackend(remember=False)
    with open_run(Path("run"), backend.fingerprint, model="fake") as opened:
        stored = StoredScorer(opened, Scorer(backend=backend, batch=1), name="paper", total=6)
        asked = stored.ask(sorted(photos.glob("*.png")))
        for _ in range(2):
            next(asked)


@pytest.mark.parametrize(
    "command",
    [
        ("filter", "--run", "run", "--top", "1"),
        ("report", "run"),
        ("tables", "run"),
        ("compare", "run", "labels.csv", "--mos", "labels.csv"),
    ],
)
def test_an_unfinished_run_is_said_to_be_one(command: tuple[str, ...], photos: Path) -> None:
    half(photos)
    assert "run is unfinished: paper: 2 done, 0 failed, 4 left" in run(*command).stderr


def test_images_are_not_chosen_from_an_unfinished_run_unasked(photos: Path) -> None:
    half(photos)
    refused = run("filter", "--run", "run", "--top", "1")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--partial" in refused.stderr
    assert len(run("filter", "--run", "run", "--top", "1", "--partial").stdout.splitlines()) == 1


def test_tables_have_every_method_that_the_run_holds(photos: Path) -> None:
    assert photos.is_dir()
    for method in ("paper", "average"):
        ask = ("evaluate", "labels.csv", "--model", "fake", "--resamples", "0", "--run", "run", "--method", method)
        assert run(*ask).returncode == 0
    for path in Path("run", "tables").iterdir():
        held = json.loads(path.read_text())
        assert set(held["results"]) == {"paper", "average"}
    assert run("score", "photos", "--model", "fake", "--run", "run", "--method", "winner").returncode == 0
    from qdebias.evaluation.paper_tables import saved_evidence

    (evidence,) = saved_evidence([Path("run")])
    assert set(evidence.results) == {"paper", "average", "winner"}


def scores(name: str, *values: float | str) -> Path:
    rows = "".join(f"photos/{number}.png,{value}\n" for number, value in enumerate(values))
    Path(name).write_text("image,score\n" + rows)
    return Path(name)


def test_scores_of_a_model_are_not_taken_for_labels(photos: Path) -> None:
    assert run("score", photos, "--model", "fake", "--out", "sc.csv").returncode == 0
    for command in (("evaluate", "sc.csv"), ("compare", "labels.csv", "sc.csv", "--mos", "sc.csv")):
        done = run(*command, *(("--model", "fake") if command[0] == "evaluate" else ()))
        assert done.returncode == 2
        assert "sc.csv: holds scores of a model" in done.stderr
    assert len(load_dataset("sc.csv", column="score")) == 6
    with pytest.raises(SettingError, match=r"has no column 'human'; choose one of .*score"):
        load_dataset("sc.csv", column="human")


@pytest.mark.parametrize(
    "columns", ["path,score", "score,path", "path,score,error", "path,score,log_odds", "path,model,method"]
)
def test_a_part_of_the_columns_of_scores_is_no_label_file(columns: str, photos: Path) -> None:
    assert run("score", photos, "--model", "fake", "--columns", columns, "--out", "t.csv").returncode == 0
    for command in (("evaluate", "t.csv", "--model", "fake"), ("compare", "t.csv", "labels.csv", "--mos", "t.csv")):
        done = run(*command)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert "t.csv: " in done.stderr
        assert "--column" in done.stderr


def test_scores_of_people_may_lie_in_0_to_1(photos: Path) -> None:
    assert photos.is_dir()
    rows = "".join(f"photos/{n}.png,{n / 10}\n" for n in range(6))
    for header, column in (("path,score\n", "score"), ("path,mos\n", None)):
        Path("l.csv").write_text(header + rows)
        assert len(load_dataset("l.csv", column=column)) == 6
    scores("five.csv", 1, 2, 3, 4, 5, 5)
    assert len(load_dataset("five.csv")) == 6


@pytest.mark.parametrize("digits", [17, 4, 2])
def test_labels_that_are_the_scores_themselves_are_refused_whatever_they_are_called(digits: int, photos: Path) -> None:
    found = qdebias.score(sorted(photos.glob("*.png")), model="fake")
    rows = "".join(f"photos/{number}.png,{score.value:.{digits}f}\n" for number, score in enumerate(found))
    Path("own.csv").write_text("path,mos\n" + rows)
    scores("given.csv", *(score.value for score in found)), scores("other.csv", 6, 1, 4, 2, 3, 5)
    ask = ("--model", "fake", "--resamples", "0")
    for command in (
        ("evaluate", "own.csv", *ask),
        ("compare", "own.csv", "--methods", "paper,average", *ask),
        ("compare", "given.csv", "other.csv", "--mos", "own.csv", "--resamples", "0"),
    ):
        done = run(*command)
        assert (done.returncode, "so that they say nothing about it; give labels that people made" in done.stderr) == (
            2,
            True,
        ), done.stderr


def test_a_column_of_human_scores_can_be_named(photos: Path) -> None:
    Path("l.csv").write_text("image,sharp,nice\n" + "".join(f"photos/{n}.png,{n},{9 - n}\n" for n in range(6)))
    assert photos.is_dir()
    assert load_dataset("l.csv", column="nice").quality.tolist() == [9, 8, 7, 6, 5, 4]
    done = run("evaluate", "l.csv", "--column", "Nice", "--model", "fake", "--resamples", "0")
    assert done.returncode == 0, done.stderr


def test_files_of_scores_are_compared_without_images(photos: Path) -> None:
    scores("a.csv", 1, 2, 3, 4, 5, 6), scores("b.csv", 6, 1, 4, 2, 3, 5)
    for path in photos.iterdir():
        path.unlink()
    done = run("compare", "a.csv", "b.csv", "--mos", "labels.csv", "--resamples", "0", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["methods"][0]["count"] == 6


def values(done: Outcome) -> dict[str, float]:
    return {one["method"]: one["srcc"] for one in json.loads(done.stdout)["methods"]}


@pytest.mark.usefixtures("photos")
def test_scores_of_which_lower_is_better_are_turned_over() -> None:
    scores("quality.csv", 0, 2, 4, 1, 3, 0.5), scores("damage.csv", 9, 7.5, 5, 8, 6, 9.5)
    ask = ("compare", "quality.csv", "damage.csv", "--mos", "labels.csv", "--resamples", "0", "--json")
    plain, turned = values(run(*ask)), values(run(*ask, "--lower-is-better", "damage"))
    assert turned == {"quality": plain["quality"], "damage": -plain["damage"]}
    assert turned["damage"] > 0.9
    best = run(*ask, "--lower-is-better", "damage", "--against", "best")
    assert json.loads(best.stdout)["against"] == max(turned, key=lambda name: turned[name])
    assert "'none' is not a source" in run(*ask, "--lower-is-better", "none").stderr


@pytest.mark.usefixtures("photos")
def test_scores_that_differ_by_rounding_alone_are_constant_everywhere() -> None:
    near = [0.1 * 3, 0.3, 0.1 + 0.2, 0.3, 0.3, 0.3]
    assert len(set(near)) > 1
    assert is_constant(np.array(near))
    scores("a.csv", *near), scores("b.csv", 6, 1, 4, 2, 3, 5)
    ask = ("compare", "a.csv", "b.csv", "--mos", "labels.csv")
    done = run(*ask, "--json")
    assert (done.returncode, json.loads(done.stdout)["methods"][0]["srcc"]) == (0, None)
    assert "nan" not in run(*ask).stdout


@pytest.mark.usefixtures("photos")
def test_a_score_that_is_not_finite_is_a_failed_row_whoever_wrote_it() -> None:
    scores("a.csv", 1, "nan", 3, "inf", 5, 6), scores("b.csv", 6, 1, 4, 2, 3, 5)
    found = compare_stored([Path("a.csv"), Path("b.csv")], load_dataset("labels.csv"), resamples=0)
    assert found.evidence.errors == (
        "photos/1.png: its score in the file is nan",
        "photos/3.png: its score in the file is inf",
    )
    kept = run("filter", "--scores", "a.csv", "--top", "9")
    assert kept.stdout.split() == ["photos/5.png", "photos/4.png", "photos/2.png", "photos/0.png"]


def test_a_run_folder_is_read_from_another_folder(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("evaluate", "labels.csv", "--model", "fake", "--resamples", "0", "--run", "run").returncode == 0
    folder = Path("run").absolute()
    (photos.parent / "elsewhere").mkdir()
    monkeypatch.chdir(photos.parent / "elsewhere")
    kept = run("filter", "--run", folder, "--top", "2", "--copy-to", "best")
    assert kept.returncode == 0, kept.stderr
    assert len(list(Path("best").glob("*.png"))) == 2
    assert run("report", folder, "--out", "r.html").returncode == 0
    assert Path("r.html").read_text().count("data:image/jpeg") >= 6
    again = run("evaluate", "../labels.csv", "--model", "fake", "--resamples", "0", "--run", folder, "--json")
    with open_run(folder, FakeBackend(remember=False).fingerprint, model="fake") as opened:
        assert opened.index.answer_count() == 48, again.stderr


@pytest.fixture
def figure() -> Iterator[Figure]:
    drawn = Figure()
    axes = drawn.subplots()
    axes.set_title("b$x_{$ 写真 사진")
    axes.plot([1, 2], label="$cost")
    axes.legend()
    return drawn


def test_any_name_can_stand_in_a_figure(figure: Figure, tmp_path: Path) -> None:
    for suffix in ("png", "svg", "pdf"):
        save(figure, tmp_path / f"a.{suffix}")
        assert (tmp_path / f"a.{suffix}").stat().st_size > 1000


LIMITED = ("score", "check", "filter", "explain", "degrade", "rank", "evaluate", "compare", "calibrate", "fit", "serve")


@pytest.mark.parametrize("command", LIMITED)
def test_every_option_that_a_message_names_exists(command: str) -> None:
    told = run(command, "--help").stdout
    assert "--max-megapixels" in told
    assert "--column" in told or command == "serve"


def test_help_says_what_becomes_of_an_older_file_and_of_a_run_that_was_stopped() -> None:
    told = " ".join(run("score", "--help").stdout.split())
    assert "an older file is replaced when the first result is ready" in told
    assert "--run scores can be stopped at any time, and resumes when you repeat the command" in told
