"""Measure what evaluation needs: images of a set, three severe copies of each photograph, and their conditions.

    python conditions.py validation WORK/validation

Writes `conditions.npz`. The images are those of `generate.py` (made again from the same seed); their conditions are
those of the preset `paper`. All of it is independent of any model.
"""

import argparse
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import photos
from distortions import UNSEEN, coded
from generate import PARTS, Copy, encode, families
from PIL import Image
from targets import KINDS

from qdebias import presets
from qdebias.methods.method import Context

SEVERE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "severe-blur": lambda image: cv2.GaussianBlur(image, (0, 0), 5),
    "severe-jpeg": lambda image: coded(image, "JPEG", quality=4),
    "severe-downscale": lambda image: np.asarray(
        Image.fromarray(image)
        .resize([max(1, side // 6) for side in image.shape[1::-1]], Image.Resampling.BICUBIC)
        .resize(image.shape[1::-1], Image.Resampling.BICUBIC)
    ),
}


def chosen(family: list[Copy], every: int) -> list[Copy]:
    """Return the pristine image, each `every`-th of the others, and the severe copies."""
    base = family[0].image
    return [family[0], *family[1::every], *(Copy(make(base), {}, -1, name) for name, make in SEVERE.items())]


def measure(job: tuple[str, int, str, int]) -> dict[str, np.ndarray]:
    """Measure one photograph's images and their conditions, (rows, 5 images, ...)."""
    *photograph, every = job
    (family,) = families(*photograph)
    rows = chosen(family, every)
    table = [[encode(picture) for picture in (copy.image, *_conditions(copy.image))] for copy in rows]
    return {
        "measured": np.array([[one for one, _ in row] for row in table], np.float32),
        "patterns": np.array([[one for _, one in row] for row in table], np.float32),
        "kind": np.array([copy.kind for copy in rows]),
        "strengths": np.array([[copy.stages.get(kind, 0) for kind in KINDS] for copy in rows]),
        "unseen": np.array([copy.kind in UNSEEN for copy in rows]),
        "photo": np.full(len(rows), job[1]),
    }


def _conditions(image: np.ndarray) -> list[np.ndarray]:
    return [condition.image for condition in presets.get("paper").method.plan(image, Context(seed=0)).conditions]


def main() -> None:
    """Measure one set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=PARTS[1:])
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--every", type=int, default=3, help="take each n-th image of a photograph (odd: strengths alternate)"
    )
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
