"""Measure a generated set once: the fixed part of the encoder, kept beside the views.

    python features.py WORK/train        about 6 minutes on one core

Writes `features.npz`: `measured` (images, statistics) and `patterns` (images, 32, 32).
"""

import argparse
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from generate import load_views
from targets import quality

from qdebias.backends.nano.identity import IdentityEncoder
from qdebias.backends.nano.statistics import statistics

BATCH = 4


@dataclass(frozen=True)
class Set:
    """A generated set with everything that training and evaluation read.

    Attributes:
        measured: (n, statistics) float32.
        patterns: (n, 32, 32) float32.
        quality: (n,) synthesis target in [0, 1].
        photo, base, parent: (n,) integers, see `generate.Item`.
        kind: (n,) names of distortions.
        strength: (n,) 0 to 6.
        nature: (n,) share of green and blue in the pristine base image, in [0, 1]; what a planted bias follows.
    """

    measured: torch.Tensor
    patterns: torch.Tensor
    quality: np.ndarray
    photo: np.ndarray
    base: np.ndarray
    parent: np.ndarray
    kind: np.ndarray
    strength: np.ndarray
    nature: np.ndarray


def measure(folder: Path, shards: int) -> None:
    """Measure all images of a set."""
    count = len(load_views(folder))
    jobs = [(folder, first) for first in range(0, count, BATCH)]
    with get_context("spawn").Pool(shards) as pool:
        measured, patterns = zip(*pool.imap(_measure, jobs, chunksize=8), strict=True)
    np.savez(folder / "features.npz", measured=np.concatenate(measured), patterns=np.concatenate(patterns))


def _measure(job: tuple[Path, int]) -> tuple[np.ndarray, np.ndarray]:
    folder, first = job
    torch.set_num_threads(1)
    with torch.inference_mode():
        pixels = torch.from_numpy(np.array(load_views(folder)[first : first + BATCH])).float() / 255
        return statistics(pixels).numpy(), IdentityEncoder.pattern(pixels[:, 0]).numpy()


def nature(thumbnails: np.ndarray) -> np.ndarray:
    """Share of pixels in which green or blue is the strongest colour, (n, 3, side, side) bytes to (n,)."""
    red, green, blue = (thumbnails[:, channel].astype(np.float32) for channel in range(3))
    return (np.maximum(green, blue) > red + 4).mean((1, 2))


def load(folder: Path) -> Set:
    """Read a generated and measured set."""
    items, kept = np.load(folder / "items.npz"), np.load(folder / "features.npz")
    pristine = np.flatnonzero(items["kind"] == "pristine")[
        np.unique(items["base"][items["kind"] == "pristine"], return_index=True)[1]
    ]
    share = nature(np.array(load_views(folder)[pristine, 0]))
    return Set(
        measured=torch.from_numpy(kept["measured"]),
        patterns=torch.from_numpy(kept["patterns"]),
        quality=quality(items["strength"], items["error"]),
        photo=items["photo"],
        base=items["base"],
        parent=items["parent"],
        kind=items["kind"],
        strength=items["strength"],
        nature=share[items["base"]],
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shards", type=int, default=1, help="processes")
    choice = parser.parse_args()
    measure(choice.folder, choice.shards)
