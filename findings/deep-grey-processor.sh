#!/usr/bin/env bash
# Expected: an image processor of transformers takes a grey image of 16 bits (a scan, an X-ray, a depth
# map) as a viewer shows it, mid grey as mid grey, or refuses it.
#
# Actual: its conversion to RGB is Pillow's, which cuts off at 255 instead of taking the upper bits:
# everything from the lowest 256th part of the range upwards is white, and the model sees a white page. Of a
# image of floating-point numbers from 0 to 1 everything becomes 0 or 1 of 255: black.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet transformers==5.24.0 pillow==13.0.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import transformers
from PIL import Image
from transformers import CLIPImageProcessorPil

process = CLIPImageProcessorPil(do_resize=False, do_center_crop=False, do_rescale=False, do_normalize=False)


def seen(picture: Image.Image) -> list[int]:
    pixels = process(images=picture, return_tensors="np")["pixel_values"]
    return [int(value) for value in pixels[0, 0, 0]]


levels = np.array([[0, 200, 6000, 32768, 65535]], np.uint16)
deep = seen(Image.fromarray(levels))
floats = seen(Image.fromarray((levels / 65535).astype(np.float32)))
print("transformers", transformers.__version__)
print("levels of 16 bits", levels[0].tolist(), "reach the model as", deep, "of 255")
print("the same from 0.0 to 1.0 as", floats, "of 255")
if deep != [0, 200, 255, 255, 255] or max(floats) > 1:
    raise SystemExit("changed")
PYTHON
