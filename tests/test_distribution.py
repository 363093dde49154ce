"""The probabilities of the options, their deviation and the log-odds: by hand, and as columns."""

import csv
import json
from dataclasses import replace
from math import log, sqrt
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from qdebias import presets
from qdebias.backends.fake import FakeBackend
from qdebias.equations import FloatArray
from qdebias.image import RgbImage
from qdebias.methods.method import Context, Score
from qdebias.report.figure import Row, explain, poster
from qdebias.runs.scorer import Scorer
from test_cli import folder, run  # noqa: F401  (fixtures)

VALUES = (1, 0.75, 0.5, 0.25, 0)


def combined(name: str, photo: RgbImage, answers: list[list[FloatArray]]) -> Score:
    method = presets.get(name).method
    return method.combine(method.plan(photo, Context()), answers)


def logs(*shares: float) -> FloatArray:
    """Logits whose softmax is in these proportions."""
    return np.log(np.array(shares))


def test_five_levels_keep_their_probabilities(photo: RgbImage) -> None:
    found = combined("vanilla+levels5", photo, [[logs(1, 2, 3, 4, 2)]])
    assert list(found.probabilities) == ["excellent", "good", "fair", "poor", "bad"]
    np.testing.assert_allclose(list(found.probabilities.values()), np.array([1, 2, 3, 4, 2]) / 12)
    assert found.value == pytest.approx(5 / 12)
    assert found.deviation == pytest.approx(sqrt(3.125 / 12 - (5 / 12) ** 2))
    assert found.log_odds == pytest.approx(log(5 / 7))


@pytest.mark.parametrize("shares", [(1, 2, 3, 4, 2), (0.1, 0.5, 0.17, 0.09, 0.14), (1, 0, 0, 0, 1), (0, 0, 1, 0, 0)])
def test_the_deviation_is_that_of_deqa_score_on_its_scale(photo: RgbImage, shares: tuple[float, ...]) -> None:
    """DeQA-Score: sqrt(sum p (w - mean)^2) with the levels worth 5 to 1; ours are worth 1 to 0."""
    found = combined("q-align", photo, [[np.log(np.array(shares) + 1e-300)]])
    p, w = np.array(shares) / sum(shares), np.arange(5, 0, -1)
    assert 4 * (found.deviation or 0) == pytest.approx(sqrt(p @ (w - p @ w) ** 2), abs=1e-7)
    assert 1 + 4 * found.value == pytest.approx(p @ w)


def test_conditions_count_by_their_weights(photo: RgbImage) -> None:
    good = [0.9, 0.5, 0.4, 0.1]
    found = combined("average", photo, [[logs(p, 1 - p)] for p in good])
    assert found.probabilities == pytest.approx({"good": 0.475, "poor": 0.525})
    assert found.deviation == pytest.approx(sqrt(0.475 * 0.525))
    weighted = combined("paper", photo, [[logs(p, 1 - p), logs(p, 1 - p)] for p in good])
    assert weighted.probabilities["good"] == pytest.approx(weighted.weight @ good)


def test_questions_of_an_ensemble_share_a_sum_of_one(photo: RgbImage) -> None:
    rows = [logs(2, 1, 1), logs(1, 1, 2), logs(1, 2, 1)]
    found = combined("vanilla+ensemble", photo, [rows])
    assert list(found.probabilities) == ["good", "average", "poor", "high", "medium", "low", "excellent", "fair", "bad"]
    assert found.probabilities["good"] == pytest.approx(1 / 6)
    assert found.probabilities["low"] == pytest.approx(1 / 6)
    assert sum(found.probabilities.values()) == pytest.approx(1)
    assert found.value == pytest.approx((2 + 1 + 1) / 12 + 0.5 * (1 + 1 + 2) / 12)


def test_a_word_in_two_questions_is_one_option(photo: RgbImage) -> None:
    method = presets.get("vanilla+ensemble").method
    both = presets.replace(method, ensemble=(method.quality,))  # type: ignore[type-var]
    found = both.combine(both.plan(photo, Context()), [[logs(2, 1, 1), logs(1, 1, 2)]])
    assert found.probabilities == pytest.approx({"good": 0.375, "average": 0.25, "poor": 0.375})


def test_temperature_counts(photo: RgbImage) -> None:
    found = combined("vanilla+t100", photo, [[np.array([100.0, 0.0])]])
    assert found.probabilities["good"] == pytest.approx(1 / (1 + np.exp(-1.0)))


def test_the_likeliest_words_are_no_fixed_options(photo: RgbImage) -> None:
    answer = np.concatenate([np.arange(100.0), np.linspace(5, 0, 100), np.linspace(-1, 1, 100)])
    found = combined("sep-iqa", photo, [[answer]])
    assert (found.probabilities, found.deviation) == ({}, None)


@pytest.mark.parametrize("stored", [False, True])
def test_columns_of_the_probabilities(stored: bool, folder: Path) -> None:  # noqa: F811
    keep = ("--run", "run") if stored else ()
    asked = ("a.png", "c.png", "--model", "fake", "--method", "vanilla+levels5", *keep)
    rows = [json.loads(line) for line in run("score", *asked, "--json", cwd=folder).stdout.splitlines()]
    names = ["p_excellent", "p_good", "p_fair", "p_poor", "p_bad"]
    for row in rows:
        assert sum(row[name] for name in names) == pytest.approx(1)
        assert row["score"] == pytest.approx(sum(row[name] * v for name, v in zip(names, VALUES, strict=True)))
    for suffix in ("csv", "parquet"):
        run("score", *asked, "--out", f"x.{suffix}", cwd=folder)
    table = pq.read_table(folder / "x.parquet").to_pylist()
    assert table == rows
    with (folder / "x.csv").open(newline="") as file:
        assert [float(row["p_fair"]) for row in csv.DictReader(file)] == [row["p_fair"] for row in rows]


