"""Ranking by comparisons: which pairs, what follows from the answers, and what becomes of images that fail."""

import csv
import json
from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.optimize import minimize
from scipy.special import expit
from typer.testing import CliRunner

from qdebias.backends.base import OptionLogits
from qdebias.backends.fake import FakeBackend
from qdebias.cli.app import app
from qdebias.errors import BackendError, SettingError
from qdebias.evaluation.ranking import QUESTIONS, Ranking, rank
from qdebias.evaluation.strengths import bradley_terry, rings
from qdebias.image import digest, load_image
from qdebias.prompts import Question, Request
from qdebias.runs.records import read_scores
from qdebias.runs.run import open_run

COUNT = 12
EXAMPLES = Path(__file__).resolve().parent.parent / "examples" / "photos"


def named(count: int) -> list[str]:
    return [f"image {number}" for number in range(count)]


@given(st.integers(2, 60), st.integers(1, 9), st.integers(0, 5))
def test_every_image_has_opponents_and_all_are_connected(count: int, opponents: int, seed: int) -> None:
    pairs = rings(named(count), opponents=opponents, seed=seed)
    assert len({frozenset(pair) for pair in pairs}) == len(pairs)
    degree = Counter(place for pair in pairs for place in pair)
    assert all(1 <= degree[place] <= max(opponents + 1, 1) for place in range(count))
    reached, before = {0}, 0
    while len(reached) > before:
        before = len(reached)
        reached |= {place for pair in pairs if reached & set(pair) for place in pair}
    assert reached == set(range(count))


def test_few_images_are_all_compared() -> None:
    assert rings(named(4), opponents=8, seed=0) == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]


def by_name(images: Sequence[str], **settings: int) -> set[frozenset[str]]:
    return {frozenset((images[a], images[b])) for a, b in rings(images, **settings)}


def test_neither_order_nor_further_images_change_most_pairs() -> None:
    images = named(100)
    pairs = by_name(images, opponents=6, seed=3)
    assert by_name(images[::-1], opponents=6, seed=3) == pairs
    assert by_name(images, opponents=6, seed=4) != pairs
    more = by_name([*images, "another"], opponents=6, seed=3)
    assert len(pairs - more) <= 3
    assert len(more - pairs) <= 6
    with pytest.raises(SettingError, match="at least one opponent"):
        rings(images, opponents=0, seed=0)


def test_strengths_are_found_again_where_no_answer_contradicts_another() -> None:
    want = np.random.default_rng(0).normal(0, 2, 30)
    want -= want.mean()
    pairs = np.array(rings(named(30), opponents=6, seed=0))
    value, error = bradley_terry(30, pairs, want[pairs[:, 0]] - want[pairs[:, 1]])
    np.testing.assert_allclose(value, want, atol=1e-6)
    np.testing.assert_allclose(error, 0, atol=1e-6)


def test_strengths_and_errors_equal_a_logistic_regression_of_fractions() -> None:
    rng = np.random.default_rng(1)
    count, pairs = 15, np.array(rings(named(15), opponents=6, seed=0))
    log_odds = rng.normal(0, 1.5, len(pairs))
    design = np.zeros((len(pairs), count))
    design[np.arange(len(pairs)), pairs[:, 0]] = 1
    design[np.arange(len(pairs)), pairs[:, 1]] = -1
    won = expit(log_odds)

    def loss(value: np.ndarray) -> float:
        margin = design @ value
        return float(np.sum(won * np.logaddexp(0, -margin) + (1 - won) * np.logaddexp(0, margin)))

    want = minimize(loss, np.zeros(count), method="BFGS", options={"gtol": 1e-9}).x
    want -= want.mean()
    value, error = bradley_terry(count, pairs, log_odds)
    np.testing.assert_allclose(value, want, atol=1e-5)
    expected = expit(design @ want)
    spread = expected * (1 - expected)
    noise = np.sum((log_odds - design @ want) ** 2) / (len(pairs) - count + 1)
    bread = np.linalg.pinv(design.T @ (spread[:, None] * design))
    covariance = noise * bread @ (design.T @ (spread[:, None] ** 2 * design)) @ bread
    np.testing.assert_allclose(error, np.sqrt(np.diag(covariance)), rtol=1e-4)


