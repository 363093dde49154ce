from functools import partial

import numpy as np
import pytest

from qdebias.degrade import Fog, Rng, Spatter, kind_of, noise_rng
from qdebias.errors import SettingError
from qdebias.image import RgbImage, digest

DIGEST = digest(np.zeros((32, 32, 3), np.uint8))


def mosaic(image: RgbImage, rng: Rng) -> RgbImage:  # noqa: ARG001
    return image


def test_equal_arguments_give_equal_noise() -> None:
    first, second = noise_rng(7, DIGEST, "Fog"), noise_rng(7, DIGEST, "Fog")
    np.testing.assert_array_equal(first.normal(size=9), second.normal(size=9))


def test_seed_image_and_kind_each_change_the_noise() -> None:
    other = digest(np.ones((32, 32, 3), np.uint8))
    keys = [(7, DIGEST, "Fog"), (8, DIGEST, "Fog"), (7, other, "Fog"), (7, DIGEST, "Spatter")]
    assert len({noise_rng(*key).integers(2**63) for key in keys}) == 4


def test_the_noise_of_a_key_never_changes_from_release_to_release() -> None:
    assert noise_rng(0, "00ff", "Fog").integers(2**32, size=2).tolist() == [3785463876, 2472467130]


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(SettingError, match="-1"):
        noise_rng(-1, DIGEST, "Fog")


def test_the_kind_is_the_name_of_the_class_or_of_the_function() -> None:
    assert [kind_of(Fog()), kind_of(Spatter()), kind_of(mosaic)] == ["Fog", "Spatter", "mosaic"]


def test_parameters_do_not_change_the_kind() -> None:
    assert kind_of(Fog(density=1)) == kind_of(Fog(density=2))
    assert kind_of(partial(mosaic)) == "partial"
