import numpy as np
import pytest

from qdebias.cli import bench as reference
from qdebias.degrade import Saturate
from qdebias.errors import SettingError

UNUSED = np.random.default_rng(0)
LEVELS = np.r_[0:256:9, 1, 127, 128, 254, 255].astype(np.uint8)
EVERY_COLOUR = np.stack(np.meshgrid(LEVELS, LEVELS, LEVELS), axis=-1).reshape(len(LEVELS), -1, 3)


@pytest.mark.parametrize(("gain", "offset"), [(0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2), (1, -0.3), (0, 1)])
def test_colours_are_those_of_scikit_image(gain: float, offset: float) -> None:
    got = Saturate(gain=gain, offset=offset)(EVERY_COLOUR, UNUSED)
    np.testing.assert_allclose(got.astype(int), reference.saturate(EVERY_COLOUR, gain, offset), atol=1)


def test_a_gain_of_one_changes_nothing() -> None:
    np.testing.assert_array_equal(Saturate(gain=1)(EVERY_COLOUR, UNUSED), EVERY_COLOUR)


def test_a_gain_of_zero_leaves_the_value_alone() -> None:
    value = EVERY_COLOUR.max(axis=-1, keepdims=True).repeat(3, axis=-1)
    np.testing.assert_array_equal(Saturate(gain=0)(EVERY_COLOUR, UNUSED), value)


@pytest.mark.parametrize("gain", [0.5, 2, 20])
def test_the_value_never_changes(gain: float) -> None:
    got = Saturate(gain=gain)(EVERY_COLOUR, UNUSED)
    np.testing.assert_array_equal(got.max(axis=-1), EVERY_COLOUR.max(axis=-1))


def test_grey_stays_grey() -> None:
    grey = LEVELS[:, None, None].repeat(40, axis=1).repeat(3, axis=2)
    np.testing.assert_array_equal(Saturate(gain=20)(grey, UNUSED), grey)


@pytest.mark.parametrize("setting", [{"gain": -1.0}, {"gain": float("inf")}, {"offset": 1.5}])
def test_impossible_settings_are_refused(setting: dict[str, float]) -> None:
    with pytest.raises(SettingError, match=str(next(iter(setting.values())))):
        Saturate(**setting)
