"""The process that decodes images for the service.

It opens no file and no socket, has little memory, and is killed when it takes too long.

Run as `python -m qdebias.service.decoder <most pixels>`; it reads from stdin and writes to stdout, until stdin ends:

    in:   8 bytes length, the encoded image
    out:  1 byte verdict; if it is PIXELS: 4 bytes height, 4 bytes width, the RGB pixels

Numbers are big-endian. What a decoder prints or raises goes nowhere.
"""

import io
import struct
import sys
import warnings
from enum import IntEnum
from typing import BinaryIO

from PIL import Image

from qdebias.errors import ImageError
from qdebias.image import MIN_SIDE, RgbImage, load_image
from qdebias.processes import address_space, limit_process

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
"""Told by content. Formats beyond these have decoders that few people look at."""

LENGTH = struct.Struct(">Q")
SIZE = struct.Struct(">II")

BASE_BYTES = 256 << 20
BYTES_A_PIXEL = 32
"""Memory of a decoder beyond what it has at its start: room for its code, and for some copies of the largest image."""


class Verdict(IntEnum):
    """What became of an image."""

    PIXELS = 0
    NO_IMAGE = 1
    TOO_MANY_PIXELS = 2
    TOO_SMALL = 3
    SEVERAL_FRAMES = 4
    PIXEL_TYPE = 5
    DAMAGED = 6


def decode(data: bytes, *, max_pixels: int) -> RgbImage | Verdict:
    """Return the pixels as `qdebias.load_image` gives them, or why there are none.

    Size and number of frames are checked before any pixel is decoded.
    """
    try:
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError:
        return Verdict.TOO_MANY_PIXELS
    except Exception:  # noqa: BLE001 (a decoder that is fed by strangers may raise anything)
        return Verdict.NO_IMAGE
    try:
        return _pixels(picture, max_pixels)
    except ImageError:
        return Verdict.PIXEL_TYPE
    except Exception:  # noqa: BLE001 (likewise; MemoryError is what the limit of memory raises)
        return Verdict.DAMAGED


def _pixels(picture: Image.Image, max_pixels: int) -> RgbImage | Verdict:
    width, height = picture.size
    if width * height > max_pixels:
        return Verdict.TOO_MANY_PIXELS
    if min(width, height) < MIN_SIDE:
        return Verdict.TOO_SMALL
    if getattr(picture, "is_animated", False) and picture.format != "MPO":
        return Verdict.SEVERAL_FRAMES
    return load_image(picture, max_pixels=max_pixels)


def confine(max_pixels: int) -> None:
    """Limit this process for good: so much memory beyond what it has now, no other file or socket, no core dump.

    Nor can it start a process, unless it runs as root. Windows has none of these limits.
    """
    memory = address_space() + BASE_BYTES + BYTES_A_PIXEL * max_pixels
    # 3 files: stdin, stdout, stderr
    limit_process({"AS": memory, "CORE": 0, "FSIZE": 0, "NOFILE": 3, "NPROC": 0})


def serve(source: BinaryIO, sink: BinaryIO, *, max_pixels: int) -> None:
    """Answer one image after the other until `source` ends."""
    while len(head := source.read(LENGTH.size)) == LENGTH.size:
        found = decode(source.read(LENGTH.unpack(head)[0]), max_pixels=max_pixels)
        if isinstance(found, Verdict):
            sink.write(bytes([found]))
        else:
            sink.write(bytes([Verdict.PIXELS]) + SIZE.pack(*found.shape[:2]))
            sink.write(found.tobytes())
        sink.flush()


def warm_up() -> None:
    """Decode one image of each format, so that whatever decoders import is imported before files are out of reach."""
    for name in FORMATS:
        data = io.BytesIO()
        Image.new("RGB", (MIN_SIDE, MIN_SIDE)).save(data, name)
        decode(data.getvalue(), max_pixels=MIN_SIDE**2)


def main() -> None:
    """Run the process."""
    warnings.simplefilter("ignore")
    max_pixels = int(sys.argv[1])
    Image.MAX_IMAGE_PIXELS = max(1, max_pixels)  # a second net: Pillow refuses twice as many by itself
    warm_up()
    confine(max_pixels)
    serve(sys.stdin.buffer, sys.stdout.buffer, max_pixels=max_pixels)


if __name__ == "__main__":
    main()