@pytest.mark.parametrize(("sd", "noise"), [(0.5, 0.3), (2.0, 1.0), (5.0, 1.0)])
def test_interval_holds_the_true_strength(sd: float, noise: float) -> None:
    rng, held = np.random.default_rng(2), []
    for seed in range(20):
        pairs, want = np.array(rings(named(12), opponents=6, seed=seed)), rng.normal(0, sd, 12)
        log_odds = want[pairs[:, 0]] - want[pairs[:, 1]] + rng.normal(0, noise, len(pairs))
        value, error = bradley_terry(12, pairs, log_odds)
        held.append(np.abs(value - want + want.mean()) < 1.96 * error)
    assert np.mean(held) > 0.9


@pytest.mark.parametrize("count", [4, 30])
def test_clean_sweep_is_an_order_with_finite_intervals_and_no_tie(count: int) -> None:
    pairs = np.array(list(combinations(range(count), 2)))
    value, error = bradley_terry(count, pairs, np.full(len(pairs), np.inf))
    assert (np.diff(value) < -10).all()
    assert np.isfinite(value).all()
    assert (error < 2).all()
    assert (error > 0).all()


@pytest.mark.parametrize("sign", [1, -1])
def test_undefeated_or_never_beaten_image_has_a_finite_strength_and_interval(sign: int) -> None:
    pairs = np.array(list(combinations(range(4), 2)))
    log_odds = np.array([sign * np.inf] * 3 + [0.5, -0.4, 0.2])
    value, error = bradley_terry(4, pairs, log_odds)
    assert 10 < sign * value[0] < 30
    assert (sign * value[1:] < 0).all()
    assert (error < 1).all()


def test_an_answer_without_any_doubt_stays_finite() -> None:
    value, error = bradley_terry(2, np.array([[0, 1]]), np.array([500.0]))
    np.testing.assert_allclose(value, [10, -10], atol=1e-3)
    assert np.isnan(error).all()
    with pytest.raises(SettingError, match="3,001 images are too many"):
        bradley_terry(3001, np.array([[0, 1]]), np.array([0.0]))


def brighter(request: Request, question: Question) -> list[float]:
    """Prefer the brighter image, and the first one whatever it shows."""
    assert question in QUESTIONS.values()
    first, second = (float(image.mean()) / 20 for image in request.images)
    return [first - second + 1.5, 0.0]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder, noise = tmp_path / "photos", np.random.default_rng(4)
    folder.mkdir()
    for number in range(COUNT):
        picture = noise.integers(0, 60, (36, 40, 3)) + 15 * number
        Image.fromarray(picture.astype(np.uint8)).save(folder / f"{number:02}.png")
    return folder


def ranked(photos: Path, backend: FakeBackend, folder: Path, opponents: int = 4, batch: int = 4) -> Ranking:
    with open_run(folder, backend.fingerprint, model="fake") as run:
        return rank(sorted(photos.iterdir()), backend=backend, run=run, opponents=opponents, batch=batch)


def names(ranking: Ranking) -> list[str]:
    return [Path(row.path).stem for row in ranking.rows if row.rank is not None]


def asked_of(backend: FakeBackend) -> int:
    return sum(len(request.questions) for call in backend.calls for request in call)


def test_a_preference_for_the_first_place_cancels(photos: Path, tmp_path: Path) -> None:
    found = ranked(photos, FakeBackend(answer=brighter), tmp_path / "run")
    assert names(found) == [f"{number:02}" for number in reversed(range(COUNT))]
    levels = [load_image(path).mean() / 20 for path in sorted(photos.iterdir())][::-1]
    strengths = [row.strength for row in found.rows]
    np.testing.assert_allclose(strengths, np.array(levels) - np.mean(levels), atol=1e-6)
    assert found.first == pytest.approx(1.5)
    assert 0 < found.swayed < 1
    assert [row.rank for row in found.rows] == list(range(1, COUNT + 1))
    assert all((row.low or 0) <= (row.strength or 0) <= (row.high or 0) for row in found.rows)


