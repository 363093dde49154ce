"""Exposure and offsets: bias that was put in is found, and none where there is none."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import rankdata
from sklearn.isotonic import IsotonicRegression

from qdebias.backends.fake import FakeBackend
from qdebias.errors import SettingError
from qdebias.evaluation.bias import (
    Bias,
    Exposure,
    bias_table,
    contents_of,
    deserved,
    exposed,
    exposure_by_content,
    exposure_table,
    fractional_ranks,
    measure_bias,
)
from qdebias.evaluation.evidence import Evidence, Scores
from qdebias.evaluation.table import render
from qdebias.image import RgbImage, digest
from qdebias.methods.method import Context
from qdebias.methods.plan import Failure
from qdebias.methods.presets import PAPER, VANILLA
from qdebias.prompts import Question, Request
from qdebias.report.paper_figures import choose_examples, draw_grid, draw_strip
from qdebias.runs.scorer import Scorer

SCENES = ("night", "plant", "still life")
PLANTED = {"night": 0.3, "plant": 0.0, "still life": -0.3}


def evidence_of(count: int = 600, *, planted: float = 1.0, seed: int = 4) -> Evidence:
    """Scores that follow the human ones, before debiasing with an offset for each scene."""
    rng = np.random.default_rng(seed)
    quality = rng.uniform(1, 5, count)
    scenes = tuple(SCENES[number] for number in rng.integers(0, 3, count))
    after = quality / 5 + rng.normal(0, 0.1, count)
    before = after + planted * np.array([PLANTED[scene] for scene in scenes])
    return Evidence(
        model="m",
        dataset="d",
        title="D",
        summary="d: all images",
        root="/d",
        names=tuple(f"{number}.png" for number in range(count)),
        contents={"scene": scenes},
        quality=quality,
        results={"vanilla": Scores(value=before, order=before), "paper": Scores(value=after, order=after)},
    )


def test_planted_offsets_are_found_and_gone_after_debiasing() -> None:
    bias = measure_bias(evidence_of(), resamples=100)
    assert [offset.content for offset in bias.offsets] == ["night", "plant", "still life"]
    assert bias.offsets[0].before.value > 0.15
    assert bias.offsets[-1].before.value < -0.15
    assert bias.before.value > 5 * bias.chance
    assert bias.after.value < 2 * bias.chance
    assert bias.change.high is not None
    assert bias.change.high < 0
    for offset in bias.offsets:
        assert offset.after.low is not None
        assert offset.after.high is not None
        assert offset.after.low < 0 < offset.after.high
    assert sum(offset.count for offset in bias.offsets) == 600


def test_contents_that_mean_nothing_spread_as_chance_says() -> None:
    spreads, chances = [], []
    for seed in range(30):
        bias = measure_bias(evidence_of(200, planted=0, seed=seed), resamples=0)
        spreads.append(bias.before.value**2)
        chances.append(bias.chance**2)
    assert np.mean(spreads) == pytest.approx(np.mean(chances), rel=0.35)


def test_the_deserved_rank_is_an_isotonic_regression() -> None:
    evidence = evidence_of(300)
    quality = evidence.quality.round(1)  # with ties
    ranks = fractional_ranks(evidence.quality + np.random.default_rng(1).normal(0, 1, 300))
    np.testing.assert_allclose(ranks, (rankdata(ranks) - 0.5) / 300, atol=1e-12)
    expected = IsotonicRegression().fit(quality, ranks).predict(quality)
    np.testing.assert_allclose(deserved(ranks, quality), expected, atol=1e-9)


def test_images_without_a_score_are_left_out() -> None:
    evidence = evidence_of(200)
    scores = evidence.results["paper"]
    assert isinstance(scores, Scores)
    holes = np.where(np.arange(200) < 20, np.nan, scores.order)
    broken = replace(evidence, results={**evidence.results, "paper": Scores(value=holes, order=holes)})
    assert sum(offset.count for offset in measure_bias(broken, resamples=0).offsets) == 180


def test_without_resamples_there_are_no_intervals() -> None:
    bias = measure_bias(evidence_of(100), resamples=0)
    assert bias.before.low is None
    assert bias.offsets[0].after.high is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"contents": {}}, r"do not group the images by content; known \(--by\): none"),
        ({"contents": {"scene": ("night",) * 50}}, "all images with scores are of one scene"),
        ({"results": {}}, "needs scores under the method vanilla: not asked"),
        ({"results": {"vanilla": Scores(not_run="no weights")}}, "method vanilla: no weights"),
    ],
)
def test_what_cannot_be_measured_is_an_error(change: dict[str, object], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        measure_bias(replace(evidence_of(50), **change), resamples=0)  # type: ignore[arg-type]


def test_contents_can_be_chosen() -> None:
    evidence = evidence_of(30)
    subsets = tuple("ab"[number % 2] for number in range(30))
    both = replace(evidence, contents={"scene": evidence.contents["scene"], "subset": subsets})
    assert contents_of(both)[0] == "scene"
    assert contents_of(both, "subset") == ("subset", subsets)
    with pytest.raises(SettingError, match=r"by group; known \(--by\): scene, subset"):
        contents_of(both, "group")


def test_exposure_asks_about_the_image_and_each_copy_alone(photo: RgbImage) -> None:
    plan, paper = Exposure().plan(photo, Context(seed=7)), PAPER.plan(photo, Context(seed=7))
    assert [len(request.images) for request in plan.requests] == [1] * 5
    assert all(request.questions == (VANILLA,) for request in plan.requests)
    np.testing.assert_array_equal(plan.requests[0].images[0], photo)
    copies = [digest(request.images[0]) for request in plan.requests[1:]]
    assert copies == [digest(condition.image) for condition in paper.conditions]


def confident(request: Request, question: Question) -> list[float]:
    """Call bright images good."""
    assert question == VANILLA
    return [float(request.images[0].mean()) / 50, 2.0]


def test_exposure_is_the_mean_over_the_copies(photo: RgbImage) -> None:
    score = Scorer(backend=FakeBackend(answer=confident), method=Exposure()).score(photo)
    assert score.value == pytest.approx(score.good.mean())
    assert len(score.good) == 4
    assert exposed(score)[0] == pytest.approx(1 / (1 + np.exp(2 - photo.mean() / 50)))


def test_exposure_as_a_table_and_a_picture(photo: RgbImage, tmp_path: Path) -> None:
    score = Scorer(backend=FakeBackend(answer=confident), method=Exposure()).score(photo)
    results = [score, Failure(name="b.png", error="b.png: no such file")]
    table = exposure_table(["a.png", "b.png"], results, title="T")
    assert [column.flat for column in table.columns][1:3] == ["P(good) itself", "P(good) ZoomBlur"]
    assert table.rows[0][-1].text == f"{score.value:.3f}"
    assert table.rows[1][-1].text == "failed"
    assert table.footnotes == ("b.png: no such file",)
    draw_strip([score, score], tmp_path / "strip.svg", title="T")
    assert "<svg" in (tmp_path / "strip.svg").read_text()
    with pytest.raises(SettingError, match="no image with an exposure"):
        draw_strip([], tmp_path / "strip.png", title="T")


def test_offsets_as_a_table_with_the_exposure_of_each_content(photo: RgbImage) -> None:
    evidence = evidence_of(60)
    bias = measure_bias(evidence, resamples=10)
    score = Scorer(backend=FakeBackend(answer=confident), method=Exposure()).score(photo)
    exposure = exposure_by_content(evidence, [score] * 59 + [Failure(name="x", error="y")], "scene")
    assert exposure == pytest.approx(dict.fromkeys(exposure, score.value))
    text = render(bias_table(evidence, bias, exposure=exposure), "markdown")
    assert text.count(f"{score.value:.3f}") == 3
    assert "| spread " in text
    assert "paper minus vanilla: " in text


@pytest.fixture
def gallery(tmp_path: Path) -> tuple[Evidence, Bias]:
    evidence = evidence_of(90)
    evidence = replace(evidence, results={**evidence.results, "qbench": evidence.results["vanilla"]})
    for name in evidence.names:
        Image.new("RGB", (64, 40), "teal").save(tmp_path / name)
    return evidence, measure_bias(evidence, before="qbench", resamples=0)


def test_the_grid_pairs_images_of_close_human_scores(gallery: tuple[Evidence, Bias], tmp_path: Path) -> None:
    evidence, bias = gallery
    rows = choose_examples(evidence, bias, columns=4)
    assert [{example.content for example in row} for row in rows] == [{"night"}, {"still life"}]
    for first, second in zip(*rows, strict=True):
        assert abs(first.quality - second.quality) < 0.6
        assert first.before > second.before
    assert len({example.name for row in rows for example in row}) == 8
    assert [example.quality for example in rows[0]] == sorted(example.quality for example in rows[0])
    draw_grid(rows, tmp_path, tmp_path / "grid.png", title="T")
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.size[0] > picture.size[1]


def test_a_grid_needs_images_and_a_file_that_can_be_written(gallery: tuple[Evidence, Bias], tmp_path: Path) -> None:
    evidence, bias = gallery
    with pytest.raises(SettingError, match="night and still life have too few images"):
        choose_examples(evidence, bias, columns=60)
    with pytest.raises(SettingError, match="needs scores under the method t1: not asked"):
        choose_examples(evidence, replace(bias, methods=("t1", "paper")))
    rows = choose_examples(evidence, bias, columns=2)
    with pytest.raises(SettingError, match="cannot be written"):
        draw_grid(rows, tmp_path, tmp_path / "grid.word", title="T")
