"""Rules of the training data, and that an interrupted training goes on as if it had not been."""

import csv
import importlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from qdebias import presets
from qdebias.backends.nano.statistics import SIZE
from qdebias.method import QDebias, Vanilla

TRAINING = Path(__file__).resolve().parent.parent / "training"
METHODS_OWN = ("zoom_blur", "spatter", "saturate", "fog")
BASES = 6
KINDS = ("pristine", "jpeg", "mixed", *METHODS_OWN)


@dataclass(frozen=True)
class Training:
    """The training scripts, which are no package."""

    camera: ModuleType
    dialogues: ModuleType
    distortions: ModuleType
    features: ModuleType
    fullref: ModuleType
    generate: ModuleType
    perceive: ModuleType
    sampler: ModuleType
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
    return training.features.Set(
        measured=torch.from_numpy(rng.normal(size=(count, SIZE)).astype(np.float32)),
        patterns=torch.from_numpy(rng.normal(size=(count, 32, 32)).astype(np.float32)),
        quality=rng.random(count),
        photo=np.repeat(np.arange(BASES), len(kinds)),
        base=np.repeat(np.arange(BASES), len(kinds)),
        parent=np.where(parent >= 0, parent + first, -1),
        kind=np.tile(kinds, BASES),
        strength=rng.uniform(0, 6, count),
        nature=np.repeat(rng.random(BASES), len(kinds)),
    )


def sampler(training: Training, *, bias: float = 0.4) -> Any:
    others = np.array([[other for other in range(BASES) if other != photo] for photo in range(BASES)])
    return training.sampler.Sampler(images(training), others, bias)


def rehearsal(training: Training, table: Any) -> Any:
    torch.manual_seed(3)
    vision = training.checkpoint.NanoVisionConfig()
    heads = training.perceive.Heads(vision.quality_tokens * vision.hidden_size)
    return training.train.Rehearsal(heads, training.perceive.lesson(table))


def asked() -> set[str]:
    """Every question of every preset."""
    texts = set()
    for recipe in (presets.get(name) for name in presets.RECIPES):
        method = recipe.method
        if isinstance(method, Vanilla):
            texts.add(method.question.text)
        if isinstance(method, QDebias):
            texts.update(question.text for question in (method.quality, method.same) if question is not None)
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
    mixtures = {kind for stage in training.generate.STAGES for kind in stage}
    assert mixtures <= set(training.distortions.SEEN)
    stages = {stage.__name__ for _, group in training.camera.STAGES for stage in group}
    assert not stages & set(training.distortions.UNSEEN)


def test_pretraining_asks_the_methods_own_kinds_for_nothing_but_the_colours_of_their_originals(
    training: Training,
) -> None:
    table = images(training)
    own = np.isin(table.kind, METHODS_OWN)
    vision = training.checkpoint.untrained(3, training.checkpoint.tokenizer([]))[0].model.vision_tower.eval()
    heads = rehearsal(training, table).heads
    told = training.perceive.lesson(table)
    rows = told.batches() if len(told.rated) >= training.perceive.BATCH else told.rated[None]

    def gradients(name: str, changed: Any) -> list[torch.Tensor]:
        torch.manual_seed(5)
        loss, _ = replace(told, **{name: changed}).loss(vision, heads, rows[0])
        return list(torch.autograd.grad(loss, list(heads.parameters())))

    for name, other in (("quality", 1 - told.quality), ("kind", (told.kind + 1) % 3), ("nature", 1 - told.nature)):
        changed = torch.where(torch.from_numpy(own), other, getattr(told, name))
        pairs = zip(gradients(name, getattr(told, name)), gradients(name, changed), strict=True)
        assert all(torch.equal(one, two) for one, two in pairs) is (name != "nature")


def test_what_cameras_make_of_an_image_is_worse_and_says_by_how_much(training: Training) -> None:
    rng = np.random.default_rng(0)
    base = rng.integers(0, 256, (160, 192, 3), np.uint8)
    family = training.generate.camera_family(base, rng)
    taken = [(image, strength, parent) for image, kind, strength, parent in family if kind == "camera"]
    assert len(taken) == training.generate.CAMERA
    assert all(image.shape == base.shape and image.dtype == np.uint8 for image, *_ in taken)
    assert all(0 <= strength <= 6 and parent == -1 for _, strength, parent in taken)
    assert [parent for *_, parent in family[len(taken) + 1 :]] == list(range(len(taken) + 1))
    assert np.mean([training.fullref.error(base, image) for image, *_ in taken]) > 0.1


def test_a_styled_scene_keeps_its_saturation(training: Training) -> None:
    rng = np.random.default_rng(1)
    grey = np.repeat(rng.integers(0, 256, (96, 96, 1), np.uint8), 3, axis=2)
    for _ in range(20):
        styled = training.camera.styled(grey, rng)
        assert np.array_equal(styled[..., 0], styled[..., 1])
        assert np.array_equal(styled[..., 0], styled[..., 2])


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


@pytest.mark.parametrize("stop", [3, 5, 7], ids=["first cycle", "between the cycles", "second cycle"])
def test_an_interrupted_training_goes_on_as_if_it_had_not_been(
    training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    monkeypatch.setattr(training.train, "BATCH", 4)
    monkeypatch.setattr(training.train, "SAVE_EVERY", 2)
    words = training.checkpoint.tokenizer(training.train.sentences(20))
    draws = sampler(training)

    def weights(state: str, *, stop: int | None = None) -> dict[str, torch.Tensor]:
        model, processor = training.checkpoint.untrained(3, words)
        encoder = training.train.Encoder(processor)
        batches, begun = encoder.batches, iter(range(100))

        def until_stopped(drawn: list[object]) -> Any:
            if next(begun) == stop:
                raise PowerCutError
            return batches(drawn)

        encoder.batches = until_stopped
        own = rehearsal(training, draws.images)
        learner = training.train.Learner(model.train(), encoder, draws, own, seed=3)
        learner.learn(((4, 2e-3), (4, 1e-3)), tmp_path / state)
        return model.state_dict()

    want = weights("whole")
    with pytest.raises(PowerCutError):
        weights("parts", stop=stop)
    assert torch.load(tmp_path / "parts", weights_only=True)["step"] == stop - 1
    got = weights("parts")
    assert want.keys() == got.keys()
    for name, weight in want.items():
        torch.testing.assert_close(got[name], weight, rtol=0, atol=0, msg=name)
