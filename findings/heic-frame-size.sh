#!/usr/bin/env bash
# Expected: PyAV, which opens HEIC photos without any setting, gives a frame of the photo's width and
# height.
#
# Actual: it gives the frame as it was coded. HEIC codes even numbers of rows and columns and at least
# 64 x 64, and says in a crop box what of it is the photo; the crop is not applied, nor reported as width and
# height. A photo of 641 x 481 becomes 642 x 482 with an invented row and column, one of 64 x 32 becomes 64 x
# 64. Pillow (pillow-heif) crops. AVIF of the same sizes comes out right.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet av==18.1.0 pillow-heif==1.8.1 pillow==13.0.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import av
import numpy as np
import pillow_heif
from PIL import Image

pillow_heif.register_heif_opener()


def sizes(width: int, height: int, end: str) -> tuple[tuple[int, int], tuple[int, int]]:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(noise).save(f"photo.{end}")
    with av.open(f"photo.{end}") as file:
        frame = next(file.decode(video=0))
    return (frame.width, frame.height), Image.open(f"photo.{end}").size


print("av", av.__version__, "pillow-heif", pillow_heif.__version__)
seen = {}
for size in ((1000, 700), (641, 481), (64, 32)):
    seen[size] = sizes(*size, "heic")
    print(size, "as HEIC: PyAV", seen[size][0], "Pillow", seen[size][1], "| as AVIF: PyAV", sizes(*size, "avif")[0])
    if sizes(*size, "avif")[0] != size:
        raise SystemExit("changed: AVIF")
if seen != {
    (1000, 700): ((1000, 700), (1000, 700)),
    (641, 481): ((642, 482), (641, 481)),
    (64, 32): ((64, 64), (64, 32)),
}:
    raise SystemExit("changed")
PYTHON
