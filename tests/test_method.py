"""Plans and combinations, against the equations written out."""

from dataclasses import replace

import numpy as np
import pytest

from qdebias import presets
from qdebias.degrade import Fog, Rng, Saturate, Spatter, ZoomBlur
from qdebias.equations import FloatArray, equal_weight
from qdebias.errors import SettingError
from qdebias.image import RgbImage
from qdebias.methods.method import Context, QDebias, Vanilla
from qdebias.methods.presets import CONDITIONAL, PAPER, SAME_OBJECT, VANILLA

CONTEXT = Context(seed=3)


def answers_of(good: FloatArray, same: FloatArray) -> list[list[FloatArray]]:
    """Logits whose softmax has the given P(good) and P(yes)."""
    return [[np.log([g, 1 - g]), np.log([s, 1 - s])] for g, s in zip(good, same, strict=True)]


def test_vanilla_asks_one_question_about_one_image(photo: RgbImage) -> None:
    plan = Vanilla(question=VANILLA).plan(photo, CONTEXT)
    (request,) = plan.requests
    assert request.questions == (VANILLA,)
    assert request.images == (photo,)
    assert plan.conditions == ()


def test_vanilla_reads_equation_1(photo: RgbImage) -> None:
    method = Vanilla(question=VANILLA)
    score = method.combine(method.plan(photo, CONTEXT), [[np.array([2.0, 0.5])]])
    assert score.value == pytest.approx(np.exp(2.0) / (np.exp(2.0) + np.exp(0.5)), abs=1e-15)
    np.testing.assert_array_equal(score.weight, [1.0])
    assert score.same.shape == (0,)


def test_qdebias_shows_each_degraded_copy_before_the_query(photo: RgbImage) -> None:
    plan = PAPER.plan(photo, CONTEXT)
    assert [condition.kind for condition in plan.conditions] == ["ZoomBlur", "Spatter", "Saturate", "Fog"]
    for request, condition in zip(plan.requests, plan.conditions, strict=True):
        degraded, query = request.images
        assert degraded is condition.image
        assert query is photo
        assert not np.array_equal(degraded, query)
        assert request.questions == (CONDITIONAL, SAME_OBJECT)
        assert request.placement == "before"


def test_the_query_can_be_shown_first(photo: RgbImage) -> None:
    method, paper = presets.get("query-first").method, PAPER.plan(photo, CONTEXT)
    plan = method.plan(photo, CONTEXT)
    assert all(request.images[0] is photo for request in plan.requests)
    for request, usual in zip(plan.requests, paper.requests, strict=True):
        np.testing.assert_array_equal(request.images[1], usual.images[0])
    answers = answers_of(np.array([0.9, 0.2, 0.6, 0.4]), np.array([0.8, 0.5, 0.9, 0.1]))
    assert method.combine(plan, answers).value == PAPER.combine(paper, answers).value


def test_qdebias_combines_by_equations_8_to_11(photo: RgbImage) -> None:
    good, same = np.array([0.9, 0.2, 0.6, 0.4]), np.array([0.8, 0.5, 0.9, 0.1])
    score = PAPER.combine(PAPER.plan(photo, CONTEXT), answers_of(good, same))
    weight = np.exp(same) / np.exp(same).sum()
    np.testing.assert_allclose(score.good, good, atol=1e-12)
    np.testing.assert_allclose(score.same, same, atol=1e-12)
    np.testing.assert_allclose(score.weight, weight, atol=1e-12)
    assert score.value == pytest.approx(sum(good * weight), abs=1e-12)


def test_without_the_same_object_question_the_weights_need_no_model(photo: RgbImage) -> None:
    method = replace(PAPER, same=None, weigh=equal_weight)
    plan = method.plan(photo, CONTEXT)
    assert all(len(request.questions) == 1 for request in plan.requests)
    score = method.combine(plan, [[np.log([g, 1 - g])] for g in (0.9, 0.2, 0.6, 0.4)])
    assert score.value == pytest.approx(0.525)
    assert score.same.shape == (0,)


def test_the_degraded_pixels_depend_on_image_and_seed_alone(photo: RgbImage) -> None:
    def pixels(method: QDebias, seed: int) -> dict[str, RgbImage]:
        return {c.kind: c.image for c in method.plan(photo, Context(seed=seed)).conditions}

    everything = pixels(PAPER, 0)
    for degradation in (Fog(), Spatter(), ZoomBlur(), Saturate()):
        for kind, image in pixels(replace(PAPER, degradations=(degradation,)), 0).items():
            np.testing.assert_array_equal(image, everything[kind])
    assert not np.array_equal(pixels(PAPER, 1)["Fog"], everything["Fog"])


def test_any_function_is_a_degradation(photo: RgbImage) -> None:
    def mosaic(image: RgbImage, rng: Rng) -> RgbImage:  # noqa: ARG001
        return image[::8, ::8].repeat(8, axis=0).repeat(8, axis=1)[: image.shape[0], : image.shape[1]]

    (condition,) = replace(PAPER, degradations=(mosaic,)).plan(photo, CONTEXT).conditions
    assert condition.kind == "mosaic"
    assert condition.image.shape == photo.shape


def test_impossible_settings_are_refused() -> None:
    for temperature in (0, -1, 1e-101, 1e101, np.inf, np.nan):
        with pytest.raises(SettingError, match="temperature must be from 1e-100 to 1e100, got"):
            Vanilla(question=VANILLA, temperature=temperature)
    with pytest.raises(SettingError, match="the number of seeds is 1 or more, got 0"):
        QDebias(quality=CONDITIONAL, seeds=0)
