"""Weights measured on the pixels, and conditions of other content."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from qdebias import presets
from qdebias.backends.fake import FakeBackend
from qdebias.degrade import Fog, Saturate
from qdebias.equations import similarity_weight
from qdebias.errors import SettingError
from qdebias.image import RgbImage, digest, load_image
from qdebias.image.pool import ImagePool
from qdebias.methods.method import Context
from qdebias.methods.presets import PAPER
from qdebias.runs.scorer import Scorer


def mean_distance(first: RgbImage, second: RgbImage) -> float:
    """Stand-in for LPIPS: mean absolute difference over 255."""
    return float(np.abs(first.astype(np.float64) - second).mean() / 255)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six pictures of noise, a.png to f.png."""
    rng = np.random.default_rng(5)
    for name in "abcdef":
        Image.fromarray(rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)).save(tmp_path / f"{name}.png")
    return tmp_path


def pool_of(folder: Path, contents: str, **content_of: str) -> ImagePool:
    paths = tuple(sorted(folder.glob("*.png")))
    known = {digest(load_image(folder / f"{name}.png")): content for name, content in content_of.items()}
    return ImagePool(paths=paths, contents=tuple(contents), content_of=known)


def test_measured_weights_are_the_softmax_of_one_minus_the_distance(photo: RgbImage) -> None:
    method = replace(PAPER, same=None, weigh=similarity_weight, distance=mean_distance)
    scorer = Scorer(backend=FakeBackend(), method=method)
    explanation = scorer.explain(photo)
    alike = [1 - mean_distance(photo, condition.image) for condition in explanation.plan.conditions]
    np.testing.assert_allclose(explanation.plan.similarity, alike, rtol=0, atol=0)
    weight = np.exp(alike) / np.exp(alike).sum()
    np.testing.assert_allclose(explanation.score.weight, weight, rtol=1e-12)
    assert explanation.score.value == pytest.approx(float(weight @ explanation.score.good), abs=1e-12)


def test_measured_weights_ask_nothing_that_the_average_does_not_ask(photo: RgbImage) -> None:
    asked, average = FakeBackend(), FakeBackend()
    Scorer(backend=asked, method=replace(PAPER, same=None, weigh=similarity_weight, distance=mean_distance)).score(
        photo
    )
    Scorer(backend=average, method="average").score(photo)
    assert [request.questions for request in asked.calls[0]] == [request.questions for request in average.calls[0]]


def test_mismatched_conditions_are_degraded_images_of_other_content(folder: Path) -> None:
    query = load_image(folder / "a.png")
    pool = pool_of(folder, "xxyyzz", a="x", b="x")
    plan = presets.get("mismatched").method.plan(query, Context(pool=pool))
    assert [condition.kind for condition in plan.conditions] == ["ZoomBlur", "Spatter", "Saturate", "Fog"]
    others = [load_image(folder / f"{name}.png") for name in "cdef"]
    for request in plan.requests:
        np.testing.assert_array_equal(request.images[1], query)
    saturated = plan.conditions[2].image
    made = [Saturate()(other, np.random.default_rng()) for other in others]
    assert sum(np.array_equal(saturated, candidate) for candidate in made) == 1


def test_mismatched_conditions_depend_on_query_and_seed_alone(folder: Path) -> None:
    pool = pool_of(folder, "abcdef")
    method = replace(PAPER, degradations=(Saturate(), Fog()), mismatched=True)

    def conditions(name: str, seed: int) -> list[str]:
        plan = method.plan(load_image(folder / f"{name}.png"), Context(seed=seed, pool=pool))
        return [digest(condition.image) for condition in plan.conditions]

    assert conditions("a", 0) == conditions("a", 0)
    drawn = {tuple(conditions(name, seed)) for name in "abc" for seed in range(3)}
    assert len(drawn) > 3


def test_a_query_is_never_its_own_condition(folder: Path) -> None:
    pool = pool_of(folder, "abcdef")
    query = digest(load_image(folder / "a.png"))
    for seed in range(5):
        others = pool.draw(query, 5, np.random.default_rng(seed))
        assert len({digest(other) for other in others} - {query}) == 5


def test_unreadable_images_of_the_pool_are_passed_over(folder: Path) -> None:
    (folder / "b.png").write_bytes(b"no image")
    pool = pool_of(folder, "abcdef")
    assert len(pool.draw("00", 5, np.random.default_rng(0))) == 5


def test_too_small_a_pool_is_an_error(folder: Path) -> None:
    pool = pool_of(folder, "xxxxyz", a="x")
    with pytest.raises(SettingError, match=r"the pool of 6 has 2; give a folder"):
        pool.draw(digest(load_image(folder / "a.png")), 4, np.random.default_rng(0))


def test_mismatched_without_a_pool_says_where_to_get_one(photo: RgbImage) -> None:
    with pytest.raises(SettingError, match="need a pool of other images"):
        Scorer(backend=FakeBackend(), method="mismatched").score(photo)


def test_the_scorer_hands_the_pool_to_the_method(folder: Path) -> None:
    pool = pool_of(folder, "abcdef")
    score = Scorer(backend=FakeBackend(), method="mismatched", pool=pool).score(folder / "a.png")
    assert len(score.good) == len(score.same) == 4


def test_a_pool_needs_one_content_an_image() -> None:
    with pytest.raises(SettingError, match="1 images and 2 contents"):
        ImagePool(paths=(Path("a.png"),), contents=("x", "y"))


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("spatter-saturate", ["Spatter", "Saturate"]),
        ("spatter-fog-saturate", ["Spatter", "Fog", "Saturate"]),
    ],
)
def test_pairs_and_triples_ask_a_part_of_what_the_paper_asks(name: str, kinds: list[str], photo: RgbImage) -> None:
    whole, part = FakeBackend(), FakeBackend()
    Scorer(backend=whole).score(photo)
    explanation = Scorer(backend=part, method=name).explain(photo)
    assert [condition.kind for condition in explanation.plan.conditions] == kinds
    asked = {(digest(request.images[0]), request.questions) for request in whole.calls[0]}
    assert {(digest(request.images[0]), request.questions) for request in part.calls[0]} < asked
