"""Monotone maps to a MOS scale, against scikit-learn and the curve itself."""

import json
import math
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from mounting import small_disk
from qdebias.equations import FloatArray
from qdebias.errors import SettingError
from qdebias.metrics.calibration import KINDS, Kind, Origin, calibrate, load_calibration, save_calibration

ORIGIN = Origin(model="nano", method="paper", labels="mine")


def sample(count: int = 200, seed: int = 1) -> tuple[FloatArray, FloatArray]:
    """Scores in 0 to 1 and a MOS of 1 to 5 that grows with them, with noise."""
    rng = np.random.default_rng(seed)
    scores = rng.uniform(0.05, 0.95, count).round(2)
    mos = 1 + 4 / (1 + np.exp(-8 * (scores - 0.5))) + rng.normal(0, 0.3, count)
    return scores, mos


def test_isotonic_is_what_scikit_learn_fits() -> None:
    scores, mos = sample()
    ours = calibrate(scores, mos, origin=ORIGIN)
    theirs = IsotonicRegression(out_of_bounds="clip").fit(scores, mos)
    anywhere = np.linspace(-0.2, 1.2, 777)
    np.testing.assert_allclose(ours(anywhere), theirs.predict(anywhere), atol=1e-9)


def test_where_lower_is_better_the_map_falls() -> None:
    scores, mos = sample()
    ours = calibrate(scores, -mos, origin=ORIGIN, increasing=False)
    theirs = IsotonicRegression(increasing=False, out_of_bounds="clip").fit(scores, -mos)
    anywhere = np.linspace(0, 1, 333)
    np.testing.assert_allclose(ours(anywhere), theirs.predict(anywhere), atol=1e-9)
    falling = calibrate(scores, -mos, origin=ORIGIN, kind="logistic", increasing=False)(anywhere)
    assert (np.diff(falling) <= 0).all()


def test_logistic_finds_the_curve_that_made_the_sample() -> None:
    scores, mos = sample(2000)
    found = calibrate(scores, mos, origin=ORIGIN, kind="logistic")
    anywhere = np.linspace(0.1, 0.9, 50)
    np.testing.assert_allclose(found(anywhere), 1 + 4 / (1 + np.exp(-8 * (anywhere - 0.5))), atol=0.1)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000), kind=st.sampled_from(KINDS))
def test_every_map_is_monotone_and_stays_on_the_scale(seed: int, kind: Kind) -> None:
    scores, mos = sample(60, seed)
    mapped = calibrate(scores, mos, origin=ORIGIN, kind=kind, folds=0)(np.linspace(-1, 2, 500))
    assert (np.diff(mapped) >= 0).all()
    assert mos.min() <= mapped.min()
    assert mapped.max() <= mos.max()


@pytest.mark.parametrize("kind", KINDS)
def test_the_error_is_of_images_that_were_left_out(kind: Kind) -> None:
    scores, mos = sample()
    error = calibrate(scores, mos, origin=ORIGIN, kind=kind, folds=5).error
    assert error is not None
    rng = np.random.default_rng(0)
    mapped = np.empty(len(mos))
    for part in np.array_split(rng.permutation(len(mos)), 5):
        rest = np.setdiff1d(np.arange(len(mos)), part)
        mapped[part] = calibrate(scores[rest], mos[rest], origin=ORIGIN, kind=kind, folds=0)(scores[part])
    assert error.rmse == pytest.approx(np.sqrt(np.mean((mapped - mos) ** 2)))
    assert error.mae == pytest.approx(np.abs(mapped - mos).mean())
    assert error.bias == pytest.approx(np.mean(mapped - mos))
    assert 0.25 < error.rmse < error.constant_rmse
    assert error.srcc > 0.9


def covered(kind: Kind, level: float, seed: int) -> tuple[float, float]:
    """Share of 2,000 new images that the interval of 300 labels covers, and what the calibration says of it."""
    made = calibrate(*sample(300, seed), origin=ORIGIN, kind=kind, level=level)
    scores, mos = sample(2000, seed + 1_000_000)
    assert made.interval is not None
    return float((abs(mos - made(scores)) <= made.interval.half_width).mean()), made.interval.coverage


@pytest.mark.parametrize("level", [0.9, 0.8])
def test_intervals_cover_what_they_say(level: float) -> None:
    real, said = np.array([covered("isotonic", level, seed) for seed in range(200)]).mean(axis=0)
    assert real == pytest.approx(level, abs=0.02)
    assert said == pytest.approx(real, abs=0.02)


