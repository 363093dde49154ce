"""Measure what evaluation needs: images of a set, three severe copies of each photograph, and their conditions.

    python conditions.py validation WORK/validation

Writes `conditions.npz`. The images are those of `generate.py` (made again from the same seed); their conditions are
those of the preset `paper`, for pristine images of `released` too. All of it is independent of any model.
"""

import argparse
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import photos
import torch
from distortions import UNSEEN, coded
from fullref import error
from generate import SEED, evaluation_family
from PIL import Image

from qdebias import presets
from qdebias.backends.nano.identity import IdentityEncoder
from qdebias.backends.nano.statistics import statistics
from qdebias.backends.nano.views import views
from qdebias.method import Context

SEVERE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "severe-blur": lambda image: cv2.GaussianBlur(image, (0, 0), 5),
    "severe-jpeg": lambda image: coded(image, "JPEG", quality=4),
    "severe-downscale": lambda image: np.asarray(
        Image.fromarray(image)
        .resize([max(1, side // 6) for side in image.shape[1::-1]], Image.Resampling.BICUBIC)
        .resize(image.shape[1::-1], Image.Resampling.BICUBIC)
    ),
}


def encode(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the fixed part of the encoder: (statistics,) and (32, 32)."""
    with torch.inference_mode():
        pixels = torch.from_numpy(views(image)).float().unsqueeze(0) / 255
        return statistics(pixels)[0].numpy(), IdentityEncoder.pattern(pixels[:, 0])[0].numpy()


def chosen(family: list[tuple[np.ndarray, str, float, int]], every: int) -> list[tuple[np.ndarray, str, float]]:
    """Return the pristine image, each `every`-th of the others, and the severe copies."""
    kept = [family[0], *family[1::every]]
    base = family[0][0]
    return [row[:3] for row in kept] + [(make(base), name, 5.0) for name, make in SEVERE.items()]


def measure(job: tuple[str, int, str, int]) -> dict[str, np.ndarray]:
    """Measure one photograph's images and conditions; (rows, 9 images, ...), the last 4 zero where not released."""
    part, index, path, every = job
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    rng = np.random.default_rng([SEED, index, ("train", "validation", "test").index(part)])
    base = photos.whole(path)
    rows = chosen(evaluation_family(base, rng), every)
    table = []
    for image, kind, _ in rows:
        pictures = [image, *_conditions(image, "paper")]
        pictures += _conditions(image, "released") if kind == "pristine" else [image] * 4
        found = [encode(picture) for picture in (pictures if kind == "pristine" else pictures[:5])]
        table.append(found + [found[0]] * (9 - len(found)))
    return {
        "measured": np.array([[one for one, _ in row] for row in table], np.float32),
        "patterns": np.array([[one for _, one in row] for row in table], np.float32),
        "kind": np.array([kind for _, kind, _ in rows]),
        "strength": np.array([strength for _, _, strength in rows]),
        "error": np.array([error(base, image) for image, _, _ in rows]),
        "unseen": np.array([kind in UNSEEN for _, kind, _ in rows]),
        "photo": np.full(len(rows), index),
    }


def _conditions(image: np.ndarray, name: str) -> list[np.ndarray]:
    return [condition.image for condition in presets.get(name).method.plan(image, Context(seed=0)).conditions]


def main() -> None:
    """Measure one set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["validation", "test"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--every", type=int, default=3, help="take each n-th image of a photograph")
    parser.add_argument("--shards", type=int, default=1, help="processes")
    choice = parser.parse_args()
    choice.folder.mkdir(parents=True, exist_ok=True)
    jobs = [(choice.part, index, path, choice.every) for index, path in enumerate(photos.listed(choice.part))]
    with get_context("spawn").Pool(choice.shards) as pool:
        found = list(pool.imap(measure, jobs))
    np.savez(
        choice.folder / "conditions.npz", **{name: np.concatenate([one[name] for one in found]) for name in found[0]}
    )


if __name__ == "__main__":
    main()
