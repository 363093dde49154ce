"""Measure a checkpoint on photographs it has never seen, with the library's own presets.

    python evaluate.py WORK/validation --model ../src/qdebias/backends/nano/checkpoint
    python evaluate.py WORK/validation --model WORK/biased-1 WORK/biased-2 WORK/biased-3    their mean, and each

The images' statistics come from `conditions.npz`, so only the learned part of the model runs. Intervals are 95 %
bootstrap over photographs, of the mean over the models.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from dialogues import Wording
from scipy.stats import rankdata, spearmanr
from targets import quality
from train import Encoder
from transformers import AutoModelForImageTextToText, AutoProcessor

import qdebias.backends.nano as nano
from qdebias import presets
from qdebias.methods.method import Answers, Plan, QDebias
from qdebias.prompts import Placement, Question

METHODS = ("vanilla", "qbench", "t1", "t2", "t3", "paper", "paper-literal")
ORDER = ("ZoomBlur", "Spatter", "Saturate", "Fog")
SAMPLES = 400


@dataclass(frozen=True)
class Measured:
    """A measured set: rows of (query, four conditions of `paper`)."""

    measured: torch.Tensor
    patterns: torch.Tensor
    kind: np.ndarray
    unseen: np.ndarray
    photo: np.ndarray
    quality: np.ndarray


class Model:
    """A checkpoint that answers about measured images.

    Args:
        folder: The checkpoint.
        images: What is measured about the images.
    """

    def __init__(self, folder: Path, images: Measured) -> None:
        self.model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
        self.encoder = Encoder(AutoProcessor.from_pretrained(folder))
        with torch.inference_mode():
            vision = self.model.model.vision_tower
            standard = vision.quality.standard(images.measured.flatten(0, 1))
            self.rating = vision.quality.rate(standard).unflatten(0, images.measured.shape[:2])[:, 0].numpy()
            scene = vision.identity(images.patterns.flatten(0, 1))
            tokens = torch.cat([vision.quality(vision.quality.rate(standard), standard), scene], dim=1)
            self.tokens = self.model.model.multi_modal_projector(tokens).unflatten(0, images.measured.shape[:2])

    @torch.inference_mode()
    def ask(
        self, question: Question, places: Sequence[tuple[np.ndarray, np.ndarray]], placement: Placement
    ) -> np.ndarray:
        """Return option logits (n, options).

        Args:
            question: The question.
            places: For each image of the prompt: (n,) rows and (n,) columns of the measured set.
            placement: Where the images stand.
        """
        wording = Wording(question.text, question.answer_prefix, question.options, len(places))
        ids = torch.tensor(self.encoder.ids(wording, placement == "after"))
        options = [self.encoder.token(option) for option in question.options]
        pictures = torch.cat([self.tokens[torch.from_numpy(r), torch.from_numpy(c)] for r, c in places], dim=1)
        embedded = self.model.get_input_embeddings()(ids).expand(len(pictures), -1, -1).clone()
        embedded[:, ids == self.model.config.image_token_id] = pictures
        hidden = self.model.model.language_model(inputs_embeds=embedded, use_cache=False).last_hidden_state[:, -1]
        return self.model.lm_head(hidden)[:, options].double().numpy()


def score(model: Model, name: str, rows: np.ndarray, shift: int = 0) -> np.ndarray:
    """Return (n,) scores of a preset; `shift` takes the conditions of another row, for mismatched ones."""
    method = cast(QDebias, presets.get(name).method)
    query = (rows, np.zeros_like(rows))
    if not method.degradations:
        logits = model.ask(method.quality, [query], method.placement)
        return np.array([method.combine(Plan(requests=()), [[one]]).value for one in logits])
    columns = _columns(method)
    answers = [_answers(model, method, query, (np.roll(rows, shift), np.full_like(rows, column))) for column in columns]
    return np.array([method.combine(Plan(requests=()), _of(answers, row)).value for row in range(len(rows))])


def same_object(model: Model, rows: np.ndarray, photo: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return P(yes) (n, 4) for the own conditions and for those of another photograph."""
    method = presets.get("paper").method
    found = []
    for other in (rows, _another(rows, photo)):
        told = [
            model.ask(method.same, [(other, np.full_like(rows, column)), (rows, np.zeros_like(rows))], method.placement)
            for column in range(1, 5)
        ]
        found.append(np.stack([1 / (1 + np.exp(one[:, 1] - one[:, 0])) for one in told], axis=1))
    return found[0], found[1]


