"""Several seeds of the noise: the mean of the scores, and how far they lie apart."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import qdebias
from qdebias import presets
from qdebias.backends.fake import FakeBackend
from qdebias.degrade import Fog, Rng, Saturate, Spatter, ZoomBlur, draws_noise
from qdebias.image import RgbImage
from qdebias.methods.method import Context, QDebias
from test_cli import run


def test_the_degradations_that_draw_noise_are_known() -> None:
    assert [draws_noise(one) for one in (ZoomBlur(), Spatter(), Saturate(), Fog())] == [False, True, False, True]


@dataclass
class Grain:
    """A degradation of one's own, which cannot be a key."""

    def __call__(self, image: RgbImage, rng: Rng) -> RgbImage:
        return np.asarray(np.clip(image + rng.normal(size=image.shape), 0, 255), dtype=np.uint8)


def test_a_degradation_of_ones_own_may_draw_noise_too(photo: RgbImage) -> None:
    method = QDebias(quality=presets.CONDITIONAL, degradations=(Grain(), ZoomBlur()), seeds=2)
    plan = method.plan(photo, Context(seed=3))
    assert [condition.kind for condition in plan.conditions] == ["Grain", "Grain", "ZoomBlur"]
    assert not np.array_equal(plan.conditions[0].image, plan.conditions[1].image)


@pytest.mark.parametrize("text", ["paper", "paper+winner", "paper+median", "paper+levels5+logodds", "average"])
def test_it_is_the_mean_over_the_seeds(text: str, photo: RgbImage) -> None:
    alone = [
        qdebias.Scorer(backend=FakeBackend(), method=presets.get(text).method, seed=seed).score(photo)
        for seed in (5, 6, 7)
    ]
    together = qdebias.Scorer(backend=FakeBackend(), method=f"{text}+seeds3", seed=5).score(photo)
    values = [score.value for score in alone]
    assert together.value == pytest.approx(np.mean(values))
    assert together.spread == pytest.approx(np.std(values, ddof=1))
    assert (together.spread > 0) == (len(set(values)) > 1)
    assert together.weight.sum() == pytest.approx(1)
    assert together.log_odds == pytest.approx(np.log(together.value / (1 - together.value)))
    assert len(together.good) == len(together.weight) == len(together.logits) == 8


def test_a_method_with_one_seed_has_no_spread(photo: RgbImage) -> None:
    assert qdebias.Scorer(backend=FakeBackend()).score(photo).spread is None


def test_what_draws_no_noise_is_asked_once(photo: RgbImage) -> None:
    backend = FakeBackend()
    qdebias.Scorer(backend=backend, method="paper+seeds4").score(photo)
    assert len(backend.calls[0]) == 4 + 4 + 1 + 1


def test_the_spread_reaches_every_output(tmp_path: Path) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    arguments = ("score", tmp_path / "a.png", "--model", "fake", "--method", "qdebias+seeds3")
    got = run(*arguments, "--json", "--out", tmp_path / "scores.csv")
    assert got.returncode == 0, got.stderr
    row = json.loads(got.stdout)
    assert row["method"] == "paper+seeds3"
    assert row["spread"] > 0
    assert f"{row['spread']}" in (tmp_path / "scores.csv").read_text()
    assert run(*arguments).stdout.split("\t")[:2] == [f"{row['score']:.4f}", f"±{row['spread']:.4f}"]
    stored = run(*arguments, "--json", "--run", tmp_path / "run")
    assert json.loads(stored.stdout) == row
    exported = run("export", tmp_path / "run", "--json", "--method", "paper+seeds3")
    assert json.loads(exported.stdout)["spread"] == row["spread"]
