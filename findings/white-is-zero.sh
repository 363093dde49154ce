#!/usr/bin/env bash
# Expected: a reader either turns grey TIFFs whose white is 0 (WhiteIsZero, as scanners and X-ray machines
# write them) the right way round or leaves them as stored, whatever the bit depth and the flag.
#
# Actual: Pillow turns 8 bits round and leaves 16 bits a negative. OpenCV turns 8 bits round even under
# IMREAD_UNCHANGED; of one 16-bit file, IMREAD_COLOR and IMREAD_GRAYSCALE give the image, IMREAD_ANYDEPTH
# and IMREAD_UNCHANGED its negative. tifffile turns neither, libvips both.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow==13.0.0 opencv-python-headless==5.0.0.93 tifffile==2026.3.3 pyvips==3.2.0 pyvips-binary==8.18.7 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import cv2
import numpy as np
import PIL
import pyvips
import tifffile
from PIL import Image

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
dark = 40
tifffile.imwrite("8.tif", np.full((16, 16), 255 - dark, np.uint8), photometric="miniswhite")
tifffile.imwrite("16.tif", np.full((16, 16), 65535 - dark * 257, np.uint16), photometric="miniswhite")
flags = ("IMREAD_COLOR", "IMREAD_GRAYSCALE", "IMREAD_ANYDEPTH", "IMREAD_UNCHANGED")
readers = {
    "Pillow": lambda name: np.asarray(Image.open(name)),
    "tifffile": tifffile.imread,
    "libvips": lambda name: pyvips.Image.new_from_file(name).numpy(),
    **{f"OpenCV {flag}": lambda name, flag=flag: cv2.imread(name, getattr(cv2, flag)) for flag in flags},
}


def grey(reader: object, name: str) -> int:
    picture = reader(name)
    return int(picture.flat[0]) // (257 if picture.dtype == np.uint16 else 1)


seen = {who: (grey(reader, "8.tif"), grey(reader, "16.tif")) for who, reader in readers.items()}
print("Pillow", PIL.__version__, "OpenCV", cv2.__version__, "tifffile", tifffile.__version__, "pyvips", pyvips.__version__)
print("a dark grey of 40 of 255, from 8 bits and from 16")
for who, greys in seen.items():
    print(f"{who}: {greys}")
negative = 255 - dark
if seen != {
    "Pillow": (dark, negative),
    "tifffile": (negative, negative),
    "libvips": (dark, dark),
    "OpenCV IMREAD_COLOR": (dark, dark),
    "OpenCV IMREAD_GRAYSCALE": (dark, dark),
    "OpenCV IMREAD_ANYDEPTH": (dark, negative),
    "OpenCV IMREAD_UNCHANGED": (dark, negative),
}:
    raise SystemExit("changed")
PYTHON
