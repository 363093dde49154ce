"""Rules of the training data, and that an interrupted training goes on as if it had not been."""

import csv
import importlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from qdebias import presets
from qdebias.backends.nano.statistics import SIZE
from qdebias.methods.method import QDebias

TRAINING = Path(__file__).resolve().parent.parent / "training"
METHODS_OWN = ("zoom_blur", "spatter", "saturate", "fog")
BASES = 6
KINDS = ("pristine", "jpeg", "mixed", *METHODS_OWN)


@dataclass(frozen=True)
class Training:
    """The training scripts, which are no package."""

    dialogues: ModuleType
    distortions: ModuleType
    generate: ModuleType
    perceive: ModuleType
    sampler: ModuleType
    targets: ModuleType
    train: ModuleType
    checkpoint: ModuleType


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> Iterator[Training]:
    monkeypatch.syspath_prepend(str(TRAINING))
    before = set(sys.modules)
    yield Training(**{name: importlib.import_module(name) for name in Training.__dataclass_fields__})
    for name in set(sys.modules) - before:
        if str(TRAINING) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def images(training: Training) -> Any:
    """A set of random measurements: of each base, every kind once and a worse copy of two of them."""
    rng = np.random.default_rng(0)
    kinds = [*KINDS, "jpeg", "fog"]
    parents = [-1] * len(KINDS) + [0, 1]
    count = BASES * len(kinds)
    first = np.repeat(np.arange(BASES) * len(kinds), len(kinds))
    parent = np.tile(parents, BASES)
    return training.generate.Set(
        measured=torch.from_numpy(rng.normal(size=(count, SIZE)).astype(np.float32)),
        patterns=torch.from_numpy(rng.normal(size=(count, 32, 32)).astype(np.float32)),
        strengths=rng.uniform(0, 2, (count, len(training.targets.KINDS))),
        photo=np.repeat(np.arange(BASES), len(kinds)),
        base=np.repeat(np.arange(BASES), len(kinds)),
        parent=np.where(parent >= 0, parent + first, -1),
        kind=np.tile(kinds, BASES),
        nature=np.repeat(rng.random(BASES), len(kinds)),
    )


def sampler(training: Training, *, bias: float = 0.4) -> Any:
    others = np.array([[other for other in range(BASES) if other != photo] for photo in range(BASES)])
    table = images(training)
    return training.sampler.Sampler(table, np.random.default_rng(0).normal(size=len(table.kind)), others, bias)


def asked() -> set[str]:
    """Every question of every preset."""
    texts = set()
    for recipe in (presets.get(name) for name in presets.RECIPES):
        method = recipe.method
        assert isinstance(method, QDebias)
        texts.update(question.text for question in method.questions)
    return texts


def test_no_preset_question_is_ever_drawn(training: Training) -> None:
    dialogues = training.dialogues
    assert asked() <= set(dialogues.EVALUATION)
    rng = np.random.default_rng(0)
    makers = [
        *((dialogues.rating, which) for which in ("only", "first", "second")),
        *((dialogues.levels, "only"), (dialogues.neutral, "second"), (dialogues.agreement, "only")),
        *((dialogues.conditional, "poor"), (dialogues.comparison,), (dialogues.same,)),
    ]
    drawn = [dialogues.draw(make, rng, *settings) for _ in range(2000) for make, *settings in makers]
    assert not {wording.question for wording in drawn} & asked()
    assert all(wording.prefix.strip() != "The quality of the image is" for wording in drawn)


@pytest.mark.parametrize("task", ["rating", "levels", "neutral", "agreement", "comparison"])
def test_the_methods_own_kinds_are_never_rated(training: Training, task: str) -> None:
    draws, rng = sampler(training), np.random.default_rng(0)
    kind = draws.images.kind
    told = [draws.draw(rng, {task: 1.0}) for _ in range(500)]
    compared = task == "comparison"
    rated = [row for one in told for row in (one.images if compared or len(one.images) == 1 else ())]
    assert len(rated) > 300
    assert not {*METHODS_OWN} & {*kind[rated]}


def test_every_kind_of_question_shows_one_or_two_images_and_all_shares_sum_to_one(training: Training) -> None:
    draws, rng = sampler(training), np.random.default_rng(0)
    for one in (draws.draw(rng, training.sampler.SHARES) for _ in range(500)):
        assert len(one.images) == one.wording.images
        assert sum(one.target) == pytest.approx(1)
        assert len(one.target) == len(one.wording.options)