def report(models: Sequence[Model], images: Measured) -> dict[str, object]:
    """Return every figure of the model card: means over the models, intervals over photographs."""
    rows = np.arange(len(images.kind))
    severe = np.char.startswith(images.kind, "severe")
    graded = rows[~severe & (images.kind != "mixed")]
    scores = {name: np.stack([score(model, name, rows) for model in models]) for name in METHODS}
    scores["rating of the encoder"] = np.stack([model.rating for model in models])
    scores["mismatched"] = np.stack([score(model, "paper", rows, shift=_period(images.photo)) for model in models])
    figures: dict[str, object] = {name: _figures(one, images, graded) for name, one in scores.items()}
    figures["severe below pristine, %"] = {
        name: _severe(scores[name], images) for name in ("paper", "paper-literal", "vanilla", "qbench")
    }
    figures["same object"] = _same([same_object(model, rows, images.photo) for model in models])
    figures["vanilla P(good)"] = _mean([_poor(model, images) for model in models])
    figures["spread cut vanilla -> paper, %"] = _cut(scores["vanilla"], scores["paper"], images, graded)
    return figures


def _columns(method: QDebias) -> list[int]:
    return [1 + ORDER.index(type(degradation).__name__) for degradation in method.degradations]


def _answers(
    model: Model, method: QDebias, query: tuple[np.ndarray, np.ndarray], condition: tuple[np.ndarray, np.ndarray]
) -> list[np.ndarray]:
    return [model.ask(question, [condition, query], method.placement) for question in method.questions]


def _of(answers: list[list[np.ndarray]], row: int) -> Answers:
    return [[one[row] for one in condition] for condition in answers]


def _period(photo: np.ndarray) -> int:
    return int((photo == photo[0]).sum())


def _another(rows: np.ndarray, photo: np.ndarray) -> np.ndarray:
    return np.roll(rows, _period(photo))


def _figures(told: np.ndarray, images: Measured, rows: np.ndarray) -> dict[str, object]:
    """SRCC overall, on seen and on unseen kinds, within photographs, and the spread of the photographs' means.

    Args:
        told: (models, n) scores.
        images: The measured set of n images.
        rows: Those that count.
    """
    told, wanted, photo = told[:, rows], images.quality[rows], images.photo[rows]
    unseen, pristine = images.unseen[rows], images.kind[rows] == "pristine"
    parts = {"SRCC": rows >= 0, "seen": ~unseen, "unseen": unseen | pristine}
    figures: dict[str, object] = {
        name: _interval(told[:, part], wanted[part], photo[part]) for name, part in parts.items()
    }
    figures["within"] = round(float(np.mean([_within(one, wanted, photo) for one in told])), 3)
    figures["spread"] = round(float(np.mean([_spread(one, photo) for one in told])), 3)
    if len(told) > 1:
        figures["each"] = [round(_srcc(one[None], wanted), 3) for one in told]
    return figures


def _srcc(told: np.ndarray, wanted: np.ndarray) -> float:
    """Mean over the models of the rank correlation with the target."""
    ranks = rankdata(np.vstack([told, wanted[None]]), axis=1)
    return float(np.corrcoef(ranks)[-1, :-1].mean())


def _interval(told: np.ndarray, wanted: np.ndarray, photo: np.ndarray) -> list[float]:
    """SRCC with the 95 % interval of a bootstrap over photographs."""
    rng = np.random.default_rng(0)
    groups = [np.flatnonzero(photo == one) for one in np.unique(photo)]
    samples = []
    for _ in range(SAMPLES):
        drawn = np.concatenate([groups[one] for one in rng.integers(0, len(groups), len(groups))])
        samples.append(_srcc(told[:, drawn], wanted[drawn]))
    low, high = np.quantile(samples, [0.025, 0.975])
    return [round(float(value), 3) for value in (_srcc(told, wanted), low, high)]


def _within(told: np.ndarray, wanted: np.ndarray, photo: np.ndarray) -> float:
    return float(np.mean([spearmanr(told[photo == one], wanted[photo == one])[0] for one in np.unique(photo)]))


