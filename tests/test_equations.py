"""Equations 1 and 8 to 11."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from qdebias.equations import (
    Evidence,
    FloatArray,
    Probability,
    equal_weight,
    expected,
    from_log_odds,
    log_softmax,
    mean_probability,
    semantic_weight,
    winner_weight,
)

logits = arrays(np.float64, st.integers(2, 6), elements=st.floats(-1e3, 1e3))


def softmax(logits: FloatArray, temperature: float = 1.0) -> FloatArray:
    return np.exp(log_softmax(logits, temperature))


def known(p: FloatArray) -> Probability:
    with np.errstate(divide="ignore"):
        return Probability(log_p=np.log(p), log_q=np.log1p(-p))


def evidence(same: Probability) -> Evidence:
    nothing = np.zeros(len(same.log_p))
    return Evidence(quality=same, same=same, similarity=np.empty(0), certainty=nothing)


def expectation(logits: FloatArray, values: FloatArray) -> float:
    return float(expected(logits, values).p[0])


probabilities = arrays(np.float64, st.integers(1, 6), elements=st.floats(0, 1))


def test_softmax_of_two_is_the_logistic_of_the_difference() -> None:
    good, poor = 1.25, -0.5
    assert softmax(np.array([good, poor]))[0] == pytest.approx(1 / (1 + np.exp(poor - good)), abs=1e-15)


def test_temperature_divides_the_logits() -> None:
    np.testing.assert_allclose(softmax(np.array([20.0, 10.0]), 100), softmax(np.array([0.2, 0.1])), atol=1e-15)


@given(logits)
def test_softmax_is_a_distribution_and_ignores_a_constant(values: FloatArray) -> None:
    got = softmax(values)
    assert got.sum() == pytest.approx(1)
    assert (got >= 0).all()
    np.testing.assert_allclose(softmax(values - 7.0), got, atol=1e-9)


def test_softmax_takes_huge_logits() -> None:
    np.testing.assert_array_equal(softmax(np.array([1e30, -1e30])), [1.0, 0.0])


def test_expectation_weighs_the_values_of_the_options() -> None:
    assert expectation(np.zeros(5), np.array([1, 0.75, 0.5, 0.25, 0])) == pytest.approx(0.5)
    assert expectation(np.array([0.0, 0.0, 50.0]), np.array([1, 0.5, 0.2])) == pytest.approx(0.2)


@given(probabilities)
def test_semantic_weights_sum_to_one_and_differ_by_at_most_e(same: FloatArray) -> None:
    weight = semantic_weight(evidence(known(same)))
    assert weight.sum() == pytest.approx(1)
    assert weight.max() <= np.e * weight.min() * (1 + 1e-12)


def test_semantic_weight_is_equation_10() -> None:
    same = np.array([0.9, 0.2, 0.5, 0.5])
    np.testing.assert_allclose(semantic_weight(evidence(known(same))), np.exp(same) / np.exp(same).sum(), atol=1e-15)


def test_equal_and_winner_weights() -> None:
    same = np.array([0.1, 0.8, 0.8, 0.3])
    np.testing.assert_array_equal(equal_weight(evidence(known(same))), [0.25, 0.25, 0.25, 0.25])
    np.testing.assert_array_equal(winner_weight(evidence(known(same))), [0, 0.5, 0.5, 0])


def test_the_winner_is_told_where_its_probability_rounds_to_that_of_others() -> None:
    odds = np.array([39.25, 39.375, 39.625, 38.5])
    same = from_log_odds(odds)
    assert (same.p[1], same.p[0]) == (same.p[2], same.p[2])
    np.testing.assert_array_equal(winner_weight(evidence(same)), [0, 0, 1, 0])


@given(probabilities)
def test_the_aggregate_lies_between_the_lowest_and_the_highest(good: FloatArray) -> None:
    weight = semantic_weight(evidence(known(np.linspace(0, 1, len(good)))))
    value = mean_probability(known(good), weight).p[0]
    assert good.min() - 1e-12 <= value <= good.max() + 1e-12
    assert 0 <= value <= 1


def test_each_row_of_logits_has_a_softmax_of_its_own() -> None:
    logits = np.array([[1.0, 2.0], [300.0, 299.0]])
    np.testing.assert_array_equal(softmax(logits), [softmax(logits[0]), softmax(logits[1])])
    assert expectation(logits[0], np.array([1.0, 0.0])) == pytest.approx(softmax(logits[0], 1.0)[0], abs=1e-15)
