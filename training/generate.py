"""Make the degraded copies of one set of photographs and keep the views that the model will look at.

    python generate.py train WORK/train        about 10 minutes on two cores (--shards 2)

A folder then holds `views.raw`, (images, 8, 3, 128, 128) bytes, and `items.npz`, one row per image.
"""

import argparse
from dataclasses import astuple, dataclass, fields
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import photos
from distortions import OWN, SEEN, UNSEEN, Rng
from fullref import error

from qdebias.backends.nano.views import COUNT, SIDE, views

SEED = 7
SINGLE, MIXED = 8, 2
STAGES = (
    ("gaussian_blur", "lens_blur", "motion_blur", "down_up"),
    ("darken", "brighten", "contrast_down", "contrast_up", "colour_cast", "vignette"),
    ("white_noise", "grain", "chroma_noise", "speckle"),
    ("painted", "sharpen"),
    ("jpeg", "jpeg2000", "webp", "posterise"),
)


@dataclass(frozen=True)
class Item:
    """One image of a set.

    Attributes:
        photo: Index of its photograph in the list of the set.
        base: Index of the pristine base image it was made from.
        kind: Distortion; "pristine", "mixed" (several stages), or the last one applied, for a copy.
        strength: 0 to 6; of a mixture, its strongest stage.
        error: Full-reference error against the base image.
        parent: Row of the image that this one is a copy of, more degraded; -1 where it is none.
    """

    photo: int
    base: int
    kind: str
    strength: float
    error: float
    parent: int


def mixed(image: np.ndarray, rng: Rng) -> tuple[np.ndarray, float]:
    """Two or three stages in the order in which a camera applies them."""
    chosen = sorted(rng.choice(len(STAGES), size=int(rng.integers(2, 4)), replace=False))
    strengths = rng.uniform(0.3, 4.5, len(chosen))
    for stage, strength in zip(chosen, strengths, strict=True):
        image = SEEN[str(rng.choice(STAGES[stage]))](image, float(strength), rng)
    return image, float(min(6, strengths.max() + 0.25 * (strengths.sum() - strengths.max())))


def training_family(base: np.ndarray, rng: Rng) -> list[tuple[np.ndarray, str, float, int]]:
    """Return (image, kind, strength, parent): the base, its distortions, and a worse copy of each."""
    family: list[tuple[np.ndarray, str, float, int]] = [(base, "pristine", 0.0, -1)]
    for kind in rng.choice(list(SEEN), SINGLE, replace=False).tolist():
        strength = float(rng.uniform(0.4, 5.6))
        family.append((SEEN[kind](base, strength, rng), kind, strength, -1))
    for _ in range(MIXED):
        image, strength = mixed(base, rng)
        family.append((image, "mixed", strength, -1))
    for parent, (image, _, before, _) in enumerate(list(family)):
        table = OWN if rng.random() < 0.5 else SEEN
        kind, strength = str(rng.choice(list(table))), float(rng.uniform(1.5, 5.5))
        family.append((table[kind](image, strength, rng), kind, max(before, strength), parent))
    return family


def evaluation_family(base: np.ndarray, rng: Rng) -> list[tuple[np.ndarray, str, float, int]]:
    """Return the pristine image, 13 seen and 7 unseen kinds at two strengths each, and two mixtures."""
    family: list[tuple[np.ndarray, str, float, int]] = [(base, "pristine", 0.0, -1)]
    seen = rng.choice(list(SEEN), 13, replace=False).tolist()
    for table, kinds in ((SEEN, seen), (UNSEEN, list(UNSEEN))):
        for kind in kinds:
            for strength in (float(rng.integers(1, 3)), float(rng.integers(3, 6))):
                family.append((table[kind](base, strength, rng), kind, strength, -1))
    for _ in range(2):
        image, strength = mixed(base, rng)
        family.append((image, "mixed", strength, -1))
    return family


def make(part: str, index: int, path: str) -> tuple[np.ndarray, list[Item]]:
    """Return the views and rows of one photograph; parents are counted from the photograph's first row."""
    cv2.setNumThreads(1)
    rng = np.random.default_rng([SEED, index, ("train", "validation", "test").index(part)])
    count = 2 if "bsds500" in path else 10
    found = photos.bases(path, count, rng) if part == "train" else [photos.whole(path)]
    cuts, items = [], []
    for number, base in enumerate(found):
        first = len(items)
        family = training_family(base, rng) if part == "train" else evaluation_family(base, rng)
        for image, kind, strength, parent in family:
            cuts.append(views(image))
            wrong = error(base, image)
            items.append(Item(index, number, kind, strength, wrong, parent + first if parent >= 0 else -1))
    return np.stack(cuts), items


def main() -> None:
    """Make one set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["train", "validation", "test"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shards", type=int, default=1, help="processes")
    choice = parser.parse_args()
    choice.folder.mkdir(parents=True, exist_ok=True)
    jobs = [(choice.part, index, path) for index, path in enumerate(photos.listed(choice.part))]
    rows: list[Item] = []
    with get_context("spawn").Pool(choice.shards) as pool, (choice.folder / "views.raw").open("wb") as raw:
        for cuts, items in pool.imap(_make, jobs):
            first = len(rows)
            bases = rows[-1].base + 1 if rows else 0
            for item in items:
                parent = item.parent + first if item.parent >= 0 else -1
                rows.append(Item(item.photo, item.base + bases, item.kind, item.strength, item.error, parent))
            raw.write(cuts.tobytes())
            print(f"{len(rows)} images, photograph {items[0].photo + 1} of {len(jobs)}", end="\r", flush=True)
    columns = zip(*map(astuple, rows), strict=True)
    np.savez(choice.folder / "items.npz", **{f.name: np.array(c) for f, c in zip(fields(Item), columns, strict=True)})
    print()


def load_views(folder: Path) -> np.ndarray:
    """Return the views of a set without reading them, (images, 8, 3, 128, 128) bytes."""
    return np.memmap(folder / "views.raw", np.uint8, "r").reshape(-1, COUNT, 3, SIDE, SIDE)


def _make(job: tuple[str, int, str]) -> tuple[np.ndarray, list[Item]]:
    return make(*job)


if __name__ == "__main__":
    main()
