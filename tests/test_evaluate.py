"""An evaluation ends with the same report, however often it was stopped."""

import csv
import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from scipy import stats
from typer.testing import CliRunner, Result

from qdebias.backends.base import OptionLogits
from qdebias.backends.fake import FakeBackend
from qdebias.cli.app import app
from qdebias.errors import BackendError, SettingError
from qdebias.evaluation import Report, evaluate, make_report
from qdebias.inputs.datasets import Dataset, load_dataset
from qdebias.prompts import Question, Request
from qdebias.runs.scorer import Scorer

servers = multiprocessing.get_context("forkserver")
servers.set_forkserver_preload(["qdebias.evaluation", "pytest", "PIL.Image", "typer", "scipy.stats"])


def brightness(request: Request, _: Question) -> list[float]:
    """Answer "good" the more surely the brighter the last image is."""
    return [float(request.images[-1].mean()) / 16, 8.0]


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Thirty photographs of rising brightness, of three scenes, with human scores that follow it roughly."""
    noise = np.random.default_rng(2)
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["img_path", "gt_score", "scene"])
        for number in range(30):
            name = f"{number:02}.png"
            image = noise.integers(0, 100, (40, 40, 3)) + 5 * number
            Image.fromarray(image.astype(np.uint8)).save(tmp_path / name)
            table.writerow([name, number + noise.normal(0, 3), ("night", "street", "plant")[number % 3]])
    return tmp_path / "labels.csv"


@pytest.fixture
def dataset(labels: Path) -> Dataset:
    return load_dataset(labels)


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_the_report_correlates_the_scores_with_the_human_ones(dataset: Dataset) -> None:
    backend = FakeBackend(answer=brightness)
    report = evaluate(dataset, model=backend, method="vanilla", resamples=200)
    scores = [score.value for score in Scorer(backend=backend, method="vanilla").score_many(dataset.paths)]
    assert report.count == 30
    assert report.srcc == pytest.approx(stats.spearmanr(scores, dataset.mos).statistic)
    assert report.plcc == pytest.approx(stats.pearsonr(scores, dataset.mos).statistic)
    assert report.correlation.srcc_interval is not None
    assert report.correlation.srcc_interval.low < report.srcc < report.correlation.srcc_interval.high
    assert [(part.kind, part.name, part.count) for part in report.parts] == [
        ("scene", "night", 10), ("scene", "plant", 10), ("scene", "street", 10),
    ]  # fmt: skip
    assert [row.score for row in report.rows] == scores
    mean = report.means["scene"]
    assert mean.parts == 3
    assert mean.srcc == pytest.approx(np.mean([part.correlation.srcc for part in report.parts if part.correlation]))
    assert mean.srcc_interval is not None
    assert mean.srcc_interval.low <= mean.srcc <= mean.srcc_interval.high
    assert report.values()["means"]["scene"]["srcc"] == mean.srcc


def test_lower_is_better_labels_are_turned_round(labels: Path) -> None:
    lower = load_dataset(labels, direction="lower")
    report = evaluate(lower, model=FakeBackend(answer=brightness), method="vanilla", resamples=0)
    assert report.srcc < -0.8
    assert report.rows[0].quality == -report.rows[0].mos


def test_scores_that_round_to_one_are_ranked_all_the_same(dataset: Dataset) -> None:
    def sure(request: Request, _: Question) -> list[float]:
        return [200 + float(request.images[-1].mean()), 0.0]

    with pytest.raises(SettingError, match="all 30 values of predicted are 1"):
        evaluate(dataset, model=FakeBackend(answer=sure), method="vanilla", resamples=0)

    def nearly_sure(request: Request, _: Question) -> list[float]:
        return [float(request.images[-1].mean()) / 4 - 5, 0.0]

    exact, literal = (
        evaluate(dataset, model=FakeBackend(answer=nearly_sure), method="vanilla", readout=readout, resamples=0)
        for readout in ("exact", "literal")
    )
    assert exact.srcc == pytest.approx(stats.spearmanr(range(30), dataset.mos).statistic)
    assert literal.srcc != exact.srcc
    assert literal.plcc == pytest.approx(exact.plcc)


class Interrupted(FakeBackend):
    """A model that breaks down after some calls."""

    def option_logits(self, requests: Sequence[Request]) -> OptionLogits:
        if len(self.calls) == 7:
            raise BackendError("the model broke down")
        return FakeBackend.option_logits(self, requests)


def test_an_interrupted_evaluation_ends_with_the_same_report(dataset: Dataset, tmp_path: Path) -> None:
    whole = evaluate(dataset, model=FakeBackend(), model_name="fake", batch=1, resamples=50)
    for _ in range(4):
        with pytest.raises(BackendError):
            evaluate(dataset, model=Interrupted(), model_name="fake", run=tmp_path / "run", batch=1, resamples=50)
    backend = FakeBackend()
    seen: list[int] = []
    report = evaluate(
        dataset, model=backend, model_name="fake", run=tmp_path / "run", batch=1, resamples=50, on_progress=seen.append
    )
    assert report.json() == whole.json()
    assert len(backend.calls) == 2
    assert seen == [29, 30]


def _evaluate(labels: Path, folder: Path) -> None:
    evaluate(load_dataset(labels), model=FakeBackend(delay=0.01), method="vanilla", run=folder, batch=1)


def test_an_evaluation_that_is_killed_three_times_ends_with_the_same_report(labels: Path, tmp_path: Path) -> None:
    folder, chance = tmp_path / "run", random.Random(6)  # noqa: S311
    answers = folder / "answers.jsonl"
    for _ in range(3):
        before = answers.stat().st_size if answers.exists() else 0
        process = servers.Process(target=_evaluate, args=(labels, folder), daemon=True)
        process.start()
        while not answers.exists() or answers.stat().st_size <= before:
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.05))
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL
    keys = [json.loads(line)["key"] for line in answers.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    assert 0 < len(keys) < 30
    command = ("evaluate", labels, "--model", "fake", "--method", "vanilla", "--batch", 1, "--json", "--resamples", 60)
    resumed, whole = run(*command, "--run", folder), run(*command)
    assert resumed.stdout == whole.stdout
    keys = [json.loads(line)["key"] for line in answers.read_text().splitlines()]
    assert len(keys) == len(set(keys)) == 30


def test_the_json_report_names_no_path_and_no_time(labels: Path, tmp_path: Path) -> None:
    command = ("evaluate", labels, "--model", "fake", "--method", "vanilla", "--json", "--resamples", 60)
    first, second = run(*command, "--run", tmp_path / "run"), run(*command, "--run", tmp_path / "run")
    assert first.exit_code == 0
    assert first.stdout == second.stdout
    assert first.stdout.count("\n") == 1
    assert str(tmp_path) not in first.stdout
    report = json.loads(first.stdout)
    assert (report["dataset"], report["count"], report["failed"], report["subset"]) == ("labels", 30, 0, None)
    assert -1 <= report["srcc_interval"][0] <= report["srcc"] <= report["srcc_interval"][1] <= 1
    assert {"plcc", "plcc_logistic", "krcc", "rmse", "parts", "complete", "summary"} <= set(report)


def test_a_limit_is_said_in_words(dataset: Dataset) -> None:
    report = evaluate(dataset, model=FakeBackend(), limit=12, resamples=0)
    assert report.summary == "labels: all 30 images; only the first 12 of them, as asked"
    assert (report.count, report.complete, report.limit) == (12, False, 12)
    whole = evaluate(dataset, model=FakeBackend(), limit=300, resamples=0)
    assert (whole.summary, whole.complete) == ("labels: all 30 images", True)
    assert (dataset.part, dataset.first(12).part, dataset.first(20).first(12).summary) == (
        "",
        "first12",
        report.summary,
    )


def test_failed_images_are_left_out_named_and_counted(dataset: Dataset, labels: Path, tmp_path: Path) -> None:
    (labels.parent / "07.png").write_text("Dear reader,")
    out = tmp_path / "rows.jsonl"
    got = run("evaluate", labels, "--model", "fake", "--resamples", 0, "--out", out)
    assert got.exit_code == 1
    assert got.stderr.count("07.png: is not an image") == 1
    assert "29 images correlated, 1 failed and are left out" in got.stdout
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["path"] for row in rows] == [item.path for item in dataset.items]
    assert [row["score"] is None for row in rows] == [number == 7 for number in range(30)]


def test_rows_carry_the_logits_and_make_the_report_again(dataset: Dataset, labels: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows.parquet"
    got = run("evaluate", labels, "--model", "fake", "--json", "--resamples", 0, "--out", out)
    table = pq.read_table(out).to_pylist()
    srcc = stats.spearmanr([row["rank"] for row in table], [row["quality"] for row in table]).statistic
    assert json.loads(got.stdout)["srcc"] == pytest.approx(srcc)
    assert np.array([row["logits"] for row in table]).shape == (30, 4, 2, 2)
    report = evaluate(dataset, model=FakeBackend(), resamples=0)
    again = make_report(dataset, report.rows, model="fake", method="paper", resamples=0)
    assert isinstance(again, Report)
    assert again.json() == report.json()


def test_another_method_in_the_same_run_asks_only_what_is_missing(dataset: Dataset, tmp_path: Path) -> None:
    evaluate(dataset, model=FakeBackend(), run=tmp_path / "run", resamples=0)
    backend = FakeBackend()
    evaluate(dataset, model=backend, method="average", run=tmp_path / "run", resamples=0)
    evaluate(dataset, model=backend, method="only-fog", run=tmp_path / "run", resamples=0)
    assert not backend.calls


def test_mistakes_are_one_line_and_exit_code_2(labels: Path, tmp_path: Path) -> None:
    for arguments, why in (
        ((labels, "--limit", 2), "2 images are too few"),
        ((labels, "--direction", "sideways"), "--direction is higher or lower, got 'sideways'"),
        (("nonsense",), "nonsense"),
        ((tmp_path / "nowhere.csv",), "no such label file"),
    ):
        got = run("evaluate", *arguments, "--model", "fake")
        assert got.exit_code == 2
        assert why in got.stderr
        assert len(got.stderr.strip().splitlines()) == 1
    with pytest.raises(SettingError, match="limit must be 1 or more"):
        evaluate(load_dataset(labels), model=FakeBackend(), limit=0)


def test_a_sample_of_biq2021_is_evaluated_and_says_that_it_is_one(shared: Path, tmp_path: Path) -> None:
    root = shared / "biq2021_sample"
    command = ("evaluate", "biq2021", "--root", root, "--subset", "sample", "--model", "fake", "--limit", 20, "--json")
    got = run(*command, "--method", "vanilla", "--run", tmp_path / "run")
    assert got.exit_code == 0, got.stderr
    report = json.loads(got.stdout)
    assert (report["count"], report["subset"], report["complete"]) == (20, "sample", False)
    assert "900 of 12,000 images" in report["summary"]
    assert "only the first 20" in report["summary"]
    assert run(*command, "--method", "vanilla", "--run", tmp_path / "run").stdout == got.stdout