def test_intervals_of_the_curve_cover_what_they_say() -> None:
    real, said = np.array([covered("logistic", 0.9, seed) for seed in range(30)]).mean(axis=0)
    assert real == pytest.approx(0.9, abs=0.02)
    assert said == pytest.approx(real, abs=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_a_split_interval_is_of_images_that_the_map_was_not_fitted_on(kind: Kind) -> None:
    scores, mos = sample(100)
    made = calibrate(scores, mos, origin=ORIGIN, kind=kind, split=0.4, level=0.8)
    order = np.random.default_rng(0).permutation(100)
    alone = calibrate(scores[order[40:]], mos[order[40:]], origin=ORIGIN, kind=kind, level=0.8)
    assert (made.count, made(scores).tolist(), made.error) == (60, alone(scores).tolist(), alone.error)
    errors = np.sort(np.abs(made(scores[order[:40]]) - mos[order[:40]]))
    assert made.interval is not None
    assert made.interval.half_width == errors[32]  # the 33rd = ceil(41 * .8)
    assert calibrate(scores, mos, origin=ORIGIN, kind=kind, split=0.4, folds=0).interval is not None


def test_split_intervals_cover_what_they_say() -> None:
    def coverage(seed: int) -> tuple[float, float]:
        made = calibrate(*sample(300, seed), origin=ORIGIN, split=0.5, folds=0)
        scores, mos = sample(2000, seed + 1_000_000)
        assert made.interval is not None
        return float((abs(mos - made(scores)) <= made.interval.half_width).mean()), made.interval.coverage

    real, said = np.array([coverage(seed) for seed in range(200)]).mean(axis=0)
    assert real == pytest.approx(0.9, abs=0.02)
    assert said == pytest.approx(real, abs=0.02)


def test_too_few_or_too_many_set_aside_are_refused() -> None:
    scores, mos = sample(50)
    with pytest.raises(SettingError, match="needs 9 labelled images or more, got 5"):
        calibrate(scores, mos, origin=ORIGIN, split=0.1)
    with pytest.raises(SettingError, match="needs 10 labelled images or more"):
        calibrate(scores, mos, origin=ORIGIN, split=0.9)
    with pytest.raises(SettingError, match="set aside lies between 0 and 1"):
        calibrate(scores, mos, origin=ORIGIN, split=1.0)


def test_errors_with_a_heavy_tail_are_covered_too() -> None:
    """Nothing is assumed about their distribution."""

    def coverage(seed: int) -> float:
        rng = np.random.default_rng(seed)
        scores = rng.uniform(0, 1, 2300)
        mos = 5 * scores + 0.2 * rng.standard_t(2, 2300)
        made = calibrate(scores[:300], mos[:300], origin=ORIGIN)
        assert made.interval is not None
        return float((abs(mos[300:] - made(scores[300:])) <= made.interval.half_width).mean())

    assert np.mean([coverage(seed) for seed in range(100)]) == pytest.approx(0.9, abs=0.02)


def test_the_half_width_is_the_conformal_quantile_of_the_errors() -> None:
    scores, mos = sample(49)
    made = calibrate(scores, mos, origin=ORIGIN, folds=49, level=0.9)
    rest = [np.arange(49) != place for place in range(49)]
    errors = [abs(calibrate(scores[r], mos[r], origin=ORIGIN, folds=0)(scores[~r])[0] - mos[~r][0]) for r in rest]
    assert made.interval is not None
    assert made.interval.half_width == pytest.approx(sorted(errors)[44])  # the 45th = ceil(50 * .9)
    mos_of = made.mos(0.5)
    assert (mos_of.low, mos_of.high) == (mos_of.value - sorted(errors)[44], mos_of.value + sorted(errors)[44])


def test_ten_labels_are_enough_for_ninety_percent_but_not_for_more() -> None:
    scores = np.arange(10) / 10
    made = calibrate(scores, scores, origin=ORIGIN, folds=2, level=0.9)
    assert made.interval is not None
    with pytest.raises(SettingError, match=r"interval of level 0\.99 needs 99 labelled images or more, got 10"):
        calibrate(scores, scores, origin=ORIGIN, folds=2, level=0.99)
    with pytest.raises(SettingError, match="between 0 and 1"):
        calibrate(scores, scores, origin=ORIGIN, folds=2, level=1.0)


def test_a_file_of_an_earlier_version_has_no_interval(tmp_path: Path) -> None:
    save_calibration(calibrate(*sample(), origin=ORIGIN), tmp_path / "map.json")
    values = json.loads((tmp_path / "map.json").read_text())
    del values["interval"]
    (tmp_path / "map.json").write_text(json.dumps(values))
    mos = load_calibration(tmp_path / "map.json").mos(0.5)
    assert (mos.low, mos.high) == (None, None)
    values["interval"] = {"level": 0.9, "half_width": -1, "coverage": 0.9}
    (tmp_path / "map.json").write_text(json.dumps(values))
    with pytest.raises(SettingError, match="is no calibration"):
        load_calibration(tmp_path / "map.json")


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_map_is_the_same_map(kind: Kind, tmp_path: Path) -> None:
    made = calibrate(*sample(), origin=ORIGIN, kind=kind)
    save_calibration(made, tmp_path / "map.json")
    assert load_calibration(tmp_path / "map.json") == made
    values = json.loads((tmp_path / "map.json").read_text())
    assert (values["format"], values["kind"], values["origin"]["model"]) == ("qdebias calibration 2", kind, "nano")


def test_a_correlation_that_is_not_defined_survives_the_file(tmp_path: Path) -> None:
    scores = np.array([0.0] * 19 + [1.0])
    made = calibrate(scores, np.arange(20.0), origin=ORIGIN, folds=2, seed=3)
    save_calibration(made, tmp_path / "map.json")
    again = load_calibration(tmp_path / "map.json")
    assert made.error is not None
    assert again.error is not None
    assert math.isnan(made.error.srcc) == math.isnan(again.error.srcc)


def test_a_map_refuses_the_scores_of_others() -> None:
    made = calibrate(*sample(), origin=ORIGIN, folds=0)
    made.check_origin(model="nano", method="paper")
    with pytest.raises(SettingError, match="of model nano and method paper, not of nano and vanilla"):
        made.check_origin(model="nano", method="vanilla")


def test_scores_that_run_against_the_humans_are_refused() -> None:
    scores, mos = sample()
    with pytest.raises(SettingError, match=r"run against the human ones \(SRCC -0\.9.*lower human scores better\?"):
        calibrate(scores, -mos, origin=ORIGIN)


@pytest.mark.parametrize(
    ("count", "folds", "kind", "message"),
    [
        (9, 2, "isotonic", "needs 10 labelled images or more"),
        (50, 1, "isotonic", "2 to N folds"),
        (50, 51, "isotonic", "51 folds"),
        (50, 5, "cubic", "isotonic or logistic, not 'cubic'"),
    ],
)
def test_impossible_settings_are_refused(count: int, folds: int, kind: Kind, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        calibrate(*sample(count), origin=ORIGIN, folds=folds, kind=kind)


def test_values_that_are_no_numbers_are_refused() -> None:
    scores, mos = sample(50)
    with pytest.raises(SettingError, match="not finite"):
        calibrate(scores, np.where(mos > 3, np.nan, mos), origin=ORIGIN)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "is no calibration"),
        ("{", "is no calibration"),
        ('{"format": "qdebias calibration 1"}', "of another version"),
        ('{"format": "qdebias calibration 2", "kind": "isotonic"}', "is no calibration"),
    ],
)
def test_files_that_are_no_calibration_are_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "map.json").write_text(text)
    with pytest.raises(SettingError, match=message):
        load_calibration(tmp_path / "map.json")


