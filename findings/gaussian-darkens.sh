#!/usr/bin/env bash
# Expected: a blur leaves the mean brightness of an 8-bit image as it is, and a flat image altogether,
# up to rounding: OpenCV, Pillow and scikit-image do, and so does scipy.ndimage when it turns or zooms.
#
# Actual: scipy.ndimage's filters cut off what is behind the point instead of rounding, once for
# each axis: gaussian_filter darkens an image of bytes by one level on average. Of flat images of the 256
# levels, a box blur by convolve darkens 89. A blur that is compared with its source, for a score or as a
# degradation, is thus also a change of brightness. On floats nothing is lost.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet scipy==1.17.1 scikit-image==0.26.0 pillow==13.0.0 opencv-python-headless==5.0.0.93 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import cv2
import numpy as np
import PIL
import scipy
import skimage
from PIL import Image, ImageFilter
from scipy import ndimage
from skimage.filters import gaussian

picture = np.random.default_rng(0).integers(0, 256, (256, 256), np.uint8)
blurs = {
    "scipy.ndimage": lambda image: ndimage.gaussian_filter(image, 2),
    "scipy.ndimage on floats": lambda image: ndimage.gaussian_filter(image.astype(float), 2),
    "OpenCV": lambda image: cv2.GaussianBlur(image, (0, 0), 2),
    "Pillow": lambda image: np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(2))),
    "scikit-image": lambda image: gaussian(image, 2) * 255,
}
print("scipy", scipy.__version__, "opencv", cv2.__version__, "pillow", PIL.__version__, "skimage", skimage.__version__)
lost = {name: picture.mean() - blur(picture).mean() for name, blur in blurs.items()}
for name, levels in lost.items():
    print(f"{name}: the mean falls by {levels:.2f} levels of 255")
box = np.full((3, 3), 1 / 9)
flat = [level for level in range(256) if (ndimage.convolve(np.full((9, 9), level, np.uint8), box) != level).any()]
turned = [level for level in range(256) if (ndimage.zoom(np.full((9, 9), level, np.uint8), 1.5) != level).any()]
print(f"flat pictures that a box blur of scipy.ndimage darkens: {len(flat)} of 256; that its zoom changes: {len(turned)}")
if not 0.9 < lost.pop("scipy.ndimage") < 1.1 or max(map(abs, lost.values())) > 0.2 or len(flat) < 50 or turned:
    raise SystemExit("changed")
PYTHON
