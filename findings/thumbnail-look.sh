#!/usr/bin/env bash
# Expected: Image.thumbnail of a JPEG photo gives the same pixels whether or not the photo was looked at
# before, such as for its brightness.
#
# Actual: of a photo whose pixels are not loaded yet, the JPEG decoder makes a smaller image (draft), and
# this is what is resized; of one that is loaded, all pixels are. The two differ by up to 7 levels of 255, in
# most values.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow==13.0.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import PIL
from PIL import Image

small = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
Image.fromarray(small).resize((800, 600), Image.Resampling.BICUBIC).save("photo.jpg", quality=95)
fresh, looked = Image.open("photo.jpg"), Image.open("photo.jpg")
mean = np.asarray(looked).mean()
for photo in (fresh, looked):
    photo.thumbnail((100, 100))
gap = np.abs(np.asarray(fresh).astype(int) - np.asarray(looked))
print("pillow", PIL.__version__, "mean", round(mean, 1))
print(f"thumbnails of {fresh.size}: {(gap > 0).mean():.0%} of the values differ, by up to {gap.max()} levels")
if fresh.size != looked.size or gap.max() < 4:
    raise SystemExit("changed")
PYTHON
