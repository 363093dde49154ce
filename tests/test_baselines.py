"""Baselines answer questions about one image by a measure of its pixels."""

from pathlib import Path

import cv2
import numpy as np
import pytest

import qdebias
from qdebias.backends.baselines import BASELINES, Baseline, above
from qdebias.errors import BackendError
from qdebias.image import RgbImage
from qdebias.prompts import Question, Request
from qdebias.runs.scorer import Scorer


@pytest.mark.parametrize("name", BASELINES)
def test_blur_lowers_a_baseline(name: str, photo: RgbImage) -> None:
    softer = [photo, *(cv2.GaussianBlur(photo, (0, 0), sigma) for sigma in (1, 2, 4))]
    scores = [score.value for score in qdebias.score(softer, model=name, method="vanilla")]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == 4


def test_the_usual_measure_is_one_half_and_twice_that_four_fifths(photo: RgbImage) -> None:
    question = Question(text="Good or poor?", options=("good", "poor"), values=(1.0, 0.0))
    for factor, want in ((1, 0.5), (2, 0.8)):
        usual = Baseline(name="x", log_odds=above(lambda _, factor=factor: 7.0 * factor, 7.0))
        good, poor = usual.option_logits([Request(images=(photo,), questions=(question,))])[0][0]
        assert 1 / (1 + np.exp(poor - good)) == pytest.approx(want)


def test_a_flat_picture_has_a_finite_score() -> None:
    flat = np.full((64, 64, 3), 128, np.uint8)
    for name in BASELINES:
        (score,) = qdebias.score(flat, model=name, method="vanilla")
        assert 0 < score.value < 0.5
        assert score.log_odds is not None
        assert np.isfinite(score.log_odds)


def test_pairs_are_refused_with_the_remedy(photo: RgbImage) -> None:
    with pytest.raises(BackendError, match="does not take pairs; use it with --method vanilla"):
        Scorer(backend=BASELINES["sharpness"]).score(photo)


def test_sharpness_agrees_with_people_on_real_photographs(shared: Path) -> None:
    """The figure in the documentation, .619, on the first of every nine of the 900."""
    data = qdebias.load_dataset("biq2021", root=shared / "biq2021_sample", subset="sample")
    chosen = list(range(0, len(data), 9))
    scores = qdebias.score([data.paths[place] for place in chosen], model="sharpness", method="vanilla")
    found = qdebias.correlate([one.value for one in scores], data.quality[chosen], resamples=0)
    assert found.srcc > 0.5
