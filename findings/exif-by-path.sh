#!/usr/bin/env bash
# Expected: an image means the same to transformers whether it is named by its path, as in a chat message
# with {"type": "image", "path": ...}, or handed over as opened by Pillow.
#
# Actual: what is named by a path or URL is read by `load_image`, which turns a photo upright as its EXIF
# orientation says. What is opened with `Image.open` and handed over is not turned: a photo that the camera
# held on its side reaches the model lying on its side, and takes another shape.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet transformers==5.24.0 pillow==13.0.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import transformers
from PIL import Image
from transformers import CLIPImageProcessorPil
from transformers.image_utils import load_image

exif = Image.Exif()
exif[274] = 6
Image.new("RGB", (16, 8), "red").save("photo.jpg", exif=exif)
process = CLIPImageProcessorPil(do_resize=False, do_center_crop=False)
opened = process(images=Image.open("photo.jpg"), return_tensors="np")["pixel_values"].shape[2:]
named = process(images=load_image("photo.jpg"), return_tensors="np")["pixel_values"].shape[2:]
print("transformers", transformers.__version__)
print("a photo of 8 x 16 that was held on its side, named by its path:", named, "opened by Pillow:", opened)
if (named, opened) != ((16, 8), (8, 16)):
    raise SystemExit("changed")
PYTHON
