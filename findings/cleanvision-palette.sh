#!/usr/bin/env bash
# Expected: CleanVision, which checks folders of images for dark ones and for exact duplicates, judges a picture by
# its colours, however its file stores them.
#
# Actual: a PNG or GIF with a palette is judged by its indices into the palette. A light blue picture and a light
# yellow one, which have the same indices, are called dark, and exact duplicates of each other; deleting one of the two
# loses a picture. The same pictures stored as RGB are neither.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet cleanvision==0.3.7 imagehash==4.3.2 datasets==5.2.0 pillow==13.0.0 numpy==2.4.6
cd "$folder"
mkdir pictures
"$folder/venv/bin/python" - 2>/dev/null <<'PYTHON'
from importlib.metadata import version
from pathlib import Path

import numpy as np
from cleanvision import Imagelab
from PIL import Image

indices = np.asarray(Image.radial_gradient("L").resize((160, 128))) // 8
palettes = {
    "blue": [(200 - index, 220, 255) for index in range(32)],
    "yellow": [(255, 230 - index, 160 - 3 * index) for index in range(32)],
}
for name, palette in palettes.items():
    picture = Image.fromarray(indices, "P")
    picture.putpalette([level for colour in palette for level in colour])
    picture.save(f"pictures/{name}-palette.png")
    picture.convert("RGB").save(f"pictures/{name}-rgb.png")
lab = Imagelab(data_path="pictures")
lab.find_issues({"dark": {}, "exact_duplicates": {}}, verbose=False)
dark = sorted(Path(path).stem for path, is_dark in lab.issues["is_dark_issue"].items() if is_dark)
sets = [sorted(Path(path).stem for path in paths) for paths in lab.info["exact_duplicates"]["sets"]]
print("cleanvision", version("cleanvision"))
print("dark:", dark, "| exact duplicates:", sets)
if dark != ["blue-palette", "yellow-palette"] or sets != [["blue-palette", "yellow-palette"]]:
    raise SystemExit("changed")
PYTHON
