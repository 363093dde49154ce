"""Pretrain the vision encoder on cached measurements, before it learns to speak.

    python perceive.py WORK          reads the generated sets, writes vision.pt; minutes on one core

Quality tokens learn to tell quality, the kind of distortion and the colours of the pristine image; the identity vector
learns to be the same for all copies of a base image and different for other photographs.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from checkpoint import WIDTH
from distortions import OWN, SEEN, UNSEEN
from features import Set, load, load_training
from scipy.stats import spearmanr
from torch import nn
from torch.nn import functional

from qdebias.backends.nano import NanoVisionConfig, NanoVisionModel

SEED = 11
STEEPNESS = 8.0
BATCH = 128
NOISE, DROP = 0.2, 0.2
KINDS = ("pristine", "mixed", "camera", *SEEN)


class Heads(nn.Module):
    """What the quality tokens must be able to tell; left behind after pretraining."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.quality = nn.Linear(width, 1)
        self.kind = nn.Linear(width, len(KINDS))
        self.nature = nn.Linear(width, 1)


@dataclass(frozen=True)
class Lesson:
    """What the quality tokens are to tell of each image, and how its statistics are disturbed against overfitting.

    Attributes:
        measured: (n, statistics).
        quality, nature: (n,) in [0, 1].
        kind: (n,) places in `KINDS`.
        rated: Rows whose quality and kind are asked for; the colours are asked of all.
        noise: Deviation of what is added to each statistic, in its own deviations.
        drop: Share of the statistics that are replaced by their means.
    """

    measured: torch.Tensor
    quality: torch.Tensor
    nature: torch.Tensor
    kind: torch.Tensor
    rated: torch.Tensor
    noise: float
    drop: float

    def batches(self) -> torch.Tensor:
        """Return the rated rows in random order, (batches, BATCH)."""
        order = self.rated[torch.randperm(len(self.rated), device=self.rated.device)]
        return order[: len(order) // BATCH * BATCH].view(-1, BATCH)

    def loss(self, vision: NanoVisionModel, heads: Heads, batch: torch.Tensor) -> tuple[torch.Tensor, float]:
        """Return the loss on some rated rows (and as many of all), and the mean squared error of quality in it."""
        anything = torch.randint(len(self.quality), batch.shape, device=batch.device)
        tokens = self._tokens(vision, torch.cat([batch, anything]))
        nature = torch.sigmoid(heads.nature(tokens)[:, 0])
        tokens = tokens[: len(batch)]
        quality = heads.quality(tokens)[:, 0]
        wrong = functional.mse_loss(torch.sigmoid(quality), self.quality[batch])
        kind = functional.cross_entropy(heads.kind(tokens), self.kind[batch])
        content = functional.mse_loss(nature, self.nature[torch.cat([batch, anything])])
        return 10 * wrong + misordered(quality, self.quality[batch]) + 0.3 * kind + 3 * content, float(wrong.detach())

    def _tokens(self, vision: NanoVisionModel, rows: torch.Tensor) -> torch.Tensor:
        measured = self.measured[rows]
        measured = measured + self.noise / vision.quality.scale * torch.randn_like(measured)
        measured = torch.where(torch.rand_like(measured) > self.drop, measured, vision.quality.mean)
        return functional.dropout(vision.quality(measured).flatten(1), 0.2)


def lesson(images: Set, noise: float = NOISE, drop: float = DROP) -> Lesson:
    """Return what is to be learned of a set; for `noise` and `drop` see `Lesson`."""
    names = {name: index for index, name in enumerate(KINDS)}
    kinds = zip(images.kind, images.parent, strict=True)
    device = images.measured.device
    return Lesson(
        measured=images.measured,
        quality=torch.from_numpy(images.quality).float().to(device),
        nature=torch.from_numpy(images.nature).float().to(device),
        kind=torch.tensor([names.get(kind, 1) if parent < 0 else 1 for kind, parent in kinds], device=device),
        rated=torch.from_numpy(rated(images)).to(device),
        noise=noise,
        drop=drop,
    )


def rated(images: Set) -> np.ndarray:
    """Return the rows that may be asked about: none whose last distortion is one of the method's own kinds."""
    return np.flatnonzero(~np.isin(images.kind, list(OWN)))


def standardise(vision: NanoVisionModel, measured: torch.Tensor) -> None:
    """Give the encoder mean and deviation of each statistic over the training images."""
    with torch.no_grad():
        vision.quality.mean.copy_(measured.mean(0))
        vision.quality.scale.copy_(1 / (measured.std(0) + 1e-3))


def train_quality(vision: NanoVisionModel, told: Lesson, epochs: int) -> Heads:
    """Train the quality tokens."""
    heads = Heads(vision.config.quality_tokens * vision.config.hidden_size)
    weights = [*vision.quality.parameters(), *heads.parameters()]
    optimiser = torch.optim.AdamW([w for w in weights if w.requires_grad], 1e-3, weight_decay=0.3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, epochs * len(told.batches()))
    vision.train()
    for epoch in range(epochs):
        errors = []
        for batch in told.batches():
            loss, error = told.loss(vision, heads, batch)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            errors.append(error)
        print(f"quality epoch {epoch + 1} of {epochs}: error {np.sqrt(np.mean(errors)):.4f}", flush=True)
    vision.eval()
    return heads


def misordered(told: torch.Tensor, goal: torch.Tensor) -> torch.Tensor:
    """How often, softly, the wrong one of two images is called the better; (n,) logits and targets."""
    better = torch.sigmoid(STEEPNESS * (goal[:, None] - goal[None]))
    return functional.binary_cross_entropy_with_logits(told[:, None] - told[None], better)


def train_identity(vision: NanoVisionModel, images: Set, steps: int) -> None:
    """Contrast copies of 192 base images of different photographs with each other."""
    groups = [np.flatnonzero(images.base == base) for base in range(int(images.base.max()) + 1)]
    photo = np.array([images.photo[group[0]] for group in groups])
    encoder = vision.identity
    optimiser = torch.optim.AdamW(encoder.parameters(), 2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, steps)
    rng = np.random.default_rng(SEED)
    for step in range(steps):
        order = rng.permutation(len(groups))
        chosen = order[np.unique(photo[order], return_index=True)[1]][:192]
        pair = np.array([rng.choice(groups[base], 2, replace=False) for base in chosen])
        patterns = images.patterns[torch.from_numpy(pair.T.ravel())]
        patterns = patterns.flip(2) if rng.random() < 0.5 else patterns
        one, two = encoder.embedding(patterns + 0.1 * torch.randn_like(patterns)).chunk(2)
        alike = one @ two.T / 0.07
        goal = torch.arange(len(one))
        loss = functional.cross_entropy(alike, goal) + functional.cross_entropy(alike.T, goal)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 100 == 0:
            print(f"identity step {step} of {steps}: loss {float(loss.detach()) / 2:.3f}", flush=True)


@torch.inference_mode()
def report(vision: NanoVisionModel, heads: Heads, images: Set) -> str:
    """Rank correlation with the target on other photographs, and how well copies are told from other scenes."""
    tokens = vision.quality(images.measured).flatten(1)
    told, content = (head(tokens)[:, 0].numpy() for head in (heads.quality, heads.nature))
    unseen = np.isin(images.kind, list(UNSEEN))
    parts = {"all": unseen | True, "seen": ~unseen, "unseen": unseen | (images.kind == "pristine")}
    figures = [f"{name} {spearmanr(told[rows], images.quality[rows])[0]:.3f}" for name, rows in parts.items()]
    figures.append(f"colours {spearmanr(content, images.nature)[0]:.3f}")
    vectors = vision.identity.embedding(images.patterns)
    pristine = np.flatnonzero(images.kind == "pristine")
    alike = (vectors @ vectors[pristine].T).numpy()
    same = images.base[:, None] == images.base[pristine][None]
    degraded = images.kind != "pristine"
    ranks = np.argsort(np.argsort(alike[degraded].ravel()))
    positive = same[degraded].ravel()
    area = (ranks[positive].mean() - (positive.sum() - 1) / 2) / (~positive).sum()
    return f"SRCC {', '.join(figures)}; same-scene AUC {area:.4f}"


def main() -> None:
    """Train and save the encoder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--noise", type=float, default=NOISE)
    parser.add_argument("--drop", type=float, default=DROP)
    choice = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    images = load_training(choice.folder)
    vision = NanoVisionModel(NanoVisionConfig(statistics_size=images.measured.shape[1], intermediate_size=WIDTH))
    standardise(vision, images.measured[torch.from_numpy(rated(images))])
    train_identity(vision, images, choice.steps)
    heads = train_quality(vision, lesson(images, choice.noise, choice.drop), choice.epochs)
    for name in ("validation", "camera-validation"):
        print(name, report(vision, heads, load(choice.folder / name)))
    torch.save({"vision": vision.state_dict(), "heads": heads.state_dict()}, choice.folder / "vision.pt")


if __name__ == "__main__":
    main()