@pytest.mark.parametrize(
    ("name", "value"), [("values", [5, 1]), ("scores", [1, 0]), ("values", [1]), ("kind", "cubic")]
)
def test_a_file_that_was_edited_into_nonsense_is_refused(name: str, value: object, tmp_path: Path) -> None:
    save_calibration(calibrate(*sample(), origin=ORIGIN, folds=0), tmp_path / "map.json")
    values = json.loads((tmp_path / "map.json").read_text()) | {"scores": [0, 1], "values": [1, 5], name: value}
    (tmp_path / "map.json").write_text(json.dumps(values))
    with pytest.raises(SettingError, match="not monotone"):
        load_calibration(tmp_path / "map.json")


def test_files_that_cannot_be_had_are_errors(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="cannot be read"):
        load_calibration(tmp_path / "absent.json")
    with pytest.raises(SettingError, match="cannot be written"):
        save_calibration(calibrate(*sample(), origin=ORIGIN, folds=0), tmp_path / "absent" / "map.json")


def test_a_full_disk_leaves_the_older_calibration_as_it_was(tmp_path: Path) -> None:
    made = calibrate(*sample(), origin=ORIGIN)
    with small_disk(tmp_path / "small", 16):
        path = tmp_path / "small" / "mine.json"
        save_calibration(made, path)
        before = path.read_bytes()
        with suppress(OSError):
            (tmp_path / "small" / "other").write_bytes(b"x" * 20_000)
        with pytest.raises(SettingError, match=r"mine\.json: cannot be written \(No space left on device\)"):
            save_calibration(made, path)
        assert path.read_bytes() == before
        assert {file.name for file in path.parent.iterdir()} == {"mine.json", "other"}
