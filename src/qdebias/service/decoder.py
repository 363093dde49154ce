"""The process that decodes images for the service.

It opens no file and no socket, has little memory, and is killed when it takes too long.

Run as `python -m qdebias.service.decoder <most pixels> <most bytes>`; it reads from stdin and writes to stdout, until
stdin ends:

    out, once:  READY
    in:         1 byte `Kind`, 8 bytes length, the image: a file's bytes, or a JSON string that holds them in base64
    out:        1 byte verdict; if it is PIXELS: 4 bytes height, 4 bytes width, the RGB pixels

Numbers are big-endian. What a decoder prints or raises goes nowhere.
"""

import base64
import binascii
import io
import json
import struct
import sys
import warnings
from enum import IntEnum, IntFlag
from typing import BinaryIO

import numpy as np
from PIL import Image

from qdebias.errors import DamagedImageError, ImageError
from qdebias.image import MIN_SIDE, RgbImage, decoding
from qdebias.service import READY
from qdebias.system.processes import address_space, limit_process

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
"""Told by content. Formats beyond these have decoders that few people look at."""

HEAD = struct.Struct(">BQ")
"""The kind of an image, and its length."""
SIZE = struct.Struct(">II")

BASE_BYTES = 256 << 20
BYTES_A_PIXEL = 32
COPIES = 6
"""Memory of a decoder beyond what it has at its start: for its code, some copies of the largest image, and of its file
in base64 and without."""


class Kind(IntFlag):
    """What is known of an image."""

    BASE64 = 1
    """It is a JSON string that holds the file in base64."""
    LOSSLESS = 2
    """It is to be refused if it was compressed with loss."""


class Verdict(IntEnum):
    """What became of an image."""

    PIXELS = 0
    NO_IMAGE = 1
    TOO_MANY_PIXELS = 2
    TOO_SMALL = 3
    SEVERAL_FRAMES = 4
    PIXEL_TYPE = 5
    DAMAGED = 6
    NOT_BASE64 = 7
    TOO_LARGE = 8
    LOSSY = 9


def decode(data: bytes, *, max_pixels: int, lossless: bool = False) -> RgbImage | Verdict:
    """Return the pixels as `qdebias.load_image` gives them, or why there are none.

    Size and number of frames are checked before any pixel is decoded.
    """
    try:
        picture = decoding.open_picture(io.BytesIO(data), "image", FORMATS)
    except Exception:  # noqa: BLE001 (a decoder that is fed by strangers may raise anything)
        return Verdict.NO_IMAGE
    if lossless and _is_lossy(picture, data):
        return Verdict.LOSSY
    try:
        return _pixels(picture, max_pixels)
    except DamagedImageError:
        return Verdict.DAMAGED
    except ImageError:
        return Verdict.PIXEL_TYPE
    except Exception:  # noqa: BLE001 (likewise; MemoryError is what the limit of memory raises)
        return Verdict.DAMAGED


def _is_lossy(picture: Image.Image, data: bytes) -> bool:
    """Return whether a file was compressed with loss: JPEG, also inside TIFF, or a WebP that is not VP8L."""
    if picture.format != "WEBP":
        return picture.format in ("JPEG", "MPO") or picture.info.get("compression") in ("jpeg", "tiff_jpeg", "webp")
    place = 12
    while (chunk := data[place : place + 4]) not in (b"VP8 ", b"VP8L", b""):
        place += 8 + (int.from_bytes(data[place + 4 : place + 8], "little") + 1) // 2 * 2
    return chunk != b"VP8L"


def _pixels(picture: Image.Image, max_pixels: int) -> RgbImage | Verdict:
    width, height = picture.size
    if width * height > max_pixels:
        return Verdict.TOO_MANY_PIXELS
    if min(width, height) < MIN_SIDE:
        return Verdict.TOO_SMALL
    if getattr(picture, "is_animated", False) and picture.format != "MPO":
        return Verdict.SEVERAL_FRAMES
    return decoding.decode(picture, "image")


def from_base64(text: bytes) -> bytes:
    """Return the file that a JSON string holds in base64, with or without line ends, or as a data URL.

    Raises:
        ValueError: It is something else.
    """
    said = json.loads(text)
    head, comma, rest = said.partition(",")
    if comma and head.startswith("data:") and head.endswith(";base64"):
        said = rest
    return base64.b64decode(said.encode("ascii").translate(None, b" \t\r\n"), validate=True)


def confine(max_pixels: int, max_bytes: int) -> None:
    """Limit this process for good: so much memory beyond what it has now, no other file or socket, no core dump.

    Nor can it start a process, unless it runs as root. Windows has none of these limits.
    """
    memory = address_space() + BASE_BYTES + BYTES_A_PIXEL * max_pixels + COPIES * max_bytes
    # 3 files: stdin, stdout, stderr
    limit_process({"AS": memory, "CORE": 0, "FSIZE": 0, "NOFILE": 3, "NPROC": 0})


def serve(source: BinaryIO, sink: BinaryIO, *, max_pixels: int, max_bytes: int) -> None:
    """Answer one image after the other until `source` ends."""
    while len(head := source.read(HEAD.size)) == HEAD.size:
        kind, length = HEAD.unpack(head)
        found = answer(source.read(length), Kind(kind), max_pixels=max_pixels, max_bytes=max_bytes)
        if isinstance(found, Verdict):
            sink.write(bytes([found]))
        else:
            sink.write(bytes([Verdict.PIXELS]) + SIZE.pack(*found.shape[:2]))
            sink.write(np.ascontiguousarray(found).data)
        sink.flush()
        del found  # else its memory is kept until the next image comes


def answer(data: bytes, kind: Kind, *, max_pixels: int, max_bytes: int) -> RgbImage | Verdict:
    """Return the pixels of an image, or why there are none."""
    if Kind.BASE64 in kind:
        try:
            data = from_base64(data)
        except (ValueError, binascii.Error):
            return Verdict.NOT_BASE64
    return (
        Verdict.TOO_LARGE
        if len(data) > max_bytes
        else decode(data, max_pixels=max_pixels, lossless=Kind.LOSSLESS in kind)
    )


def warm_up() -> None:
    """Decode one image of each format, so that whatever decoders import is imported before files are out of reach."""
    for name in FORMATS:
        data = io.BytesIO()
        Image.new("RGB", (MIN_SIDE, MIN_SIDE)).save(data, name)
        decode(data.getvalue(), max_pixels=MIN_SIDE**2)


def main() -> None:
    """Run the process."""
    warnings.simplefilter("ignore")
    max_pixels, max_bytes = map(int, sys.argv[1:])
    warm_up()
    confine(max_pixels, max_bytes)
    sys.stdout.buffer.write(READY)
    sys.stdout.buffer.flush()
    serve(sys.stdin.buffer, sys.stdout.buffer, max_pixels=max_pixels, max_bytes=max_bytes)


if __name__ == "__main__":
    main()
