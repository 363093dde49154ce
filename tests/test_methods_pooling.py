"""Readouts, weights and means equal small references, written from the formulas of their sources."""

from dataclasses import replace
from math import exp, inf, log

import numpy as np
import pytest
from scipy.stats import entropy

from qdebias import presets
from qdebias.equations import FloatArray
from qdebias.image import RgbImage
from qdebias.methods.method import Context, Score
from qdebias.methods.readouts import LEVELS5

GOOD = np.array([[1.0, -0.5], [0.2, 0.9], [3.0, -2.0], [-1.0, 1.5]])
"""Logits of good and poor under four conditions."""
SAME = np.array([[2.0, -1.0], [0.1, 0.3], [-3.0, 2.0], [1.0, 1.0]])
LEVELS = np.array([[2.0, 1, 0.5, -1, -2], [0, 0, 0, 0, 0], [-1, 0, 3, 0, -1], [0.1, 0.2, 0.3, 4, 5]])


def score(text: str, photo: RgbImage, quality: FloatArray, same: FloatArray | None = SAME) -> Score:
    method = presets.get(text).method
    plan = method.plan(photo, Context())
    answers = [[row] for row in quality] if same is None else [[*rows] for rows in zip(quality, same, strict=True)]
    return method.combine(plan, answers)


def sigmoid(z: float) -> float:
    return 1 / (1 + exp(-z))


def softmax(logits: FloatArray, temperature: float = 1.0) -> FloatArray:
    grown = np.exp(logits / temperature)
    return np.asarray(grown / grown.sum())


def paper_weights(temperature: float = 1.0) -> FloatArray:
    """Eq. (10) of eq. (11)."""
    return softmax(np.array([sigmoid((yes - no) / temperature) for yes, no in SAME]))


def test_five_levels_are_the_mean_level(photo: RgbImage) -> None:
    """Q-Align: the sum of p_i times the level, 1 to 5; here from 0 to 1."""
    levels = [sum(p * level for p, level in zip(softmax(row), (5, 4, 3, 2, 1), strict=True)) for row in LEVELS]
    expected = [(level - 1) / 4 for level in levels]
    found = score("paper+levels5", photo, LEVELS)
    np.testing.assert_allclose(found.good, expected)
    assert found.value == pytest.approx(paper_weights() @ expected)


def test_log_odds_are_averaged_before_the_sigmoid(photo: RgbImage) -> None:
    z = sum(w * (good - poor) for w, (good, poor) in zip(paper_weights(), GOOD, strict=True))
    found = score("paper+logodds", photo, GOOD)
    assert found.value == pytest.approx(sigmoid(z))
    assert found.log_odds == pytest.approx(z)


def test_log_odds_of_five_levels(photo: RgbImage) -> None:
    mean = [softmax(row) @ [1, 0.75, 0.5, 0.25, 0] for row in LEVELS]
    z = paper_weights() @ [log(q / (1 - q)) for q in mean]
    assert score("paper+levels5+logodds", photo, LEVELS).value == pytest.approx(sigmoid(z))


def test_the_mean_of_log_odds_is_the_normalised_geometric_mean(photo: RgbImage) -> None:
    """Genest and Zidek (1986): the product of p^w, normalised over good and poor."""
    p = np.array([sigmoid(good - poor) for good, poor in GOOD])
    good, poor = np.prod(p**0.25), np.prod((1 - p) ** 0.25)
    assert score("paper+average+logodds", photo, GOOD, None).value == pytest.approx(good / (good + poor))


def test_temperature_divides_every_logit(photo: RgbImage) -> None:
    good = [sigmoid((one - other) / 100) for one, other in GOOD]
    assert score("paper+t100", photo, GOOD).value == pytest.approx(paper_weights(100) @ good)


def test_confidence_is_one_minus_the_relative_entropy(photo: RgbImage) -> None:
    certainty = np.array([1 - entropy(softmax(row)) / log(5) for row in LEVELS])
    good = np.array([softmax(row) @ [1, 0.75, 0.5, 0.25, 0] for row in LEVELS])
    found = score("paper+levels5+confidence", photo, LEVELS, None)
    np.testing.assert_allclose(found.weight, certainty / certainty.sum(), atol=1e-12)
    assert found.weight[1] == pytest.approx(0, abs=1e-12), "five equal levels say nothing"
    assert found.value == pytest.approx((certainty @ good) / certainty.sum())


def test_confidence_in_nothing_is_the_plain_mean(photo: RgbImage) -> None:
    np.testing.assert_array_equal(score("paper+confidence", photo, np.zeros((4, 2)), None).weight, [0.25] * 4)


@pytest.mark.parametrize("text", ["paper+median", "paper+median+without-fog"])
def test_the_median_is_the_middle(text: str, photo: RgbImage) -> None:
    quality = GOOD[:3] if "fog" in text else GOOD
    assert score(text, photo, quality, None).value == pytest.approx(np.median([sigmoid(a - b) for a, b in quality]))


def test_the_median_of_log_odds(photo: RgbImage) -> None:
    z = np.median([good - poor for good, poor in GOOD])
    assert score("paper+median+logodds", photo, GOOD, None).value == pytest.approx(sigmoid(float(z)))


@pytest.mark.parametrize("text", ["paper+logodds", "paper+median", "paper+confidence", "paper+levels5+logodds"])
def test_log_odds_do_not_round_where_the_score_does(text: str, photo: RgbImage) -> None:
    logits = np.abs(LEVELS) * [2, 1, 0, 0, 0] if "levels5" in text else np.abs(GOOD) * [1, -1]
    same = SAME if presets.get(text).method.plan(photo, Context()).requests[0].questions[1:] else None
    first, second = (score(text, photo, logits * scale, same) for scale in (400, 500))
    assert first.log_odds is not None
    assert second.log_odds is not None
    assert -inf < first.log_odds < inf
    assert first.log_odds != second.log_odds
    plain = score(text, photo, logits, same)
    assert plain.log_odds == pytest.approx(log(plain.value / (1 - plain.value)))


def test_a_question_keeps_its_sign() -> None:
    turned = replace(presets.VANILLA, values=(0.0, 1.0))
    assert LEVELS5[0](turned).values == (0, 0.25, 0.5, 0.75, 1)
