#!/usr/bin/env bash
# Expected: a phone's HDR photo (Ultra HDR: a JPEG with a gain map behind it) opens in Pillow as one JPEG
# image.
#
# Actual: Pillow says that it is an MPO with two frames. Code that walks through frames takes the gain
# map, a small grey image that no viewer shows, for a second photo; code that allows "JPEG" by Pillow's word
# refuses the photo. Saving it under a name ending in .jpg keeps the first frame and drops the gain map
# silently, so its bright parts are no longer brighter than white.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet imagecodecs==2026.3.6 pillow==13.0.0 opencv-python-headless==5.0.0.93 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import imagecodecs
import numpy as np
import PIL
from PIL import Image

bright = np.ones((64, 64, 4), np.float16)
bright[:32, :, :3] = 0.25
bright[32:, :, :3] = 4
with open("hdr.jpg", "wb") as file:
    file.write(imagecodecs.ultrahdr_encode(bright))
photo = Image.open("hdr.jpg")
frames = getattr(photo, "n_frames", 1)
photo.seek(frames - 1)
last = np.asarray(photo.convert("RGB"))
photo.seek(0)
photo.save("again.jpg")
with open("hdr.jpg", "rb") as file:
    peak = float(imagecodecs.ultrahdr_decode(file.read())[..., :3].max())
again = Image.open("again.jpg")
print("Pillow", PIL.__version__, "imagecodecs", imagecodecs.__version__)
print("Pillow's format:", photo.format, "frames:", frames, "size:", photo.size, "of the last frame:", last.shape[1::-1])
print("brightest, as HDR:", round(peak, 2), "| saved again:", again.format, getattr(again, "n_frames", 1), "frame")
if (photo.format, frames, again.format, getattr(again, "n_frames", 1)) != ("MPO", 2, "JPEG", 1) or peak < 3.5:
    raise SystemExit("changed")
PYTHON
