#!/usr/bin/env bash
# Expected: saving a photo as AVIF, with its metadata (`photo.save("photo.avif", exif=photo.getexif())`),
# changes a file and not the photo in memory.
#
# Actual: AVIF stores the orientation apart from the metadata, and Pillow takes it out of the very
# object that it was given, which is the photo's own. The AVIF file is right; whatever is made of the photo
# afterwards is not: saved again as JPEG it lies on its side, and `ImageOps.exif_transpose` no longer turns
# it. JPEG, PNG, WebP and TIFF leave the object alone.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow==13.0.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import PIL
from PIL import Image, ImageOps

exif = Image.Exif()
exif[274] = 6
Image.fromarray(np.zeros((32, 64, 3), np.uint8)).save("photo.jpg", exif=exif)


def afterwards(end: str) -> tuple[int | None, tuple[int, int], tuple[int, int]]:
    photo = Image.open("photo.jpg")
    photo.save(f"copy.{end}", exif=photo.getexif())
    orientation, upright = photo.getexif().get(274), ImageOps.exif_transpose(photo).size
    return orientation, upright, ImageOps.exif_transpose(Image.open(f"copy.{end}")).size


seen = {end: afterwards(end) for end in ("jpg", "png", "webp", "tif", "avif")}
print("Pillow", PIL.__version__)
for end, (orientation, upright, copy) in seen.items():
    print(f"after saving as {end}: orientation {orientation}, turned upright {upright}, the file upright {copy}")
kept = (6, (32, 64), (32, 64))
if seen.pop("avif") != (None, (64, 32), (32, 64)) or set(seen.values()) != {kept}:
    raise SystemExit("changed")
PYTHON
