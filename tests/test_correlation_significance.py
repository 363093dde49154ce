"""Tests of the difference of two methods, beside published output and simulation."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from qdebias.correlation import DependentTest, compare_correlations, steiger, williams
from qdebias.errors import SettingError

Test = Callable[[float, float, float, int], DependentTest]


# Output of R's cocor 1.1 (cocor.dep.groups.overlap) for correlations that are printed to 4 decimals.
@pytest.mark.parametrize(
    ("first", "second", "between", "count", "t", "z"),
    [
        (-0.1741, 0.2015, 0.3734, 646, -9.0340, -8.6124),
        (0.1724, 0.1795, 0.5387, 646, -0.1909, -0.1909),
        (0.0228, 0.3522, 0.3718, 553, None, -7.1345),
        (0.2493, 0.3395, 0.4082, 553, None, -2.0660),
    ],
)
def test_statistics_are_those_of_cocor(
    first: float, second: float, between: float, count: int, t: float | None, z: float
) -> None:
    assert steiger(first, second, between, count).statistic == pytest.approx(z, abs=2.5e-3)
    if t is not None:
        got = williams(first, second, between, count)
        assert got.statistic == pytest.approx(t, abs=2.5e-3)
        assert got.freedom == count - 3
        assert got.p == pytest.approx(2 * stats.t.sf(abs(got.statistic), count - 3), rel=1e-12)


@pytest.mark.parametrize("test", [williams, steiger])
def test_exchanging_the_methods_changes_the_sign_only(test: Test) -> None:
    there, back = test(0.7, 0.6, 0.8, 50), test(0.6, 0.7, 0.8, 50)
    assert there.statistic == pytest.approx(-back.statistic, rel=1e-12)
    assert there.p == pytest.approx(back.p, rel=1e-12)


@pytest.mark.parametrize("test", [williams, steiger])
def test_equal_correlations_differ_by_nothing(test: Test) -> None:
    assert test(0.7, 0.7, 1.0, 50).p == 1.0


@pytest.mark.parametrize("test", [williams, steiger])
def test_what_cannot_be_tested_is_refused(test: Test) -> None:
    with pytest.raises(SettingError, match="4 is the least"):
        test(0.7, 0.6, 0.5, 3)
    with pytest.raises(SettingError, match="inside"):
        test(1.0, 0.6, 0.6, 50)


def test_equal_methods_are_rejected_as_often_as_the_level_says() -> None:
    rng = np.random.default_rng(11)
    p = []
    for seed in range(300):
        y = rng.normal(size=80)
        shared = rng.normal(size=80)
        a, b = (y + shared + 0.7 * rng.normal(size=80) for _ in range(2))
        got = compare_correlations(a, b, y, resamples=200, seed=seed).plcc
        p.append((got.p, got.williams.p, got.steiger.p))
    assert np.all(np.abs(np.mean(np.array(p) < 0.05, axis=0) - 0.05) < 0.035)


def test_a_better_method_is_seen_as_better() -> None:
    rng = np.random.default_rng(2)
    y = rng.normal(size=400)
    a, b = y + 0.5 * rng.normal(size=400), y + rng.normal(size=400)
    got = compare_correlations(a, b, y)
    for difference, measure in ((got.srcc, stats.spearmanr), (got.plcc, stats.pearsonr)):
        assert difference.first == pytest.approx(measure(a, y).statistic, abs=1e-12)
        assert difference.second == pytest.approx(measure(b, y).statistic, abs=1e-12)
        assert difference.difference == difference.first - difference.second
        assert 0 < difference.interval.low < difference.difference < difference.interval.high
        assert difference.p == pytest.approx(2 / 2001)
        assert difference.williams.p < 1e-6
        assert difference.steiger.p < 1e-6
    assert got.count == 400


def test_a_method_does_not_differ_from_itself() -> None:
    rng = np.random.default_rng(2)
    y = rng.normal(size=50)
    a = y + rng.normal(size=50)
    got = compare_correlations(a, 3 * a + 1, y, resamples=100)
    assert got.srcc.difference == 0
    assert got.srcc.p == 1
    assert got.srcc.interval.low == got.srcc.interval.high == 0


def test_pairing_narrows_the_interval_of_similar_methods() -> None:
    rng = np.random.default_rng(4)
    y = rng.normal(size=300)
    a = y + rng.normal(size=300)
    b = a + 0.1 * rng.normal(size=300)
    interval = compare_correlations(a, b, y).srcc.interval
    assert interval.high - interval.low < 0.03


def test_groups_count_in_a_comparison() -> None:
    rng = np.random.default_rng(5)
    photo = np.repeat(np.arange(20), 20)
    y = rng.normal(size=400)
    a = y + 2 * rng.normal(size=20)[photo]
    b = y + 2 * rng.normal(size=20)[photo]
    plain = compare_correlations(a, b, y).srcc.interval
    clustered = compare_correlations(a, b, y, groups=photo).srcc.interval
    assert clustered.high - clustered.low > plain.high - plain.low


def test_a_comparison_needs_resamples() -> None:
    with pytest.raises(SettingError, match="needs resamples"):
        compare_correlations([1, 2, 3, 4], [1, 2, 4, 3], [1, 3, 2, 4], resamples=0)
