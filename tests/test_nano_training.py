"""Rules of the training data: no evaluation prompt, no photograph in two sets, held-out photographs held out."""

import csv
import importlib
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from qdebias import presets
from qdebias.method import QDebias, Vanilla

TRAINING = Path(__file__).resolve().parent.parent / "training"


@pytest.fixture
def dialogues(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(TRAINING))
    yield importlib.import_module("dialogues")
    sys.modules.pop("dialogues")


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


def test_no_preset_question_is_ever_drawn(dialogues: ModuleType) -> None:
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


def test_sets_of_photographs_are_disjoint() -> None:
    with (TRAINING / "photos.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({row["path"] for row in rows}) == len(rows)
    held_out = {row["set"] for row in rows if row["source"] in ("lomiri-wallpapers", "skimage")}
    assert held_out == {"test"}
