"""What is reported of predicted against human scores, beside SciPy and beside the definitions."""

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import curve_fit

from qdebias.errors import SettingError
from qdebias.metrics.logistic import fit_logistic
from qdebias.metrics.measures import correlate, literal_probability


def scores(count: int, seed: int = 0, *, step: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Return predicted and human scores; with a step both are rounded to it, so that they tie often."""
    rng = np.random.default_rng(seed)
    predicted = rng.normal(size=count)
    mos = 50 + 20 * np.tanh(predicted) + 8 * rng.normal(size=count)
    return (np.round(predicted / step) * step, np.round(mos)) if step else (predicted, mos)


@pytest.mark.parametrize("step", [0.0, 0.5])
@pytest.mark.parametrize("count", [3, 20, 500])
def test_point_estimates_are_those_of_scipy(count: int, step: float) -> None:
    predicted, mos = scores(count, seed=count, step=step)
    got = correlate(predicted, mos, resamples=0)
    assert got.srcc == pytest.approx(stats.spearmanr(predicted, mos).statistic, abs=1e-12)
    assert got.plcc == pytest.approx(stats.pearsonr(predicted, mos).statistic, abs=1e-12)
    assert got.krcc == pytest.approx(stats.kendalltau(predicted, mos).statistic, abs=1e-12)
    assert got.count == count


def test_ties_share_their_mean_rank() -> None:
    got = correlate([1, 1, 2, 3], [1, 2, 2, 3], resamples=0)
    assert got.srcc == pytest.approx(np.corrcoef([1.5, 1.5, 3, 4], [1, 2.5, 2.5, 4])[0, 1], abs=1e-12)


def test_ranks_can_follow_another_column_than_plcc() -> None:
    predicted, mos = scores(60)
    got = correlate(predicted, mos, ranked_by=-predicted, resamples=0)
    assert got.srcc == pytest.approx(-stats.spearmanr(predicted, mos).statistic, abs=1e-12)
    assert got.plcc == pytest.approx(stats.pearsonr(predicted, mos).statistic, abs=1e-12)


@pytest.mark.parametrize(
    ("predicted", "mos", "message"),
    [
        ([1, 2], [1, 2], "too few"),
        ([1, 2, 3], [1, 2], "one length"),
        ([[1, 2, 3]], [[1, 2, 3]], "flat"),
        ([1, 2, np.nan], [1, 2, 3], "predicted has 1 values that are not finite, the first at row 2"),
        ([1, 2, 3], [np.inf, 2, 3], "mos has 1 values"),
        ([4, 4, 4], [1, 2, 3], "all 3 values of predicted are 4"),
        ([1, 2, 3], [0.1, 0.1, 0.1], "all 3 values of mos"),
        ([0.1, 0.1 + 1e-16, 0.1 + 2e-16], [1, 2, 3], "values of predicted"),
    ],
)
def test_a_correlation_that_does_not_exist_is_an_error(predicted: list, mos: list, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        correlate(predicted, mos)


def test_four_parameters_are_those_of_an_independent_fit() -> None:
    predicted, mos = scores(400)
    fit = fit_logistic(predicted, mos, parameters=4)

    def curve(x: np.ndarray, b1: float, b2: float, b3: float, b4: float) -> np.ndarray:
        return b2 + (b1 - b2) / (1 + np.exp(-(x - b3) / abs(b4)))

    want, _ = curve_fit(curve, predicted, mos, [mos.max(), mos.min(), 0, 1])
    want[3] = abs(want[3])
    np.testing.assert_allclose(fit.parameters, want, rtol=1e-3)
    np.testing.assert_allclose(fit(predicted), curve(predicted, *want), rtol=1e-4)
    assert fit.converged


def test_five_parameters_are_those_of_an_independent_fit() -> None:
    predicted, mos = scores(400)
    mos = mos + 5 * predicted
    fit = fit_logistic(predicted, mos, parameters=5)

    def curve(x: np.ndarray, b1: float, b2: float, b3: float, b4: float, b5: float) -> np.ndarray:
        return b1 * (0.5 - 1 / (1 + np.exp(b2 * (x - b3)))) + b4 * x + b5

    want, _ = curve_fit(curve, predicted, mos, [40, 1, 0, 0, 50])
    np.testing.assert_allclose(fit(predicted), curve(predicted, *want), rtol=1e-4)
    np.testing.assert_allclose(fit(predicted), curve(predicted, *fit.parameters), rtol=1e-12)


def test_a_known_logistic_is_found_again() -> None:
    x = np.linspace(-3, 4, 200)
    fit = fit_logistic(x, 10 + 80 / (1 + np.exp(-(x - 0.5) / 0.3)))
    np.testing.assert_allclose(fit.parameters, [90, 10, 0.5, 0.3], rtol=1e-6)


@pytest.mark.parametrize("parameters", [4, 5])
def test_a_fit_follows_a_change_of_units(parameters: int) -> None:
    predicted, mos = scores(300)
    plain = fit_logistic(predicted, mos, parameters=parameters)
    moved = fit_logistic(predicted * 1e-4 + 7, mos * 0.01 - 3, parameters=parameters)
    np.testing.assert_allclose(moved(predicted * 1e-4 + 7), plain(predicted) * 0.01 - 3, atol=1e-5)


def test_a_falling_relation_fits_as_well_as_a_rising_one() -> None:
    predicted, mos = scores(300)
    rising, falling = correlate(predicted, mos, resamples=0), correlate(predicted, -mos, resamples=0)
    assert falling.plcc == pytest.approx(-rising.plcc, abs=1e-12)
    assert falling.plcc_logistic == pytest.approx(rising.plcc_logistic, abs=1e-6)
    assert falling.rmse == pytest.approx(rising.rmse, rel=1e-6)


def test_plcc_and_rmse_after_the_curve_follow_from_it() -> None:
    predicted, mos = scores(300)
    got = correlate(predicted, mos, resamples=0)
    assert got.plcc_logistic == pytest.approx(np.corrcoef(got.logistic(predicted), mos)[0, 1], abs=1e-12)
    assert got.plcc_logistic5 == pytest.approx(np.corrcoef(got.logistic5(predicted), mos)[0, 1], abs=1e-12)
    assert got.rmse == pytest.approx(np.sqrt(np.mean((got.logistic(predicted) - mos) ** 2)), abs=1e-12)
    assert got.plcc_logistic5 >= got.plcc_logistic > got.plcc


def test_a_fit_that_is_not_determined_says_so() -> None:
    got = correlate([1, 2, 3, 5], [2, 1, 4, 3])
    assert not got.logistic.converged
    assert "4 images do not determine 4 parameters" in got.logistic.reason
    assert np.isnan(got.plcc_logistic)
    assert np.isnan(got.rmse)
    assert got.plcc_logistic_interval is None
    assert got.srcc_interval is not None


def test_a_curve_has_four_or_five_parameters() -> None:
    with pytest.raises(SettingError, match="4 or 5"):
        fit_logistic([1, 2, 3], [1, 2, 3], parameters=3)


def test_the_margin_has_the_order_of_the_probability_and_keeps_ties() -> None:
    good, poor = np.array([14.5, 15.25, 13.0, 20.0]), np.array([12.0, 12.75, 14.0, 1.0])
    margin = good.astype(np.float64) - poor
    literal = literal_probability(good, poor, temperature=100)
    assert margin[0] == margin[1]
    assert margin[2] < margin[0] < margin[3]
    np.testing.assert_allclose(literal, 1 / (1 + np.exp(-margin / 100)), rtol=1e-15)


def test_the_literal_formula_names_its_limits() -> None:
    with pytest.raises(SettingError, match=r"a logit of 1600 is too large .* at temperature 2;"):
        literal_probability([1600.0], [1.0], temperature=2)
    with pytest.raises(SettingError, match="positive"):
        literal_probability([1.0], [1.0], temperature=0)


def test_logits_of_less_precision_lose_no_more() -> None:
    good, poor = np.array([1e8, 3.0], dtype=np.float32), np.array([1.0, 1.0], dtype=np.float32)
    assert (good.astype(np.float64) - poor).tolist() == [99_999_999.0, 2.0]
    small = literal_probability(good[1:], poor[1:], temperature=1)
    assert small.tolist() == literal_probability([3.0], [1.0], temperature=1).tolist()
