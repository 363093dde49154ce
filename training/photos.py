"""The photographs: where they are, which set each belongs to, and how they become base images.

`photos.csv` is the committed list. It is made once by `python photos.py` and read ever after.
"""

import csv
import os
from pathlib import Path

import cv2
import numpy as np

LIST = Path(__file__).parent / "photos.csv"
SHARED = Path(os.environ.get("QDEBIAS_SHARED") or Path(__file__).parents[2] / "shared")
SEED = 2024
LICENCES = {
    "BSDS500": "research data set (Berkeley); photographs not redistributed",
    "lomiri-wallpapers": "CC-BY-4.0, CC-BY-SA-3.0/4.0 or CC0-1.0, by file",
    "lxqt-themes": "LGPL-2.1+",
    "mate-backgrounds": "GPL-2+",
    "plasma-workspace-wallpapers": "GPL-2+",
    "skimage": "BSD-3-Clause",
}
HELD_OUT = ("lomiri-wallpapers", "skimage")
GRAPHICS = ("Grey.jpg", "ColdRipple.jpg", "beam.png", "this-is-not-windows.jpg", "hubble_deep_field.jpg", "camera.png")


def listed(part: str) -> list[str]:
    """Return the paths, below the shared folder, of the "train", "validation" or "test" photographs."""
    with LIST.open(newline="") as file:
        return [row["path"] for row in csv.DictReader(file) if row["set"] == part]


def read(path: str) -> np.ndarray:
    """Return a listed photograph, (H, W, 3) RGB bytes."""
    image = cv2.imread(str(SHARED / path), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise FileNotFoundError(f"{SHARED / path}: set QDEBIAS_SHARED to the folder that holds photos/")
    return image


def bases(path: str, count: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Cut `count` pristine base images of at most 512 x 384 pixels from one photograph.

    Large photographs are first reduced to a random width of 560 to 1400 pixels, so that what is one photograph
    gives scenes of several scales, all of them sharp at pixel level.
    """
    photo = read(path)
    return [_base(photo, rng) for _ in range(count)]


def _base(photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    longest = max(photo.shape[:2])
    goal = longest * rng.uniform(0.72, 1) if longest < 700 else rng.uniform(560, min(1400, 0.8 * longest))
    if longest < 700 and rng.random() < 0.5:
        goal = longest
    size = [round(side * goal / longest) for side in photo.shape[1::-1]]
    small = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    height, width = (min(512, small.shape[0]), min(512, small.shape[1]))
    if height > 400 and width > 400:
        goals = (384, 512) if rng.random() < 0.7 else (512, 384)
        height, width = (min(goal, side) for goal, side in zip(goals, small.shape[:2], strict=True))
    top, left = (int(rng.integers(0, n - m + 1)) for n, m in zip(small.shape[:2], (height, width), strict=True))
    cut = small[top : top + height, left : left + width]
    return np.ascontiguousarray(cut[:, ::-1] if rng.random() < 0.5 else cut)


def whole(path: str) -> np.ndarray:
    """Return a photograph for evaluation: uncut, reduced to a longer side of 768 pixels where it is larger."""
    photo = read(path)
    longest = max(photo.shape[:2])
    if longest <= 768:
        return photo
    size = [round(side * 768 / longest) for side in photo.shape[1::-1]]
    return np.ascontiguousarray(cv2.resize(photo, size, interpolation=cv2.INTER_AREA))


def make_list() -> None:
    """Divide the photographs once, by file name and seed, and write the list."""
    found = sorted((SHARED / "photos").rglob("*.jpg")) + sorted((SHARED / "photos").rglob("*.png"))
    relative = [path.relative_to(SHARED).as_posix() for path in found if path.name not in GRAPHICS]
    free = [path for path in relative if path.split("/")[2] not in HELD_OUT]
    bsds = [path for path in free if "bsds500" in path]
    drawn = np.random.default_rng(SEED).permutation(bsds).tolist()
    other = np.random.default_rng(SEED).permutation([path for path in free if path not in bsds]).tolist()
    validation = {*drawn[:50], *other[:4]}
    test = {*drawn[50:100], *(path for path in relative if path not in free)}
    with LIST.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["path", "set", "source", "licence"])
        for path in relative:
            part = "test" if path in test else "validation" if path in validation else "train"
            source = "BSDS500" if "bsds500" in path else path.split("/")[2]
            writer.writerow([path, part, source, LICENCES[source]])


if __name__ == "__main__":
    make_list()