def test_nothing_is_asked_twice_and_an_image_more_asks_only_its_own_pairs(photos: Path, tmp_path: Path) -> None:
    backend = FakeBackend(answer=brighter)
    first = ranked(photos, backend, tmp_path / "run")
    assert asked_of(backend) == 2 * first.pairs
    assert ranked(photos, backend, tmp_path / "run") == first
    assert asked_of(backend) == 2 * first.pairs
    Image.new("RGB", (40, 40), (90, 10, 10)).save(photos / "new.png")
    ranked(photos, backend, tmp_path / "run")
    assert asked_of(backend) - 2 * first.pairs <= 2 * 4


class Interrupted(FakeBackend):
    """A model that breaks down after some calls."""

    def option_logits(self, requests: Sequence[Request]) -> OptionLogits:
        if len(self.calls) == 3:
            raise BackendError("the model broke down")
        return FakeBackend.option_logits(self, requests)


def test_an_interrupted_ranking_goes_on(photos: Path, tmp_path: Path) -> None:
    whole = ranked(photos, FakeBackend(answer=brighter), tmp_path / "whole")
    broken = Interrupted(answer=brighter)
    with pytest.raises(BackendError):
        ranked(photos, broken, tmp_path / "run")
    backend = FakeBackend(answer=brighter)
    assert ranked(photos, backend, tmp_path / "run", batch=1) == whole
    assert asked_of(backend) == 2 * whole.pairs - asked_of(broken)


def test_images_that_fail_are_rows_and_the_others_are_ranked(photos: Path, tmp_path: Path) -> None:
    (photos / "letter.png").write_text("Dear reader,")
    refused = digest(load_image(photos / "05.png"))
    found = ranked(photos, FakeBackend(answer=brighter, failing=(refused,)), tmp_path / "run")
    assert names(found) == [f"{number:02}" for number in reversed(range(COUNT)) if number != 5]
    failed = {Path(row.path).name: row for row in found.rows[-2:]}
    assert "is not an image" in (failed["letter.png"].error or "")
    assert "set to fail" in (failed["05.png"].error or "")
    assert all(row.rank is None and row.strength is None for row in failed.values())


def test_files_of_the_same_pixels_share_a_rank(photos: Path, tmp_path: Path) -> None:
    (photos / "copy.png").write_bytes((photos / "11.png").read_bytes())
    found = ranked(photos, FakeBackend(answer=brighter), tmp_path / "run")
    assert names(found)[:3] == ["11", "copy", "10"]
    assert [row.rank for row in found.rows[:3]] == [1, 1, 3]


def test_without_two_images_there_is_no_ranking(photos: Path, tmp_path: Path) -> None:
    for path in sorted(photos.iterdir())[2:]:
        path.unlink()
    (photos / "01.png").write_bytes((photos / "00.png").read_bytes())
    with pytest.raises(SettingError, match="two or more different images that can be compared: there is one image"):
        ranked(photos, FakeBackend(answer=brighter), tmp_path / "run")
    (photos / "01.png").write_text("Dear reader,")
    with pytest.raises(SettingError, match=r"01\.png: is not an image"):
        ranked(photos, FakeBackend(answer=brighter), tmp_path / "run")


def call(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.stdout if code < 2 else result.output


def test_the_command_prints_and_writes_rows(photos: Path, tmp_path: Path) -> None:
    (photos / "letter.png").write_text("Dear reader,")
    asked = ("rank", photos, tmp_path / "nowhere.png", "--model", "fake", "--run", tmp_path / "run")
    rows = [json.loads(line) for line in call(*asked, "--json", code=1).splitlines()]
    assert [row["rank"] for row in rows] == [*range(1, COUNT + 1), None, None]
    lines = [line.split("\t") for line in call(*asked, "--out", tmp_path / "ranking.csv", code=1).splitlines()]
    assert [line[-1] for line in lines] == [row["path"] for row in rows]
    with (tmp_path / "ranking.csv").open() as file:
        assert [row["path"] for row in csv.DictReader(file)] == [row["path"] for row in rows]
    assert [one.score for one in read_scores(tmp_path / "ranking.csv")] == [row["strength"] for row in rows]
    assert "--by is quality, sharpness" in call("rank", photos, "--by", "beauty", code=2)


def test_the_embedded_model_ranks_damaged_photographs_last() -> None:
    rows = [json.loads(line) for line in call("rank", EXAMPLES, "--opponents", 4, "--json").splitlines()]
    assert {Path(row["path"]).stem for row in rows[-3:]} == {"meadow-compressed", "stream-blurred", "sunset-noisy"}
