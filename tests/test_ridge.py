"""Ridge regression, against scikit-learn."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge as TheirRidge

from qdebias.metrics.ridge import STRENGTHS, Ridge, folds_of


def sample(images: int, features: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features of several scales, a target that a few of them make with noise, and images that stand for themselves."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(images, features)) * rng.uniform(0.01, 100, features) + rng.normal(size=features)
    y = (x[:, :5] / x[:, :5].std(axis=0)).sum(axis=1) + rng.normal(size=images)
    return x, y, np.array([str(number) for number in range(images)])


@pytest.mark.parametrize(("images", "features"), [(60, 200), (200, 30)])
def test_predictions_at_every_strength_are_those_of_scikit_learn(images: int, features: int) -> None:
    x, y, _ = sample(images, features)
    standard = (x - x.mean(axis=0)) / x.std(axis=0)
    assert np.abs(standard).max() < 4
    for strength, ours in zip(STRENGTHS, Ridge(blocks=(features,))._every_strength(x, y), strict=True):
        theirs = TheirRidge(alpha=strength).fit(standard / np.sqrt(features), y)
        np.testing.assert_allclose(ours(x), theirs.predict(standard / np.sqrt(features)), rtol=1e-6, atol=1e-6)


def test_what_is_not_penalised_is_a_plain_line_however_strong_the_ridge() -> None:
    x, y, _ = sample(60, 200)
    strongest = Ridge(blocks=(1, 199), free=1)._every_strength(x, y * 1.0)[-1]
    line = np.polyval(np.polyfit(x[:, 0], y, 1), x[:, 0])
    assert np.abs(strongest(x) - line).max() < 0.02 * np.ptp(line)
    standard = (x - x.mean(axis=0)) / x.std(axis=0) / np.sqrt([1, *[199] * 199])
    for strength, ours in zip(STRENGTHS, Ridge(blocks=(1, 199), free=1)._every_strength(x, y), strict=True):
        rest = TheirRidge(alpha=strength, fit_intercept=False)
        first = np.column_stack([np.ones(60), standard[:, 0]])
        leave = np.eye(60) - first @ np.linalg.pinv(first)
        rest.fit(leave @ standard[:, 1:], leave @ y)
        own = np.linalg.pinv(first) @ (y - standard[:, 1:] @ rest.coef_)
        np.testing.assert_allclose(ours(x), first @ own + standard[:, 1:] @ rest.coef_, rtol=1e-6, atol=1e-6)


def test_where_nothing_else_is_known_the_free_feature_alone_is_learned() -> None:
    """With 50 labels and 700 features of noise beside one that tells: no worse than that one."""
    losses = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(1050, 700))
        y = x[:, 0] + rng.normal(size=1050)
        learned = Ridge(blocks=(1, 699), free=1).learn(x[:50], y[:50], np.arange(50).astype(str))
        losses.append(np.corrcoef(x[50:, 0], y[50:])[0, 1] - np.corrcoef(learned(x[50:]), y[50:])[0, 1])
    assert np.mean(losses) < 0.005
    assert np.max(losses) < 0.05


def test_a_small_block_counts_as_much_as_a_large_one() -> None:
    x, y, groups = sample(50, 1)
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(50, 999))
    apart = Ridge(blocks=(1, 999)).left_out(np.hstack([x, noise]), y, groups)
    together = Ridge(blocks=(1000,)).left_out(np.hstack([x, noise]), y, groups)
    assert np.corrcoef(apart, y)[0, 1] > 0.2 + np.corrcoef(together, y)[0, 1]


def test_what_is_predicted_was_not_learned_from() -> None:
    """Labels that are pure chance cannot be predicted; of images that come twice, only if a twin is in another fold."""
    rng = np.random.default_rng(0)
    x, y = np.repeat(rng.normal(size=(60, 300)), 2, axis=0), np.repeat(rng.normal(size=60), 2)
    alone, twins = np.arange(120).astype(str), np.repeat(np.arange(60), 2).astype(str)
    ridge = Ridge(blocks=(300,))
    assert np.corrcoef(ridge.left_out(x, y, alone), y)[0, 1] > 0.6
    assert np.corrcoef(ridge.left_out(x, y, twins), y)[0, 1] < 0.2


def test_folds_leave_out_every_image_once_and_divide_no_group() -> None:
    groups = np.random.default_rng(0).integers(0, 12, 100).astype(str)
    folds = list(folds_of(groups, 5, 0))
    assert sorted(np.concatenate([out for _, out in folds])) == list(range(100))
    for kept, out in folds:
        assert not set(groups[kept]) & set(groups[out])
        assert len(kept) + len(out) == 100


def test_features_that_do_not_vary_and_far_outliers_do_no_harm() -> None:
    x, y, groups = sample(80, 20)
    learned = Ridge(blocks=(22,)).learn(np.hstack([x, np.full((80, 1), 7.0), np.zeros((80, 1))]), y, groups)
    usual = np.hstack([x[:1], [[7.0, 0.0]]])
    np.testing.assert_array_equal(learned.weight[-2:], 0)
    far = usual.copy()
    far[0, 0] = 1e12
    assert abs(learned(far)[0] - learned(usual)[0]) < 8 * np.abs(learned.weight).max()
    assert learned(usual)[0] == learned(usual + np.array([0.0] * 20 + [5.0, 5.0]))[0]
