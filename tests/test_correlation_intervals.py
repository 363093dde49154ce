"""Bootstrap intervals, beside the slow way: draw, rank and correlate each resample with SciPy."""

import numpy as np
import pytest
from scipy import stats

from qdebias.errors import SettingError
from qdebias.metrics.intervals import Resampling, kendall, pearson, resample, root_mean_square, spearman
from qdebias.metrics.measures import Columns, correlate, correlate_within


def tied_scores(count: int = 80, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    predicted = np.round(rng.normal(size=count), 1)
    return predicted, np.round(2 * predicted + rng.normal(size=count))


def expanded(resampling: Resampling, count: int) -> list[np.ndarray]:
    """Return the row numbers of each resample, written out."""
    rows = np.arange(count)
    return [np.repeat(rows, draw.astype(int)) for draws in resampling.draws(count) for draw in draws]


@pytest.mark.parametrize("groups", [None, np.arange(80) // 8], ids=["images", "groups"])
def test_resampled_values_are_those_of_scipy_on_the_same_rows(groups: np.ndarray | None) -> None:
    x, y = tied_scores()
    resampling = Resampling(count=60, seed=1, level=0.95, groups=groups)
    got = resample(
        {"s": spearman(x, y), "p": pearson(x, y), "k": kendall(x, y), "r": root_mean_square(x - y)}, resampling, 80
    )
    rows = expanded(resampling, 80)
    np.testing.assert_allclose(got["s"], [stats.spearmanr(x[i], y[i]).statistic for i in rows], atol=1e-12)
    np.testing.assert_allclose(got["p"], [stats.pearsonr(x[i], y[i]).statistic for i in rows], atol=1e-12)
    np.testing.assert_allclose(got["k"], [stats.kendalltau(x[i], y[i]).statistic for i in rows], atol=1e-12)
    np.testing.assert_allclose(got["r"], [np.sqrt(np.mean((x[i] - y[i]) ** 2)) for i in rows], atol=1e-12)


def test_an_outlier_does_not_cost_precision() -> None:
    x, y = tied_scores()
    x = np.r_[x, 1e7]
    y = np.r_[y, 1.0]
    resampling = Resampling(count=60, seed=1, level=0.95)
    want = [stats.pearsonr(x[i], y[i]).statistic for i in expanded(resampling, 81)]
    np.testing.assert_allclose(resample({"p": pearson(x, y)}, resampling, 81)["p"], want, atol=1e-12)


def test_groups_are_drawn_as_wholes() -> None:
    groups = np.array(["b", "a", "b", "c", "a", "b"])
    for draws in Resampling(count=50, seed=0, level=0.95, groups=groups).draws(6):
        for name in "abc":
            members = draws[:, groups == name]
            assert np.all(members == members[:, :1])
        assert np.all(draws[:, 0] + draws[:, 1] + draws[:, 3] == 3)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    x, y = tied_scores()
    first, again, other = (correlate(x, y, resamples=200, seed=seed).srcc_interval for seed in (5, 5, 6))
    assert first == again
    assert first != other


def test_the_block_size_changes_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = tied_scores()
    whole = correlate(x, y, resamples=200)
    monkeypatch.setattr("qdebias.metrics.intervals._CELLS", 80 * 7)
    assert correlate(x, y, resamples=200).krcc_interval == whole.krcc_interval
    assert correlate(x, y, resamples=200).srcc_interval == whole.srcc_interval


def test_an_interval_agrees_with_scipys_bootstrap() -> None:
    x, y = tied_scores(300)
    got = correlate(x, y, resamples=4000).plcc_interval
    want = stats.bootstrap(
        (x, y),
        lambda a, b, axis: stats.pearsonr(a, b, axis=axis).statistic,
        paired=True,
        n_resamples=4000,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    assert got is not None
    assert (got.low, got.high) == pytest.approx((want.low, want.high), abs=0.004)


def test_clustered_images_have_a_wider_interval() -> None:
    rng = np.random.default_rng(0)
    photo = np.repeat(np.arange(40), 25)
    x = rng.normal(size=40)[photo] + 0.1 * rng.normal(size=1000)
    y = x + rng.normal(size=40)[photo]
    plain, clustered = correlate(x, y).srcc_interval, correlate(x, y, groups=photo).srcc_interval
    assert plain is not None
    assert clustered is not None
    assert clustered.high - clustered.low > 3 * (plain.high - plain.low)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(7)
    hits = 0
    for seed in range(300):
        x = rng.normal(size=100)
        resampling = Resampling(count=300, seed=seed, level=0.95)
        values = resample({"p": pearson(x, 0.6 * x + 0.8 * rng.normal(size=100))}, resampling, 100)["p"]
        interval = resampling.interval(values)
        hits += interval.low <= 0.6 <= interval.high
    assert 0.9 <= hits / 300 <= 0.98


def test_resamples_without_a_correlation_are_counted() -> None:
    interval = correlate([1, 2, 3], [1, 3, 2], resamples=500).plcc_interval
    assert interval is not None
    assert interval.undefined == pytest.approx(500 / 9, abs=25)
    assert -1 <= interval.low <= interval.high <= 1


def test_no_resamples_no_intervals() -> None:
    x, y = tied_scores()
    got = correlate(x, y, resamples=0)
    assert got.srcc_interval is None
    assert got.rmse_interval is None


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"resamples": -1}, "resamples"),
        ({"level": 95.0}, "level"),
        ({"groups": [1, 2]}, "one group for each of the 80 images"),
        ({"groups": ["same"] * 80}, "at least two groups"),
    ],
)
def test_impossible_settings_are_refused(setting: dict, message: str) -> None:
    x, y = tied_scores()
    with pytest.raises(SettingError, match=message):
        correlate(x, y, **setting)


def test_the_mean_over_parts_does_not_see_that_the_parts_differ() -> None:
    rng = np.random.default_rng(0)
    level = np.repeat([0.0, 100.0], 60)
    predicted, mos = level + rng.normal(size=120), level + rng.normal(size=120)
    parts = [
        Columns(predicted=predicted[one], mos=mos[one], ranked_by=predicted[one])
        for one in (slice(0, 60), slice(60, 120))
    ]
    mean = correlate_within(parts, resamples=500)
    assert correlate(predicted, mos, resamples=0).srcc > 0.7
    assert mean.srcc_interval is not None
    assert mean.srcc_interval.low < 0 < mean.srcc_interval.high
    singles = [correlate(part.predicted, part.mos, resamples=500).srcc_interval for part in parts]
    widths = [one.high - one.low for one in singles if one is not None]
    assert mean.srcc_interval.high - mean.srcc_interval.low == pytest.approx(np.hypot(*widths) / 2, rel=0.15)
