"""How well `qdebias burst` groups photographs and finds the undamaged one, on groups made from real photographs.

    python benchmarks/burst.py data/photos --scenes 60 --model nano

Of each scene there are three files: two that are cropped elsewhere (at least 90 % of either side), of which one is
exposed wrong by 0.7 to 1.5 stops and one blurred (sigma 1 to 3 pixels), and one cropped alone, the undamaged one.
Prints the share of scenes whose three files, and no others, are one group, how many groups hold files of different
scenes, and the share of scenes of which the undamaged file is chosen: by comparison and by score. Of scenes whose files
lie in several groups nothing counts as chosen right.
"""

import argparse
import csv
import tempfile
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from typer.testing import CliRunner

from qdebias.cli.app import app
from qdebias.image import RgbImage, load_image
from qdebias.inputs import find_inputs


def main() -> None:
    """Make the photographs, and run the command by comparison and by score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--scenes", type=int, default=60)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    files = find_inputs([str(chosen.photos)]).paths
    rng = np.random.default_rng(chosen.seed)
    scenes = sorted(rng.choice(len(files), size=chosen.scenes, replace=False).tolist())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "photos"
        folder.mkdir()
        for number, scene in enumerate(scenes):
            for kind, pixels in shots(load_image(files[scene]), rng).items():
                Image.fromarray(pixels).save(folder / f"{number:03}-{kind}.jpg", quality=95)
        for by in ("comparison", "score"):
            tell(folder, by, chosen.model, Path(name) / f"{by}.csv", chosen.scenes)


def shots(pixels: RgbImage, rng: np.random.Generator) -> dict[str, RgbImage]:
    """Return three shots of a scene: undamaged, exposed wrong, and blurred."""
    light = (cropped(pixels, rng) / 255) ** 2.2 * 2 ** (rng.choice([-1, 1]) * rng.uniform(0.7, 1.5))
    exposed = np.round(255 * np.clip(light, 0, 1) ** (1 / 2.2)).astype(np.uint8)
    blurred = cv2.GaussianBlur(cropped(pixels, rng), (0, 0), rng.uniform(1, 3))
    return {"undamaged": cropped(pixels, rng), "exposed": exposed, "blurred": np.asarray(blurred, dtype=np.uint8)}


def cropped(pixels: RgbImage, rng: np.random.Generator) -> RgbImage:
    """Return a crop of at least 90 % of either side."""
    height, width = (round(side * rng.uniform(0.9, 1)) for side in pixels.shape[:2])
    top, left = rng.integers(pixels.shape[0] - height + 1), rng.integers(pixels.shape[1] - width + 1)
    return pixels[top : top + height, left : left + width]


def tell(folder: Path, by: str, model: str, out: Path, scenes: int) -> None:
    """Run the command and print how right it is."""
    done = CliRunner().invoke(app, ["burst", str(folder), "--by", by, "--model", model, "--out", str(out)])
    if done.exit_code:
        raise SystemExit(done.output)
    groups, kept = defaultdict(set), defaultdict(set)
    with out.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            scene, kind = Path(row["path"]).stem.split("-")
            groups[row["group"]].add((scene, kind))
            if row["verdict"] == "kept":
                kept[row["group"]].add(kind)
    of_scenes = {group: {scene for scene, _ in members} for group, members in groups.items()}
    right = [group for group, members in groups.items() if len(members) == 3 and len(of_scenes[group]) == 1]
    false = sum(len(members) > 1 for members in of_scenes.values())
    chosen = {kind: sum(kept[group] == {kind} for group in right) for kind in ("undamaged", "exposed", "blurred")}
    print(f"by {by}: grouped right {len(right) / scenes:.1%}, groups of different scenes {false}, chosen: {chosen}")


if __name__ == "__main__":
    main()
