"""Make the degraded copies of the training photographs and measure them.

    python generate.py WORK/train        about 14 minutes on one core (--shards: processes)

Writes `items.npz`, one row per image: see `Set`. The images themselves are not kept.
"""

import argparse
from dataclasses import dataclass, fields
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import photos
import torch
from distortions import OWN, SEEN, UNSEEN, Rng
from targets import KINDS, quality

from qdebias.backends.nano.modeling import IdentityEncoder
from qdebias.backends.nano.statistics import pixels_of, statistics

SEED = 7
PARTS = ("train", "validation", "test")
CAMERA, SINGLE = 8, 3
DETAIL = ("gaussian_blur", "lens_blur", "motion_blur", "down_up", "painted")
NOISE = ("white_noise", "grain", "grain", "chroma_noise")
CODED = ("jpeg", "jpeg", "jpeg", "webp", "jpeg2000")


class Copy(NamedTuple):
    """One image of a family.

    Attributes:
        image: (H, W, 3) RGB bytes.
        stages: Strength, 0 to 6, of each distortion it went through.
        parent: Place in the family of the image that this one is a copy of, more degraded; -1 where it is none.
        kind: Its only distortion; "pristine", "mixed" (several stages), or the last one applied, for a copy of a copy.
    """

    image: np.ndarray
    stages: dict[str, float]
    parent: int
    kind: str


@dataclass(frozen=True)
class Set:
    """A generated set.

    Attributes:
        measured: (n, statistics) float32.
        patterns: (n, 32, 32) float32.
        strengths: (n, kinds) 0 to 6, in the order of `targets.KINDS`.
        photo: (n,) index of the photograph in the list of the set.
        base: (n,) index of the pristine base image it was made from.
        parent: (n,) row of the image that this one is a worse copy of; -1 where it is none.
        kind: (n,) names, see `Copy`.
        nature: (n,) share of green and blue in the pristine base image, in [0, 1]; what a planted bias follows.
    """

    measured: torch.Tensor
    patterns: torch.Tensor
    strengths: np.ndarray
    photo: np.ndarray
    base: np.ndarray
    parent: np.ndarray
    kind: np.ndarray
    nature: np.ndarray

    @property
    def quality(self) -> np.ndarray:
        """(n,) synthesis target in [0, 1]."""
        return quality(self.strengths)


