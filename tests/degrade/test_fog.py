import numpy as np
import pytest

from qdebias.cli import bench as reference
from qdebias.degrade import Fog, fog
from qdebias.degrade.fog import plasma
from qdebias.errors import ImageError, SettingError


@pytest.mark.parametrize("decay", [1.0, 1.4, 2.0])
@pytest.mark.parametrize("side", [32, 64, 256])
def test_plasma_is_the_reference_field(side: int, decay: float) -> None:
    got = plasma((side, side), decay, np.random.RandomState(3))
    np.testing.assert_allclose(got, reference.plasma(side, decay, np.random.RandomState(3)), atol=2e-6)


def test_plasma_spans_zero_to_one() -> None:
    field = plasma((128, 128), 1.5, np.random.default_rng(3))
    assert (field.min(), field.max()) == (0, 1)


def test_a_smaller_image_gets_a_corner_of_the_same_fog() -> None:
    large, small = (plasma(shape, 1.5, np.random.default_rng(3)) for shape in ((128, 100), (70, 90)))
    np.testing.assert_array_equal(small, large[:70, :90])


@pytest.mark.parametrize("shape", [(40, 300), (300, 40), (256, 256), (257, 33)])
def test_stripes_change_nothing(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    want = plasma(shape, 1.5, np.random.default_rng(3))
    monkeypatch.setattr(fog, "_STRIPE", 64)
    np.testing.assert_array_equal(plasma(shape, 1.5, np.random.default_rng(3)), want)


def test_image_too_long_for_memory_is_refused() -> None:
    long = np.zeros((32, 32769, 3), np.uint8)
    with pytest.raises(ImageError, match=r"fog on 32769 x 32 would need .* 32768 is the longest side, .* max_side"):
        Fog()(long, np.random.default_rng(0))


def test_fog_is_eq_7() -> None:
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    want = reference.fog(image, np.random.RandomState(1), 2.5, 1.5, rescale=False)
    got = Fog(rescale=False)(image, np.random.RandomState(1))
    np.testing.assert_allclose(got.astype(int), want, atol=1)


def test_fog_of_no_density_changes_nothing() -> None:
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    for rescale in (False, True):
        np.testing.assert_array_equal(Fog(density=0, rescale=rescale)(image, np.random.default_rng(0)), image)


def test_rescaled_fog_of_a_black_image_is_black() -> None:
    black = np.zeros((40, 40, 3), np.uint8)
    assert not Fog()(black, np.random.default_rng(0)).any()
    assert Fog(rescale=False)(black, np.random.default_rng(0)).any()


def test_fog_only_brightens_and_rescaled_fog_never_outshines_the_image() -> None:
    image = np.random.default_rng(0).integers(0, 201, (50, 70, 3), np.uint8)
    assert (Fog(rescale=False)(image, np.random.default_rng(0)) >= image).all()
    assert Fog()(image, np.random.default_rng(0)).max() <= image.max()


@pytest.mark.parametrize("setting", [{"density": -1.0}, {"decay": 0.5}, {"decay": float("nan")}])
def test_impossible_settings_are_refused(setting: dict[str, float]) -> None:
    with pytest.raises(SettingError, match=str(next(iter(setting.values())))):
        Fog(**setting)
