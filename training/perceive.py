"""Fit the vision encoder on measured images, before the decoder learns to speak.

    python perceive.py WORK          reads train/, writes vision.pt; minutes on one core

The rating is made of ridge regressions on standardised statistics: quality, learned from the copies with the faults
of photographs, and kinds of damage, each subtracted where it exceeds what most of those copies have. The identity
vector learns to be the same for all copies of a base image and different for other photographs.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from distortions import OWN
from generate import Set, load
from pretrained import NanoVisionConfig, NanoVisionModel
from sklearn.linear_model import Ridge
from targets import DETAIL, KINDS, lost
from torch.nn import functional

from qdebias.backends.nano.statistics import SHARPNESS, SIZE

SEED = 11
SHARP = SHARPNESS.start + 8  # the 98th percentile of the map
TRUST = 30  # the ridge sees it times this, so that it shrinks it less
RIDGE = 1_000_000


class Damage(NamedTuple):
    """What is subtracted from quality.

    Attributes:
        kinds: The distortions whose loss it learns.
        ridge: Strength of its ridge.
        limit: Share of the copies with the faults of photographs that have too little of it to be subtracted.
        gain: Deviation of what is subtracted, where that of quality is 1.
        statistics: What it may look at.
    """

    kinds: tuple[str, ...]
    ridge: float
    limit: float
    gain: float
    statistics: tuple[int, ...] = tuple(place for place in range(SIZE) if place not in range(SIZE)[SHARPNESS])


CLIPPED = (*range(203, 209), *range(687, 693))  # shares of pixels at an end of the scale: native crops, thumbnail
DAMAGES = (
    Damage(tuple(kind for kind in KINDS if kind not in DETAIL), 1_000, 0.9, 1.26),
    Damage(("block_loss", "impulse_noise", "scan_lines"), 10_000, 0.95, 0.55),
    Damage(("colour_cast", "colour_offset"), 10_000, 0.95, 0.27),
    Damage(("posterise",), 10_000, 0.99, 0.07),
    Damage(("brighten", "contrast_up"), 1_000, 0.4, 0.2, CLIPPED),
    Damage(("darken", "vignette"), 10_000, 0.8, 0.14),
)


def rated(images: Set) -> np.ndarray:
    """Return the rows that may be asked about: none that went through the method's own kinds last."""
    return np.flatnonzero(~np.isin(images.kind, list(OWN)))


def fit_rating(vision: NanoVisionModel, images: Set) -> None:
    """Standardise the statistics and fit the rating, of mean 0 and deviation 1 over the rated images."""
    rows = rated(images)
    measured = images.measured[torch.from_numpy(rows)]
    encoder = vision.quality
    with torch.no_grad():
        encoder.mean.copy_(measured.mean(0))
        encoder.scale.copy_(1 / (measured.std(0) + 1e-3))
        standard = encoder.standard(measured).double().numpy()
    photographic = np.isin(images.kind[rows], ["pristine", "mixed"])
    trust = np.ones(SIZE)
    trust[SHARPNESS] = 0
    trust[SHARP] = TRUST
    quality = Ridge(RIDGE).fit((standard * trust)[photographic], images.quality[rows][photographic]).coef_ * trust
    heads, offsets = [quality / (standard @ quality).std()], [0.0]
    told = standard @ heads[0]
    for damage in DAMAGES:
        head = np.zeros(SIZE)
        places = list(damage.statistics)
        head[places] = Ridge(damage.ridge).fit(standard[:, places], lost(images.strengths[rows], damage.kinds)).coef_
        found = standard @ head
        limit = np.quantile(found[photographic], damage.limit)
        over = np.maximum(found - limit, 0)
        scale = damage.gain / over.std()
        heads.append(head * scale)
        offsets.append(limit * scale)
        told -= over * scale
    offsets[0] = told.mean()
    with torch.no_grad():
        encoder.head.weight.copy_(torch.from_numpy(np.array(heads) / told.std()))
        encoder.head.bias.copy_(torch.from_numpy(-np.array(offsets) / told.std()))


@torch.inference_mode()
def rating(vision: NanoVisionModel, measured: torch.Tensor) -> np.ndarray:
    """Map (n, statistics) to (n,) ratings."""
    found: np.ndarray = vision.quality.rate(vision.quality.standard(measured)).double().numpy()
    return found


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


def main() -> None:
    """Train and save the encoder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=1000)
    choice = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    images = load(choice.folder / "train")
    vision = NanoVisionModel(NanoVisionConfig())
    fit_rating(vision, images)
    train_identity(vision, images, choice.steps)
    torch.save(vision.state_dict(), choice.folder / "vision.pt")


if __name__ == "__main__":
    main()