def encode(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the fixed part of the encoder: (statistics,) and (32, 32)."""
    with torch.inference_mode():
        pixels = torch.from_numpy(pixels_of(image))
        return statistics(pixels)[0].numpy(), IdentityEncoder.pattern(pixels[:, 0])[0].numpy()


def camera(base: np.ndarray, rng: Rng) -> Copy:
    """Return a copy with the faults of photographs: mostly lost detail, some tone and noise, mild compression."""
    stages: dict[str, float] = {}
    if rng.random() < 0.65:
        deviation = rng.exponential(1.3)
        stages[str(rng.choice(DETAIL))] = float(np.interp(deviation, (0.2, 0.8, 1.4, 2.2, 3.4, 5.2, 7), range(7)))
    elif rng.random() < 0.3:
        stages["shallow_focus"] = float(rng.uniform(1, 5))
    if rng.random() < 0.3:
        stages[str(rng.choice(["darken", "brighten"]))] = float(min(5, rng.exponential(1.2)))
    if rng.random() < 0.25:
        stages["contrast_down"] = float(rng.uniform(0, 3))
    if rng.random() < 0.35:
        noise = rng.exponential(8) / 255
        stages[str(rng.choice(NOISE))] = float(np.interp(noise, (0, 0.022, 0.045, 0.08, 0.13, 0.21, 0.3), range(7)))
    if rng.random() < 0.6:
        stages[str(rng.choice(CODED))] = float(min(4, rng.exponential(0.6)))
    image = base
    for kind, strength in stages.items():
        image = SEEN[kind](image, strength, rng)
    return Copy(image, stages, -1, "mixed" if stages else "pristine")


def training_family(base: np.ndarray, rng: Rng) -> list[Copy]:
    """Return the base, copies with the faults of photographs, single distortions, and worse copies of half of them."""
    family = [Copy(base, {}, -1, "pristine"), *(camera(base, rng) for _ in range(CAMERA))]
    for kind in rng.choice(list(SEEN), SINGLE, replace=False).tolist():
        strength = float(rng.uniform(0.4, 5.6))
        family.append(Copy(SEEN[kind](base, strength, rng), {kind: strength}, -1, kind))
    for parent in range(0, len(family), 2):
        image, stages, _, _ = family[parent]
        table = OWN if rng.random() < 0.6 else SEEN
        kind, strength = str(rng.choice(list(table))), float(rng.uniform(1.5, 5.5))
        worst = max(strength, stages.get(kind, 0))
        family.append(Copy(table[kind](image, strength, rng), {**stages, kind: worst}, parent, kind))
    return family


def evaluation_family(base: np.ndarray, rng: Rng) -> list[Copy]:
    """Return the pristine image, 13 seen and 7 unseen kinds at two strengths each, and two mixtures."""
    seen = rng.choice(list(SEEN), 13, replace=False).tolist()
    family = [Copy(base, {}, -1, "pristine")]
    for kind in (*seen, *UNSEEN):
        for strength in (float(rng.integers(1, 3)), float(rng.integers(3, 6))):
            family.append(Copy((SEEN | UNSEEN)[kind](base, strength, rng), {kind: strength}, -1, kind))
    return [*family, camera(base, rng), camera(base, rng)]


def families(part: str, index: int, path: str) -> list[list[Copy]]:
    """Return the families of one photograph's base images."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    rng = np.random.default_rng([SEED, index, PARTS.index(part)])
    if part == "train":
        found = photos.bases(path, 1 if "bsds500" in path else 5, rng)
        return [training_family(base, rng) for base in found]
    return [evaluation_family(photos.whole(path), rng)]


def measure(job: tuple[int, str]) -> list[dict[str, np.ndarray]]:
    """Measure the images of one photograph, one table a base image; parents are counted within the table."""
    tables = []
    for family in families("train", *job):
        measured, patterns = zip(*(encode(copy.image) for copy in family), strict=True)
        tables.append(
            {
                "measured": np.array(measured),
                "patterns": np.array(patterns),
                "strengths": np.array([[copy.stages.get(kind, 0) for kind in KINDS] for copy in family]),
                "photo": np.full(len(family), job[0]),
                "parent": np.array([copy.parent for copy in family]),
                "kind": np.array([copy.kind for copy in family]),
                "nature": np.full(len(family), nature(family[0].image)),
            }
        )
    return tables


def nature(image: np.ndarray) -> float:
    """Share of pixels, (H, W, 3) bytes, in which green or blue is the strongest colour."""
    red, green, blue = np.moveaxis(image.astype(np.int16), 2, 0)
    return float((np.maximum(green, blue) > red + 4).mean())


def load(folder: Path) -> Set:
    """Read a generated set."""
    kept = np.load(folder / "items.npz")
    columns = {field.name: kept[field.name] for field in fields(Set)}
    tensors = {name: torch.from_numpy(columns.pop(name)) for name in ("measured", "patterns")}
    return Set(**tensors, **columns)


def main() -> None:
    """Make the training set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shards", type=int, default=1, help="processes")
    choice = parser.parse_args()
    choice.folder.mkdir(parents=True, exist_ok=True)
    jobs = list(enumerate(photos.listed("train")))
    tables: list[dict[str, np.ndarray]] = []
    rows = 0
    with get_context("spawn").Pool(choice.shards) as pool:
        for found in pool.imap(measure, jobs):
            for table in found:
                table["base"] = np.full(len(table["photo"]), len(tables))
                table["parent"] = np.where(table["parent"] >= 0, table["parent"] + rows, -1)
                rows += len(table["photo"])
                tables.append(table)
            print(f"{rows} images, photograph {found[0]['photo'][0] + 1} of {len(jobs)}", flush=True)
    np.savez(choice.folder / "items.npz", **{name: np.concatenate([one[name] for one in tables]) for name in tables[0]})


if __name__ == "__main__":
    main()
