#!/usr/bin/env bash
# Expected: a PFM image (floating-point numbers; HDR and depth) whose header gives the scale -2.0 has the
# same values in every reader.
#
# Actual: Pillow reads the sign, which is the byte order, and ignores the scale; OpenCV and FFmpeg
# (PyAV) divide by it. The same file is twice as bright in Pillow. With scale -1.0, as most programs write it,
# all agree.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow==13.0.0 opencv-python-headless==5.0.0.93 av==18.1.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import av
import cv2
import numpy as np
import PIL
from PIL import Image

values = np.linspace(0, 1, 256, dtype="<f4").reshape(16, 16)


def by_pyav(name: str) -> np.ndarray:
    with av.open(name) as file:
        return next(file.decode(video=0)).to_ndarray()


def largest(scale: float) -> dict[str, float]:
    with open("picture.pfm", "wb") as file:
        file.write(f"Pf\n16 16\n{scale}\n".encode() + values.tobytes())
    pictures = {
        "Pillow": np.asarray(Image.open("picture.pfm")),
        "OpenCV": cv2.imread("picture.pfm", cv2.IMREAD_UNCHANGED),
        "PyAV": by_pyav("picture.pfm"),
    }
    return {who: float(picture.max()) for who, picture in pictures.items()}


print("Pillow", PIL.__version__, "OpenCV", cv2.__version__, "av", av.__version__)
one, two = largest(-1.0), largest(-2.0)
print("largest value with scale -1.0:", one)
print("largest value with scale -2.0:", two)
if one != {"Pillow": 1, "OpenCV": 1, "PyAV": 1} or two != {"Pillow": 1, "OpenCV": 0.5, "PyAV": 0.5}:
    raise SystemExit("changed")
PYTHON
