"""The process that decodes images for the service: it can open no file or socket, and its memory is limited.

Run as `python -m qdebias.service.decoder <most pixels> <most bytes>`; it reads from stdin and writes to stdout, until
stdin ends:

    out, once:  READY
    in:         `HEAD`, the image: a file's bytes, or a JSON string that holds them in base64
    out:        1 byte, an index into `REASONS`; if it is 0: 4 bytes height, 4 bytes width, the RGB pixels

Numbers are big-endian. Output and errors of image decoders are discarded.
"""

import base64
import io
import json
import struct
import sys
import warnings

import numpy as np
from PIL import Image

from qdebias.errors import DamagedImageError, ImageError
from qdebias.image import MIN_SIDE, RgbImage, decoding
from qdebias.service import READY
from qdebias.service.refusal import Reason
from qdebias.system.processes import address_space, limit_process

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
"""Recognized by content. The decoders of other formats are less well tested."""

HEAD = struct.Struct(">??Q")
"""Whether the file is a JSON string in base64, whether lossy files are refused, and the length."""
SIZE = struct.Struct(">II")  # height and width
REASONS: tuple[Reason | None, ...] = (None, *Reason)
BASE_BYTES = 256 << 20
BYTES_A_PIXEL = 32
COPIES = 6
"""Memory limit of a decoder beyond its memory at the start: for code, copies of the largest image and of its file."""


def decode(data: bytes, *, max_pixels: int, lossless: bool = False) -> RgbImage | Reason:
    """Return the pixels as `qdebias.load_image` gives them, or why there are none.

    Size and number of frames are checked before any pixel is decoded.
    """
    try:
        picture = decoding.open_picture(io.BytesIO(data), "image", FORMATS)
    except Exception:  # noqa: BLE001 (decoders may raise anything on a malicious file)
        return Reason.NO_IMAGE
    if lossless and _is_lossy(picture, data):
        return Reason.LOSSY
    try:
        width, height = picture.size
        if width * height > max_pixels:
            return Reason.TOO_MANY_PIXELS
        if min(width, height) < MIN_SIDE:
            return Reason.TOO_SMALL
        if getattr(picture, "is_animated", False) and picture.format != "MPO":
            return Reason.SEVERAL_FRAMES
        return decoding.decode(picture, "image")
    except DamagedImageError:
        return Reason.DAMAGED
    except ImageError:
        return Reason.PIXEL_TYPE
    except Exception:  # noqa: BLE001 (likewise; MemoryError at the memory limit)
        return Reason.DAMAGED


def _is_lossy(picture: Image.Image, data: bytes) -> bool:
    """Return whether a file was compressed with loss: JPEG, also inside TIFF, or a WebP that is not VP8L."""
    if picture.format != "WEBP":
        return picture.format in ("JPEG", "MPO") or picture.info.get("compression") in ("jpeg", "tiff_jpeg", "webp")
    place = 12
    while (chunk := data[place : place + 4]) not in (b"VP8 ", b"VP8L", b""):
        place += 8 + (int.from_bytes(data[place + 4 : place + 8], "little") + 1) // 2 * 2
    return chunk != b"VP8L"


def from_base64(text: bytes) -> bytes:
    """Return the file that a JSON string holds in base64 or as a data URL; raises ValueError if it is neither."""
    content = json.loads(text)
    head, comma, rest = content.partition(",")
    if comma and head.startswith("data:") and head.endswith(";base64"):
        content = rest
    return base64.b64decode(content.encode("ascii").translate(None, b" \t\r\n"), validate=True)


def confine(max_pixels: int, max_bytes: int) -> None:
    """Limit this process for good: no more memory than it needs, no file, socket, process or core dump.

    As root it can still start processes. Windows has none of these limits.
    """
    memory = address_space() + BASE_BYTES + BYTES_A_PIXEL * max_pixels + COPIES * max_bytes
    limit_process({"AS": memory, "CORE": 0, "FSIZE": 0, "NOFILE": 3, "NPROC": 0})  # stdin, stdout and stderr


def warm_up() -> None:
    """Decode one image of each format, so that decoders import their modules before files are out of reach."""
    for name in FORMATS:
        data = io.BytesIO()
        Image.new("RGB", (MIN_SIDE, MIN_SIDE)).save(data, name)
        decode(data.getvalue(), max_pixels=MIN_SIDE**2)


def main() -> None:
    """Answer one image after the other until stdin ends."""
    warnings.simplefilter("ignore")
    max_pixels, max_bytes = map(int, sys.argv[1:])
    warm_up()
    confine(max_pixels, max_bytes)
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    sink.write(READY)
    sink.flush()
    while len(head := source.read(HEAD.size)) == HEAD.size:
        is_base64, lossless, length = HEAD.unpack(head)
        data = source.read(length)
        result: RgbImage | Reason
        try:
            data = from_base64(data) if is_base64 else data
            if len(data) > max_bytes:
                result = Reason.TOO_LARGE
            else:
                result = decode(data, max_pixels=max_pixels, lossless=lossless)
        except ValueError:
            result = Reason.MALFORMED
        if isinstance(result, Reason):
            sink.write(bytes([REASONS.index(result)]))
        else:
            sink.write(bytes(1) + SIZE.pack(*result.shape[:2]))
            sink.write(np.ascontiguousarray(result).data)
        sink.flush()
        del data, result  # frees their memory before the next image comes


if __name__ == "__main__":
    main()
