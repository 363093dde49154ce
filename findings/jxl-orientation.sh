#!/usr/bin/env bash
# Expected: the way that turns a photo upright in Pillow, ImageOps.exif_transpose, gives for JPEG XL what
# other readers show.
#
# Actual: a JPEG XL says itself which way is up, and its decoder turns it; a copy of the EXIF data may say
# so, too, and does not count. pillow-jxl-plugin hands over the turned pixels together with that copy, and
# exif_transpose turns them once more. The other way round, a photo that it saves with its EXIF data says the way
# up in these alone: Pillow shows it upright, a reader that keeps to the standard (imagecodecs, which is libjxl)
# on its side.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow-jxl-plugin==1.3.8 pillow==13.0.0 imagecodecs==2026.3.6 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version
from io import BytesIO

import imagecodecs
import numpy as np
import pillow_jxl  # adds the format to Pillow
from PIL import Image, ImageOps

exif = Image.Exif()
exif[0x0112] = 6
lying = Image.fromarray(np.zeros((32, 64, 3), np.uint8))  # as the sensor saw it: upright it is 32 wide and 64 high
files = {name: BytesIO() for name in ("jpeg", "saved")}
lying.save(files["jpeg"], "JPEG", exif=exif.tobytes())
lying.save(files["saved"], "JXL", exif=exif.tobytes())


def boxes(data: bytes):
    while data:
        size = int.from_bytes(data[:4]) or len(data)
        yield data[4:8], data[:size]
        data = data[size:]


def with_exif(data: bytes) -> bytes:
    """The pixels of a JPEG XL, without the bytes of the JPEG that it was, and the EXIF data as such."""
    kept = [box for name, box in boxes(data) if name in (b"JXL ", b"ftyp", b"jxlp", b"jxlc")]
    block = b"Exif" + bytes(4) + exif.tobytes().removeprefix(b"Exif\0\0")
    return b"".join([*kept[:2], (4 + len(block)).to_bytes(4) + block, *kept[2:]])


print("pillow-jxl-plugin", version("pillow-jxl-plugin"), "imagecodecs", imagecodecs.__version__)
converted = with_exif(imagecodecs.jpegxl_encode_jpeg(files["jpeg"].getvalue()))
seen = {}
for name, data in (("converted from a JPEG", converted), ("saved by the plugin", files["saved"].getvalue())):
    photo = Image.open(BytesIO(data))
    height, width = imagecodecs.jpegxl_decode(data).shape[:2]
    seen[name] = photo.getexif().get(0x0112), photo.size, ImageOps.exif_transpose(photo).size, (width, height)
    print(f"{name}: EXIF {seen[name][0]}, Pillow {seen[name][1]}, turned {seen[name][2]}, imagecodecs {seen[name][3]}")
wanted = [(6, (32, 64), (64, 32), (32, 64)), (6, (64, 32), (32, 64), (64, 32))]
if list(seen.values()) != wanted:
    raise SystemExit("changed")
PYTHON
