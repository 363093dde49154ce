#!/usr/bin/env bash
# Expected: `Dataset.map` with a function that only reads the width of each image and returns one new
# number leaves the images as they are.
#
# Actual: images that a dataset holds as JPEG, WebP or AVIF bytes are compressed a second time, at
# Pillow's own quality, because looking at the image decodes it and the decoded image is written back. A
# function that never looks leaves the bytes alone, as does `filter`, and so do images that are held as
# paths. `Image(decode=False)` avoids it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet datasets==5.2.0 pillow==13.0.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import io

import datasets
import numpy as np
from datasets import Dataset, Features, Image
from PIL import Image as Pillow

datasets.disable_progress_bars()
noise = np.random.default_rng(0).integers(0, 256, (32, 64, 3), np.uint8)
file = io.BytesIO()
Pillow.fromarray(noise).save(file, "JPEG", quality=95)
held = Dataset.from_dict(
    {"image": [{"bytes": file.getvalue(), "path": None}]}, features=Features({"image": Image()})
)


def stored(dataset: Dataset) -> bytes:
    return dataset.cast_column("image", Image(decode=False))[0]["image"]["bytes"]


def levels_off(dataset: Dataset) -> int:
    before, after = (np.asarray(rows[0]["image"]).astype(int) for rows in (held, dataset))
    return int(abs(before - after).max())


looked = held.map(lambda row: {"width": row["image"].width})
not_looked = held.map(lambda row: {"width": 64})
undecoded = held.cast_column("image", Image(decode=False)).map(lambda row: {"size": len(row["image"]["bytes"])})
same = {
    "the function reads the width": stored(looked) == file.getvalue(),
    "the function does not look": stored(not_looked) == file.getvalue(),
    "filter looks": stored(held.filter(lambda row: row["image"].width > 1)) == file.getvalue(),
    "the column is undecoded": stored(undecoded) == file.getvalue(),
}
print("datasets", datasets.__version__)
for case, kept in same.items():
    print(f"{case}: the bytes are {'kept' if kept else 'others'}")
print("levels between the pictures:", levels_off(looked))
if list(same.values()) != [False, True, True, True] or levels_off(looked) < 30:
    raise SystemExit("changed")
PYTHON