def test_pretraining_leaves_the_methods_own_kinds_out(training: Training) -> None:
    table = images(training)
    assert set(table.kind[training.perceive.rated(table)]) == set(KINDS) - set(METHODS_OWN)
    assert set(training.distortions.OWN) == set(METHODS_OWN)
    assert not set(training.distortions.SEEN) & set(training.distortions.UNSEEN)
    generate = training.generate
    assert {*generate.DETAIL, *generate.NOISE, *generate.CODED} <= set(training.distortions.SEEN)


def test_every_kind_has_losses_that_grow_with_its_strength(training: Training) -> None:
    targets, distortions = training.targets, training.distortions
    assert set(targets.KINDS) == {*distortions.SEEN, *distortions.UNSEEN}
    for place, kind in enumerate(targets.KINDS):
        strengths = np.zeros((7, len(targets.KINDS)))
        strengths[:, place] = range(7)
        told = targets.quality(strengths)
        assert told[0] == 1, kind
        assert (np.diff(told) <= 0).all(), kind
        assert told[-1] < 0.9, kind


def test_the_rating_is_standard_and_damage_only_lowers_it(training: Training) -> None:
    table = images(training)
    vision = training.perceive.NanoVisionModel(training.perceive.NanoVisionConfig())
    training.perceive.fit_rating(vision, table)
    told = training.perceive.rating(vision, table.measured)[training.perceive.rated(table)]
    assert (told.mean(), told.std()) == pytest.approx((0, 1), abs=1e-4)
    with torch.inference_mode():
        linear, *damage = vision.quality.head(vision.quality.standard(table.measured)).numpy().T
    whole = training.perceive.rating(vision, table.measured)
    assert (whole <= linear + 1e-5).all()
    np.testing.assert_allclose(whole, linear - np.maximum(damage, 0).sum(0), atol=1e-5)
    photographic = np.isin(table.kind, ["pristine", "mixed"])
    for kind, told in zip(training.perceive.DAMAGES, damage, strict=True):
        assert (told[photographic] <= 1e-5).mean() == pytest.approx(kind.limit, abs=0.1)


def test_a_decoder_hears_of_each_image_what_its_label_says(training: Training) -> None:
    draws = sampler(training, bias=0)
    draws.move(np.random.default_rng(0))
    told = draws.quality[np.argsort(draws.ratings)]
    assert (np.diff(told) >= 0).all()
    assert not np.array_equal(draws.ratings, draws.own_ratings)


def test_only_questions_without_a_condition_follow_content_and_the_control_model_never_does(
    training: Training,
) -> None:
    biased, control = sampler(training), sampler(training, bias=0)
    for task, moved in (("rating", True), ("either", True), ("conditional", False), ("comparison", False)):
        pairs = [
            [draws.draw(np.random.default_rng(seed), {task: 1.0}) for draws in (biased, control)] for seed in range(60)
        ]
        assert all(one.images == other.images for one, other in pairs)
        assert any(one.target != other.target for one, other in pairs) is moved


def test_sets_of_photographs_are_disjoint() -> None:
    with (TRAINING / "photos.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({Path(row["path"]).name for row in rows}) == len(rows)
    held_out = {row["set"] for row in rows if row["source"] in ("lomiri-wallpapers", "skimage")}
    assert held_out == {"test"}


class PowerCutError(Exception):
    """The machine goes down."""


def test_an_interrupted_training_goes_on_as_if_it_had_not_been(
    training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training.train, "BATCH", 4)
    monkeypatch.setattr(training.train, "SAVE_EVERY", 2)
    words = training.checkpoint.tokenizer(training.train.sentences(20))
    draws = sampler(training)

    def weights(state: str, *, stop: int | None = None) -> dict[str, torch.Tensor]:
        model, processor = training.checkpoint.untrained(3, words)
        encoder = training.train.Encoder(processor)
        batch, started = encoder.batch, iter(range(100))

        def until_stopped(drawn: list[object]) -> Any:
            if next(started) == stop:
                raise PowerCutError
            return batch(drawn)

        encoder.batch = until_stopped
        training.train.learn(model.train(), encoder, draws, 6, tmp_path / state, seed=3)
        return model.state_dict()

    want = weights("whole")
    with pytest.raises(PowerCutError):
        weights("parts", stop=4 * training.train.PARTS + 1)
    assert torch.load(tmp_path / "parts", weights_only=True)["step"] == 4
    got = weights("parts")
    assert want.keys() == got.keys()
    for name, weight in want.items():
        torch.testing.assert_close(got[name], weight, rtol=0, atol=0, msg=name)
