#!/usr/bin/env bash
# Expected: a JPEG photo that was opened with Pillow and not touched is stored by LitData the same way
# wherever it came from, as its bytes.
#
# Actual: it is if it was opened by its path. The same photo opened from memory (out of a zip, a
# download, a column of another dataset) is compressed a second time, at Pillow's own quality, and its EXIF
# orientation is lost, so that a photo that the camera held on its side is stored lying on its side.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet litdata==0.2.76 torch==2.13.0 pillow==13.0.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version
from io import BytesIO
from pathlib import Path

import numpy as np
from litdata.streaming.serializers import JPEGSerializer
from PIL import Image, ImageOps

print("litdata", version("litdata"), "pillow", version("pillow"))
exif = Image.Exif()
exif[0x0112] = 6
pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8).repeat(8, axis=0).repeat(8, axis=1)
Image.fromarray(pixels).save("photo.jpg", quality=95, exif=exif.tobytes())
data = Path("photo.jpg").read_bytes()
seen = {}
for name, source in (("path", "photo.jpg"), ("memory", BytesIO(data))):
    stored, _ = JPEGSerializer().serialize(Image.open(source))
    photo = Image.open(BytesIO(stored))
    seen[name] = stored == data, photo.getexif().get(0x0112), ImageOps.exif_transpose(photo).size
    print(f"opened from {name}: {len(stored)} bytes, equal {seen[name][0]}, orientation {seen[name][1]}, shown {seen[name][2]}")
if seen != {"path": (True, 6, (48, 64)), "memory": (False, None, (64, 48))}:
    raise SystemExit("changed")
PYTHON