def test_a_failed_image_has_empty_cells(folder: Path) -> None:  # noqa: F811
    (folder / "broken.png").write_bytes(b"nothing")
    run("score", "broken.png", "a.png", "--model", "fake", "--out", "x.csv", cwd=folder)
    with (folder / "x.csv").open(newline="") as file:
        failed, scored = csv.DictReader(file)
    assert (failed["p_good"], failed["deviation"], failed["log_odds"]) == ("", "", "")
    assert float(scored["p_good"]) == pytest.approx(float(scored["score"]))


def test_columns_are_chosen_by_name(folder: Path) -> None:  # noqa: F811
    asked = ("a.png", "--model", "fake", "--columns", "path,p,deviation")
    got = run("score", *asked, "--json", "--out", "x.csv", cwd=folder)
    assert list(json.loads(got.stdout)) == ["path", "p_good", "p_poor", "deviation"]
    assert (folder / "x.csv").read_text().splitlines()[0] == "path,p_good,p_poor,deviation"
    run("score", "a.png", "--model", "fake", "--run", "run", cwd=folder)
    exported = run("export", "run", "--json", "--columns", "log_odds,p_good", cwd=folder)
    assert list(json.loads(exported.stdout)) == ["log_odds", "p_good"]
    wrong = run("score", "a.png", "--model", "fake", "--columns", "path,p_excellent", "--json", cwd=folder)
    assert wrong.returncode == 2
    assert "there is no column 'p_excellent'; there are path, score," in wrong.stderr


def test_evaluated_rows_have_them_too(folder: Path) -> None:  # noqa: F811
    names = ("a.png", "c.png", "d.png", "e.png")
    for name in names[2:]:
        (folder / name).write_bytes((folder / "a.png").read_bytes())
    (folder / "labels.csv").write_text(
        "\n".join(["image,mos", *(f"{name},{len(name)}.{n}" for n, name in enumerate(names))])
    )
    asked = ("--model", "fake", "--method", "vanilla", "--resamples", 0, "--out", "x.csv")
    got = run("evaluate", "labels.csv", *asked, cwd=folder)
    assert got.returncode == 0, got.stderr
    with (folder / "x.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            assert float(row["p_good"]) == pytest.approx(float(row["score"]))


@pytest.mark.parametrize(
    ("method", "bars"), [("vanilla", 1), ("vanilla+levels5", 7), ("paper+levels5", 7), ("paper", 2)]
)
def test_more_than_two_options_are_drawn(method: str, bars: int, photo: RgbImage) -> None:
    explanation = Scorer(backend=FakeBackend(), method=method).explain(photo)
    plain = None if method == "vanilla" else 0.4
    figure = explain([Row(name="a", explanation=explanation, vanilla=plain)], title="")
    drawn = figure.axes[-1]
    widths = [round(patch.get_width(), 9) for patch in drawn.patches]
    assert len(widths) == bars
    assert widths[-1] == round(explanation.score.value, 9)
    names = [label.get_text() for label in drawn.get_yticklabels()]
    if bars == 7:
        assert names == ["bad", "poor", "fair", "good", "excellent", "vanilla", "score"]
        assert widths[:5] == [round(share, 9) for share in reversed(explanation.score.probabilities.values())]


def drawn_on_a_poster(plain: list[float], photo: RgbImage) -> tuple[str, list[str], list[float]]:
    """Return the sentence, the titles of the photographs and the lengths of the bars; the scores are .50, .51, ..."""
    explanation = Scorer(backend=FakeBackend(), method="paper").explain(photo)
    rows = [
        Row(
            name=f"{number}.png",
            explanation=replace(explanation, score=replace(explanation.score, value=0.5 + number / 100)),
            vanilla=value,
        )
        for number, value in enumerate(plain)
    ]
    figure = poster(rows, model="fake", method="paper", note="It guesses.")
    assert figure.get_figwidth() > figure.get_figheight()
    assert "It guesses." in figure.get_supxlabel()
    titles = [cell.get_title() for cell in figure.axes if cell.get_title()]
    bars = [round(patch.get_width(), 9) for cell in figure.axes for patch in cell.patches]
    return figure.get_suptitle().replace("\n", " "), titles, bars


def test_poster_shows_the_pair_that_debiasing_puts_in_the_other_order(photo: RgbImage) -> None:
    sentence, titles, bars = drawn_on_a_poster([0.50, 0.60, 0.52, 0.2, 0.9, 0.51, 0.45], photo)
    assert sentence == "Asked plainly, fake prefers “1” to “6”. Beside degraded copies, it prefers “6”."
    assert titles == ["1", "3", "4", "6"]
    assert bars == [0.6, 0.51, 0.2, 0.53, 0.9, 0.54, 0.45, 0.56]


def test_poster_without_such_a_pair_names_what_changed_most(photo: RgbImage) -> None:
    sentence, titles, _ = drawn_on_a_poster([0.40, 0.45], photo)
    assert sentence == "fake scores “0” 0.40 asked plainly, and 0.50 beside degraded copies."
    assert titles == ["0", "1"]
