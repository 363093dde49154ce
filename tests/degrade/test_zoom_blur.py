from dataclasses import replace

import numpy as np
import pytest

from qdebias.cli import bench as reference
from qdebias.degrade import ZoomBlur, imagenet_c
from qdebias.errors import SettingError

UNUSED = np.random.default_rng(0)


def noise_image(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)


def test_the_paper_has_eleven_factors() -> None:
    np.testing.assert_allclose(ZoomBlur().factors, [1 + i / 100 for i in range(11)])


@pytest.mark.parametrize("step", [0.01, 0.02, 0.03, 0.05, 0.07, 0.1])
@pytest.mark.parametrize("steps", [1, 2, 7, 10, 13, 25])
def test_no_factor_is_won_or_lost_to_rounding(step: float, steps: int) -> None:
    assert len(ZoomBlur(largest=1 + steps * step, step=step).factors) == steps + 1
    assert len(ZoomBlur(largest=1 + (steps + 0.5) * step, step=step).factors) == steps + 1


@pytest.mark.parametrize("largest", [1.10, 1.20, 1.30, 2.0, 3.7])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 47), (110, 64), (101, 203)])
def test_copies_are_those_of_scipy(height: int, width: int, largest: float) -> None:
    image, blur = noise_image(height, width), ZoomBlur(largest=largest, step=0.05, black_edges=True)
    want = reference.zoom_blur(image, blur.factors, original_again=False)
    np.testing.assert_allclose(blur(image, UNUSED).astype(int), want, atol=1)


def test_original_again_counts_the_original_twice() -> None:
    image = noise_image(60, 80)
    once, again = (ZoomBlur(original_again=flag)(image, UNUSED).astype(float) for flag in (False, True))
    np.testing.assert_allclose(again, (once * 11 + image) / 12, atol=2)


@pytest.mark.parametrize(("height", "width"), [(36, 139), (36, 50), (285, 40)])
def test_edges_are_black_where_scipy_rounds_to_outside_and_only_if_asked_for(height: int, width: int) -> None:
    white = np.full((height, width, 3), 255, np.uint8)
    black_edges = imagenet_c("zoom_blur", 3)
    got = black_edges(white, UNUSED)
    assert got.min() < 255
    np.testing.assert_array_equal(got, reference.zoom_blur(white, black_edges.factors, original_again=True))
    assert replace(black_edges, black_edges=False)(white, UNUSED).min() == 255


@pytest.mark.parametrize("level", [0, 1, 127, 254, 255])
def test_a_flat_image_stays_as_it_is(level: int) -> None:
    image = np.full((37, 53, 3), level, np.uint8)
    np.testing.assert_array_equal(ZoomBlur()(image, UNUSED), image)


@pytest.mark.parametrize(
    "setting", [{"largest": 1.0}, {"largest": 9.0}, {"step": 0.0}, {"step": 0.2}, {"largest": float("nan")}]
)
def test_impossible_settings_are_refused(setting: dict[str, float]) -> None:
    with pytest.raises(SettingError, match=str(next(iter(setting.values())))):
        ZoomBlur(**setting)
