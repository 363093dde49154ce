"""What is ranked: the log-odds of the score, free of the rounding of the softmax."""

from dataclasses import replace
from decimal import Decimal, getcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from scipy import stats

from qdebias import presets
from qdebias.equations import FloatArray, expected
from qdebias.errors import SettingError
from qdebias.evaluation.evidence import read
from qdebias.methods.method import Plan, QDebias, Score, Vanilla
from qdebias.metrics.measures import literal_probability
from qdebias.prompts import Question

LEVELS = Question(
    text="Rate the quality.",
    options=("excellent", "good", "fair", "poor", "bad"),
    values=(1.0, 0.75, 0.5, 0.25, 0.0),
)
VANILLA = presets.get("vanilla").method
PAPER = presets.get("paper").method


def combine(method: QDebias, *answers: list[list[float]]) -> Score:
    arrays = [[np.array(logits) for logits in request] for request in answers]
    return method.combine(Plan(requests=()), arrays)


def rank(method: QDebias, *answers: list[list[float]]) -> float:
    return read(method, combine(method, *answers), "exact")[1]


def exactly(logits: list[FloatArray], question: Question, weight: FloatArray) -> float:
    """Compute the log-odds with sixty digits, as the formula is written."""
    getcontext().prec = 60
    good = poor = Decimal(0)
    for share, row in zip(weight, logits, strict=True):
        grown = [Decimal(float(logit)).exp() for logit in row]
        for value, part in zip(question.values, grown, strict=True):
            good += Decimal(float(share)) * Decimal(value) * part / sum(grown)
            poor += Decimal(float(share)) * (1 - Decimal(value)) * part / sum(grown)
    return float(good.ln() - poor.ln())


def test_of_one_question_it_is_the_difference_of_the_logits() -> None:
    assert rank(VANILLA, [[2.5, -1.0]]) == pytest.approx(3.5, abs=1e-12)
    assert rank(VANILLA, [[-2.0, 7.0]]) == pytest.approx(-9.0, abs=1e-12)


def test_scores_that_round_to_one_keep_their_order_and_equal_differences_stay_equal() -> None:
    sure, surer = combine(VANILLA, [[45.0, 0.0]]), combine(VANILLA, [[46.0, 0.0]])
    assert sure.value == surer.value == 1.0
    assert read(VANILLA, sure, "exact")[1] < read(VANILLA, surer, "exact")[1]
    assert len({rank(VANILLA, [[15.75 + shift, 12.25 + shift]]) for shift in (0.0, 3.25, -17.5, 1024.0)}) == 1


def test_srcc_is_that_of_the_logit_difference() -> None:
    noise = np.random.default_rng(3)
    logits = noise.integers(-40, 40, (500, 2)) / 8 + 20  # as coarse as bfloat16, with many ties
    ranks = [rank(VANILLA, [pair.tolist()]) for pair in logits]
    margin = logits[:, 0] - logits[:, 1]
    np.testing.assert_array_equal(stats.rankdata(ranks), stats.rankdata(margin))


@given(some.lists(some.floats(-30, 30), min_size=16, max_size=16))
def test_of_an_aggregate_it_is_the_log_odds_of_the_exact_score(numbers: list[float]) -> None:
    answers = np.array(numbers).reshape(4, 2, 2).tolist()
    score = combine(PAPER, *answers)
    quality = [np.array(request[0]) for request in answers]
    value, order = read(PAPER, score, "exact")
    assert value == score.value
    assert order == pytest.approx(exactly(quality, PAPER.quality, score.weight), abs=1e-9)
    if 1e-6 < score.value < 1 - 1e-6:
        assert order == pytest.approx(np.log(score.value / (1 - score.value)), abs=1e-6)


@given(some.lists(some.floats(-50, 50), min_size=5, max_size=5))
def test_five_levels_are_ranked_by_their_mean(numbers: list[float]) -> None:
    logits = [np.array(numbers)]
    assert expected(logits[0], LEVELS.values).log_odds[0] == pytest.approx(
        exactly(logits, LEVELS, np.ones(1)), abs=1e-9
    )


def test_conditions_of_no_weight_do_not_count() -> None:
    winner = presets.get("winner").method
    answers = [[[1.0, 0.0], [9.0, 0.0]], [[-5.0, 0.0], [1.0, 0.0]], [[-5.0, 0.0], [0.0, 0.0]], [[4.0, 0.0], [0.0, 1.0]]]
    assert rank(winner, *answers) == pytest.approx(1.0, abs=1e-12)


def test_the_literal_formula_is_that_of_published_scripts() -> None:
    qbench = presets.get("qbench-t100").method
    pair = [15.625, 13.0625]
    value, order = read(qbench, combine(qbench, [pair]), "literal")
    assert value == order == literal_probability([pair[0]], [pair[1]], temperature=100.0)[0]
    answers = np.random.default_rng(4).normal(size=(4, 2, 2)).tolist()
    value, order = read(PAPER, combine(PAPER, *answers), "literal")
    assert value == order == pytest.approx(combine(PAPER, *answers).value, abs=1e-15)


def test_the_literal_formula_is_refused_where_it_is_none() -> None:
    levels = Vanilla(question=LEVELS)
    with pytest.raises(SettingError, match="the literal formula is of two options"):
        read(levels, combine(levels, [[1.0, 2.0, 3.0, 4.0, 5.0]]), "literal")


def test_an_unknown_method_is_ranked_by_its_score() -> None:
    class Mine:
        pass

    score = replace(combine(VANILLA, [[2.5, -1.0]]), log_odds=None)
    assert read(Mine(), score, "exact")[1] == score.value  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="is not known for Mine"):
        read(Mine(), score, "literal")  # type: ignore[arg-type]


def test_a_score_whose_value_was_replaced_is_ranked_by_the_new_value() -> None:
    score = replace(combine(VANILLA, [[2.5, -1.0]]), value=0.25)
    assert score.log_odds is None
    assert read(VANILLA, score, "exact")[1] == 0.25
