import numpy as np
import pytest
from skimage.filters import gaussian

from qdebias.cli import bench as reference
from qdebias.degrade import Mud, Spatter, Water
from qdebias.errors import SettingError


def plain_mud(image: np.ndarray, rng: np.random.RandomState, noise: tuple[float, float], softness: float) -> np.ndarray:
    """Return the image behind splashes of mud, written plainly; `noise` is its mean and deviation."""
    x = image.astype(np.float32) / 255
    liquid = gaussian(rng.normal(*noise, x.shape[:2]), 1)
    mask = gaussian((liquid > 0.65).astype(np.float32), softness)[..., None]
    mask[mask < 0.8] = 0
    return reference.as_bytes(x * (1 - mask) + np.array([63, 42, 20]) / 255 * mask)


def image_of(height: int, width: int, most: int = 255) -> np.ndarray:
    return np.random.default_rng(1).integers(0, most + 1, (height, width, 3), np.uint8)


@pytest.mark.parametrize("blur", [2.0, 3.0, 4.0])
@pytest.mark.parametrize(("height", "width"), [(64, 64), (65, 131)])
def test_water_is_that_of_imagenet_c(height: int, width: int, blur: float) -> None:
    image = image_of(height, width)
    got = Spatter(blur=blur, liquid=Water(strength=0.6))(image, np.random.RandomState(2))
    want = reference.water(image, np.random.RandomState(2), (0.65, 0.3), blur, 0.68, strength=0.6)
    assert (np.abs(got.astype(int) - want) > 1).mean() <= 0.001


@pytest.mark.parametrize(("mean", "deviation"), [(0.65, 0.3), (0.67, 0.4)])
@pytest.mark.parametrize(("height", "width"), [(64, 64), (65, 131)])
def test_mud_is_that_of_imagenet_c(height: int, width: int, mean: float, deviation: float) -> None:
    image = image_of(height, width)
    spatter = Spatter(mean=mean, deviation=deviation, blur=1, threshold=0.65, liquid=Mud(softness=1.5))
    got = spatter(image, np.random.RandomState(2))
    want = plain_mud(image, np.random.RandomState(2), (mean, deviation), softness=1.5)
    assert (np.abs(got.astype(int) - want) > 1).mean() <= 0.001


def test_water_only_brightens_and_leaves_dry_pixels_alone() -> None:
    image = image_of(100, 100, most=100)
    got = Spatter()(image, np.random.default_rng(0))
    assert (got >= image).all()
    assert 0.3 < (got == image).all(axis=-1).mean() < 0.95


def test_mud_pulls_pixels_to_its_colour_and_leaves_clean_ones_alone() -> None:
    image = image_of(100, 100)
    got = Spatter(blur=1, threshold=0.65, liquid=Mud())(image, np.random.default_rng(0)).astype(float)
    dirty = (got != image).any(axis=-1)
    assert 0.05 < dirty.mean() < 0.7
    # a mask of 0.8 or more leaves a fifth of the distance to the colour of mud, and truncation takes one level
    left = np.abs(got - Mud.colour)[dirty]
    np.testing.assert_array_less(left, 0.2 * np.abs(image - np.array(Mud.colour, float))[dirty] + 1.01)


@pytest.mark.parametrize("liquid", [Water(), Mud()])
def test_an_image_that_no_drop_hits_is_unchanged(liquid: Water | Mud) -> None:
    image = image_of(32, 32)
    got = Spatter(threshold=1, liquid=liquid)(image, np.random.default_rng(0))
    np.testing.assert_array_equal(got, image)


@pytest.mark.parametrize("setting", [{"mean": -1.0}, {"deviation": 2.0}, {"blur": 0.0}, {"threshold": float("nan")}])
def test_impossible_settings_are_refused(setting: dict[str, float]) -> None:
    with pytest.raises(SettingError, match=str(next(iter(setting.values())))):
        Spatter(**setting)


def test_impossible_liquids_are_refused() -> None:
    with pytest.raises(SettingError, match="strength"):
        Water(strength=1.5)
    with pytest.raises(SettingError, match="softness"):
        Mud(softness=0)
