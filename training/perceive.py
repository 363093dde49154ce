"""Pretrain the vision encoder on cached measurements, before it learns to speak.

    python perceive.py WORK          reads train/ and validation/, writes vision.pt; minutes on one core

Quality tokens learn to tell quality and the kind of distortion; the identity vector learns to be the same for all
copies of a base image and different for other photographs.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from distortions import OWN, SEEN, UNSEEN
from features import Set, load
from scipy.stats import spearmanr
from torch import nn
from torch.nn import functional

from qdebias.backends.nano import NanoVisionConfig, NanoVisionModel

SEED = 11
KINDS = ("pristine", "mixed", *SEEN)


class Heads(nn.Module):
    """What the quality tokens must be able to tell; left behind after pretraining."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.quality = nn.Linear(width, 1)
        self.kind = nn.Linear(width, len(KINDS))


def rated(images: Set) -> np.ndarray:
    """Return the rows that may be asked about: none whose last distortion is one of the method's own kinds."""
    return np.flatnonzero(~np.isin(images.kind, list(OWN)))


def standardise(vision: NanoVisionModel, measured: torch.Tensor) -> None:
    """Give the encoder mean and deviation of each statistic over the training images."""
    with torch.no_grad():
        vision.quality.mean.copy_(measured.mean(0))
        vision.quality.scale.copy_(1 / (measured.std(0) + 1e-3))


def train_quality(vision: NanoVisionModel, images: Set, epochs: int, noise: float, drop: float) -> Heads:
    """Train the quality tokens on the rated images; statistics are jittered and dropped against overfitting."""
    rows = torch.from_numpy(rated(images))
    quality = torch.from_numpy(images.quality).float()
    names = {name: index for index, name in enumerate(KINDS)}
    kind = torch.tensor(
        [names.get(name, 1) if parent < 0 else 1 for name, parent in zip(images.kind, images.parent, strict=True)]
    )
    heads = Heads(vision.config.quality_tokens * vision.config.hidden_size)
    weights = [*vision.quality.parameters(), *heads.parameters()]
    optimiser = torch.optim.AdamW([w for w in weights if w.requires_grad], 1e-3, weight_decay=0.3)
    batches = len(rows) // 128
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, epochs * batches)
    spread = 1 / vision.quality.scale
    vision.train()
    for epoch in range(epochs):
        losses = []
        for batch in rows[torch.randperm(len(rows))[: batches * 128]].view(-1, 128):
            measured = images.measured[batch] + noise * spread * torch.randn(128, len(spread))
            kept = torch.rand(128, len(spread)) > drop
            measured = torch.where(kept, measured, vision.quality.mean)
            tokens = functional.dropout(vision.quality(measured).flatten(1), 0.2)
            wrong = functional.mse_loss(torch.sigmoid(heads.quality(tokens)[:, 0]), quality[batch])
            loss = 10 * wrong + 0.3 * functional.cross_entropy(heads.kind(tokens), kind[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            losses.append(float(wrong.detach()))
        print(f"quality epoch {epoch + 1} of {epochs}: error {np.sqrt(np.mean(losses)):.4f}", flush=True)
    vision.eval()
    return heads


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
    told = heads.quality(vision.quality(images.measured).flatten(1))[:, 0].numpy()
    unseen = np.isin(images.kind, list(UNSEEN))
    parts = {"all": unseen | True, "seen": ~unseen, "unseen": unseen | (images.kind == "pristine")}
    figures = [f"{name} {spearmanr(told[rows], images.quality[rows])[0]:.3f}" for name, rows in parts.items()]
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
    parser.add_argument("--noise", type=float, default=0.2)
    parser.add_argument("--drop", type=float, default=0.2)
    choice = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    images, validation = load(choice.folder / "train"), load(choice.folder / "validation")
    vision = NanoVisionModel(NanoVisionConfig(statistics_size=images.measured.shape[1]))
    standardise(vision, images.measured[torch.from_numpy(rated(images))])
    train_identity(vision, images, choice.steps)
    heads = train_quality(vision, images, choice.epochs, choice.noise, choice.drop)
    print(report(vision, heads, validation))
    torch.save(vision.state_dict(), choice.folder / "vision.pt")


if __name__ == "__main__":
    main()