def _spread(told: np.ndarray, photo: np.ndarray) -> float:
    return float(np.std([told[photo == one].mean() for one in np.unique(photo)]) / told.std())


def _cut(vanilla: np.ndarray, paper: np.ndarray, images: Measured, rows: np.ndarray) -> list[float]:
    """By how much the spread of per-photo means, relative to that of the scores, falls; with its interval."""
    rng = np.random.default_rng(0)
    groups = [rows[images.photo[rows] == one] for one in np.unique(images.photo[rows])]

    def cut(chosen: list[np.ndarray]) -> float:
        ids = np.repeat(np.arange(len(chosen)), [len(group) for group in chosen])
        drawn = np.concatenate(chosen)
        pairs = zip(vanilla[:, drawn], paper[:, drawn], strict=True)
        return float(np.mean([100 * (1 - _spread(after, ids) / _spread(before, ids)) for before, after in pairs]))

    samples = [cut([groups[one] for one in rng.integers(0, len(groups), len(groups))]) for _ in range(SAMPLES)]
    return [round(float(value), 1) for value in (cut(groups), *np.quantile(samples, [0.025, 0.975]))]


def _severe(told: np.ndarray, images: Measured) -> dict[str, float]:
    """Share of the photographs whose severe copy scores below the pristine image."""
    found = {}
    for kind in np.unique(images.kind[np.char.startswith(images.kind, "severe")]).tolist():
        copies, pristine = images.kind == kind, images.kind == "pristine"
        if not np.array_equal(images.photo[copies], images.photo[pristine]):
            raise ValueError(f"{kind}: need one copy of each photograph")
        found[kind] = round(100 * float((told[:, copies] < told[:, pristine]).mean()), 1)
    return found


def _same(told: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, object]:
    """AUC of P(yes) for the own conditions against those of another photograph, and the means by kind."""
    own, other = (np.mean([one[part].mean(axis=0) for one in told], axis=0).round(3).tolist() for part in (0, 1))
    return {
        "AUC": round(float(np.mean([_area(mine.ravel(), others.ravel()) for mine, others in told])), 4),
        "P(yes), own": dict(zip(ORDER, own, strict=True)),
        "P(yes), other": dict(zip(ORDER, other, strict=True)),
    }


def _mean(tables: list[dict[str, float]]) -> dict[str, float]:
    return {name: round(float(np.mean([table[name] for table in tables])), 3) for name in tables[0]}


def _poor(model: Model, images: Measured) -> dict[str, float]:
    """Mean P(good) of the pristine images and of their conditions under `vanilla`."""
    rows = np.flatnonzero(images.kind == "pristine")
    question = presets.get("vanilla").method.quality
    told = {}
    for column, name in enumerate(("pristine", *ORDER)):
        logits = model.ask(question, [(rows, np.full_like(rows, column))], "before")
        told[name] = float((1 / (1 + np.exp(logits[:, 1] - logits[:, 0]))).mean())
    return told


def _area(positive: np.ndarray, negative: np.ndarray) -> float:
    ranks = np.argsort(np.argsort(np.concatenate([positive, negative])))[: len(positive)]
    return float((ranks.mean() - (len(positive) - 1) / 2) / len(negative))


def load(folder: Path) -> Measured:
    """Read `conditions.npz`."""
    kept = np.load(folder / "conditions.npz")
    return Measured(
        measured=torch.from_numpy(kept["measured"]),
        patterns=torch.from_numpy(kept["patterns"]),
        kind=kept["kind"],
        unseen=kept["unseen"],
        photo=kept["photo"],
        quality=quality(kept["strengths"]),
    )


def main() -> None:
    """Print the figures as a table, or as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", type=Path, nargs="+", default=[nano.CHECKPOINT], metavar="FOLDER")
    parser.add_argument("--json", action="store_true")
    choice = parser.parse_args()
    torch.set_num_threads(1)
    images = load(choice.folder)
    figures = report([Model(folder, images) for folder in choice.model], images)
    if choice.json:
        print(json.dumps(figures, indent=1))
        return
    for name, figure in figures.items():
        print(
            f"{name:28s}", *(f"{key} {value}" for key, value in figure.items()) if isinstance(figure, dict) else figure
        )


if __name__ == "__main__":
    main()
