#!/usr/bin/env bash
# Expected: load_dataset("imagefolder") over a folder of three images gives three rows; with a
# metadata.csv that lists one of them, three rows of which two have no score, or an error.
#
# Actual: the images that metadata.csv does not list are left out silently, and the dataset is
# one row long.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet datasets==5.2.0 pillow==13.0.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import pathlib

import datasets
from PIL import Image

datasets.disable_progress_bars()


def rows(folder: str, names: tuple[str, ...], metadata: str | None = None) -> dict[str, int]:
    path = pathlib.Path(folder)
    path.mkdir()
    for name in names:
        Image.new("RGB", (8, 8)).save(path / name)
    if metadata:
        (path / "metadata.csv").write_text(metadata)
    loaded = datasets.load_dataset("imagefolder", data_dir=folder, cache_dir="cache")
    return {split: len(part) for split, part in loaded.items()}


seen = {
    "three pictures": rows("plain", ("a.png", "b.png", "c.png")),
    "metadata.csv lists one of three": rows("listed", ("a.png", "b.png", "c.png"), "file_name,mos\na.png,3.5\n"),
}
print("datasets", datasets.__version__)
for case, counts in seen.items():
    print(f"{case}: {counts}")
if list(seen.values()) != [{"train": 3}, {"train": 1}]:
    raise SystemExit("changed")
PYTHON
