#!/usr/bin/env bash
# Expected: OpenCV reads a TIFF that its camera marked as lying on its side (Orientation 5 to 8) as it
# reads a JPEG with the same mark: upright.
#
# Actual: it does so for square images only. For any other shape the turned image no longer fits the
# array set aside for it; `imread` writes an error to the log and returns None, under every flag. Orientation
# 2 to 4, which keep the shape, are read and turned.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet opencv-python-headless==5.0.0.93 tifffile==2026.3.3 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import cv2
import numpy as np
import tifffile

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
noise = np.random.default_rng(0).integers(0, 256, (32, 64, 3), np.uint8)


def read(picture: np.ndarray, orientation: int) -> np.ndarray | None:
    tag = (274, "H", 1, orientation, True)
    tifffile.imwrite("turned.tif", np.ascontiguousarray(picture), photometric="rgb", extratags=[tag])
    return cv2.imread("turned.tif")


wide = {orientation: read(noise, orientation) is not None for orientation in range(1, 9)}
square = {orientation: read(noise[:, :32], orientation) is not None for orientation in range(1, 9)}
turned = read(noise[:, :32], 6)
print("opencv", cv2.__version__)
print("64 x 32, orientation and whether it is read:", wide)
print("32 x 32, orientation and whether it is read:", square)
if [key for key, is_read in wide.items() if not is_read] != [5, 6, 7, 8] or not all(square.values()):
    raise SystemExit("changed: which are read")
if not np.array_equal(turned[..., ::-1], np.rot90(noise[:, :32], -1)):
    raise SystemExit("changed: square pictures are no longer turned")
PYTHON
