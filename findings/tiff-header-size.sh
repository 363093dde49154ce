#!/usr/bin/env bash
# Expected: for a photo on its side (EXIF orientation 6), Pillow's `size` and `getexif()` after
# `Image.open` go together the same way in all formats, so that a program can tell the size as shown from the
# header, without decoding.
#
# Actual: of a TIFF, `size` is turned already and the orientation still says 6, until the pixels are
# loaded; then the orientation is gone. Of JPEG, PNG, WebP and AVIF `size` is as stored. A program that swaps
# width and height for orientations 5 to 8 is right for all but TIFF, where it turns what is turned.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow==13.0.0 tifffile==2026.3.3 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import PIL
import tifffile
from PIL import Image

exif = Image.Exif()
exif[274] = 6
pixels = np.zeros((32, 64, 3), np.uint8)
for end in ("jpg", "png", "webp", "avif"):
    Image.fromarray(pixels).save(f"photo.{end}", exif=exif.tobytes())
tifffile.imwrite("photo.tif", pixels, photometric="rgb", extratags=[(274, "H", 1, 6, True)])


def looked_at(name: str) -> tuple:
    photo = Image.open(name)
    before = photo.size, photo.getexif().get(274)
    photo.load()
    return (*before, photo.size, photo.getexif().get(274))


seen = {end: looked_at(f"photo.{end}") for end in ("jpg", "png", "webp", "avif", "tif")}
print("Pillow", PIL.__version__)
for end, (size, orientation, loaded_size, loaded_orientation) in seen.items():
    print(f"{end}: opened {size}, orientation {orientation}; loaded {loaded_size}, orientation {loaded_orientation}")
if seen.pop("tif") != ((32, 64), 6, (32, 64), None) or set(seen.values()) != {((64, 32), 6, (64, 32), 6)}:
    raise SystemExit("changed")
PYTHON
