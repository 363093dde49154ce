#!/usr/bin/env bash
# Expected: `photo.save("photo.heic", exif=photo.getexif())`, the way that keeps a photo's metadata in
# other formats, keeps its orientation, too.
#
# Actual: the orientation is lost, and with it the way up: the file holds the pixels as they lay and
# says orientation 1. The same metadata as bytes (`photo.info["exif"]`), or no `exif` argument at all, gives
# an upright image. As JPEG, PNG, WebP and AVIF, the object keeps it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow-heif==1.8.1 pillow==13.0.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import pillow_heif
import PIL
from PIL import Image, ImageOps

pillow_heif.register_heif_opener()
exif = Image.Exif()
exif[274] = 6
Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 64, 3), np.uint8)).save("photo.jpg", exif=exif)
photo = Image.open("photo.jpg")


def upright_size(name: str, **arguments: object) -> tuple[int, int]:
    photo.save(name, **arguments)
    return ImageOps.exif_transpose(Image.open(name)).size


heic = {
    "no argument": upright_size("photo.heic"),
    "exif as bytes": upright_size("photo.heic", exif=photo.info["exif"]),
    "exif as object": upright_size("photo.heic", exif=photo.getexif()),
}
others = {end: upright_size(f"photo.{end}", exif=photo.getexif()) for end in ("png", "webp", "avif")}
print("pillow-heif", pillow_heif.__version__, "Pillow", PIL.__version__)
print("a photo of 64 x 32 on its side, saved and opened upright")
print("as HEIC:", heic)
print("exif as object, as other formats:", others)
if list(heic.values()) != [(32, 64), (32, 64), (64, 32)] or set(others.values()) != {(32, 64)}:
    raise SystemExit("changed")
PYTHON
