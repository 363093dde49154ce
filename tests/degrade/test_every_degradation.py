"""What every degradation keeps to, whatever the image."""

import pickle

import numpy as np
import pytest

from qdebias.degrade import Degradation, Fog, Mud, Saturate, Spatter, ZoomBlur, imagenet_c
from qdebias.degrade.imagenet_c import SEVERITIES
from qdebias.errors import ImageError

DEGRADATIONS = [ZoomBlur(), Spatter(), Spatter(liquid=Mud()), Saturate(), Fog(), Fog(rescale=False)]
DEGRADATIONS += [imagenet_c(kind, 5) for kind in SEVERITIES]


def photo(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (height, width, 3), np.uint8)


IMAGES = {
    "smallest": photo(32, 32),
    "odd": photo(33, 61),
    "tall": photo(257, 32),
    "wide": photo(35, 300),
    "black": np.zeros((48, 64, 3), np.uint8),
    "white": np.full((48, 64, 3), 255, np.uint8),
    "flat": np.full((48, 64, 3), (200, 30, 90), np.uint8),
    "mirrored": photo(40, 50)[:, ::-1],
    "every other pixel": photo(80, 100)[::2, ::2],
    "planar": np.ascontiguousarray(photo(40, 50).transpose(2, 0, 1)).transpose(1, 2, 0),
}

every_degradation = pytest.mark.parametrize("degrade", DEGRADATIONS, ids=str)


@every_degradation
@pytest.mark.parametrize("name", IMAGES)
def test_output_is_an_image_of_the_same_shape_and_the_input_stays(name: str, degrade: Degradation) -> None:
    image = IMAGES[name]
    before = image.copy()
    image.flags.writeable = False
    got = degrade(image, np.random.default_rng(0))
    assert (got.dtype, got.shape) == (np.uint8, image.shape)
    assert got.flags.c_contiguous
    assert got.flags.writeable
    assert not np.shares_memory(got, image)
    np.testing.assert_array_equal(image, before)


@every_degradation
def test_memory_layout_changes_no_pixel(degrade: Degradation) -> None:
    for image in IMAGES.values():
        got = degrade(image, np.random.default_rng(0))
        np.testing.assert_array_equal(got, degrade(image.copy(order="C"), np.random.default_rng(0)))


@every_degradation
def test_equal_noise_gives_equal_images_also_after_pickling(degrade: Degradation) -> None:
    again = pickle.loads(pickle.dumps(degrade))  # noqa: S301
    assert again == degrade
    image = IMAGES["odd"]
    want = degrade(image, np.random.default_rng(4))
    np.testing.assert_array_equal(again(image, np.random.default_rng(4)), want)


@every_degradation
def test_a_photo_does_change(degrade: Degradation) -> None:
    image = photo(64, 64)
    assert (degrade(image, np.random.default_rng(0)) != image).mean() > 0.01


@every_degradation
@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.zeros((31, 40, 3), np.uint8), "40x31"),
        (np.zeros((40, 40), np.uint8), r"\(40, 40\)"),
        (np.zeros((40, 40, 4), np.uint8), r"\(40, 40, 4\)"),
        (np.zeros((40, 40, 3), np.float32), "float32"),
    ],
)
def test_what_is_no_image_is_refused(degrade: Degradation, image: np.ndarray, said: str) -> None:
    with pytest.raises(ImageError, match=said):
        degrade(image, np.random.default_rng(0))
