"""Headers that lie: bombs, sizes of nothing, wrong signatures, flipped bits."""

import io
import random
import struct
import zlib
from collections.abc import Iterator

from PIL import Image, features

from corpus.case import DAMAGED, TOO_LARGE, Case, of_bytes
from corpus.pictures import encoded

_REFUSED = f"{DAMAGED}|{TOO_LARGE}|is too small|holds several frames|pixel type .* is not supported"


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """Return one chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes, depth: int = 8, colour: int = 2, data: bytes = b"") -> bytes:
    """Return a PNG of this header and compressed data, with more chunks between."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = png_chunk(b"IDAT", zlib.compress(data))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + b"".join(chunks) + body + png_chunk(b"IEND", b"")


def declaring(width: int, height: int) -> Iterator[tuple[str, bytes]]:
    """Yield one small file of each format whose header says this size."""
    high, low = struct.pack(">II", width, height), struct.pack("<II", width, height)
    yield "png", png(width, height)
    yield "bmp", encoded("BMP")[:18] + low + encoded("BMP")[26:]
    yield "ppm", b"P6 %d %d 255\n" % (width, height) + bytes(100)
    yield "tif", tiff(width, height)
    if max(width, height) < 1 << 16:
        short = struct.pack(">HH", height, width)
        whole = encoded("JPEG")
        frame = whole.index(b"\xff\xc0")
        yield "jpg", whole[: frame + 5] + short + whole[frame + 9 :]
        yield "gif", b"GIF89a" + struct.pack("<HH", width, height) + encoded("GIF")[10:]
    if max(width, height) <= 1 << 24 and min(width, height) > 0:
        size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        yield "webp", _riff(b"VP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + size + encoded("WEBP")[12:])
    if features.check("avif"):
        whole = encoded("AVIF")
        place = whole.index(b"ispe") + 8
        yield "avif", whole[:place] + high + whole[place + 8 :]


def size_cases() -> Iterator[Case]:
    """Yield files that declare far more pixels than they hold, or none at all."""
    for width, height in ((60_000, 60_000), (30_000, 1_800), (1_800, 30_000), (65_535, 800)):
        for form, data in declaring(width, height):
            error = _REFUSED if form in ("webp", "avif") else f"{TOO_LARGE}|{DAMAGED}"
            yield of_bytes("bomb", f"{width}x{height}.{form}", data, error)
    for form, data in declaring(2**31 - 1, 2**31 - 1):
        yield of_bytes("bomb", f"largest.{form}", data, _REFUSED)
    for width, height in ((0, 0), (0, 64), (64, 0)):
        for form, data in declaring(width, height):
            error = None if form == "gif" else _REFUSED  # the frame of a GIF has a size of its own
            yield of_bytes("nothing", f"{width}x{height}.{form}", data, error)
    for width, height in ((1, 1), (31, 500), (500, 31), (1, 100_000)):
        memory = io.BytesIO()
        Image.new("RGB", (width, height)).save(memory, "PNG")
        yield of_bytes("nothing", f"small-{width}x{height}.png", memory.getvalue(), "is too small to score")


def inflating_cases() -> Iterator[Case]:
    """Yield files whose compressed parts grow out of all proportion."""
    rows = b"".join(b"\0" + bytes(64 * 3) for _ in range(64))
    text = zlib.compress(bytes(200_000_000))
    yield of_bytes("inflating", "idat.png", png(64, 64, data=rows + bytes(200_000_000)))  # what lies behind is left
    yield of_bytes("inflating", "ztxt.png", png(64, 64, png_chunk(b"zTXt", b"a\0\0" + text), data=rows), DAMAGED)
    itxt = png_chunk(b"iTXt", b"a\0\1\0\0\0" + text)
    yield of_bytes("inflating", "itxt.png", png(64, 64, itxt, data=rows), DAMAGED)
    profile = png_chunk(b"iCCP", b"a\0\0" + text)
    yield of_bytes("inflating", "iccp.png", png(64, 64, profile, data=rows), DAMAGED, whole=png(64, 64, data=rows))
    many = b"".join(png_chunk(b"tEXt", b"a\0" + bytes(50)) for _ in range(20_000))
    yield of_bytes("inflating", "text.png", png(64, 64, many, data=rows), DAMAGED, whole=png(64, 64, data=rows))
    empty = b"".join(png_chunk(b"IDAT", b"") for _ in range(50_000))
    yield of_bytes("inflating", "empty-idat.png", png(64, 64, empty, data=rows), DAMAGED, whole=png(64, 64, data=rows))
    yield of_bytes("inflating", "comments.jpg", b"\xff\xd8" + b"\xff\xfe\xff\xff" + bytes(65_533) + encoded("JPEG")[2:])
    yield of_bytes("inflating", "ifds.tif", tiff(64, 64, following=8), _REFUSED)  # a directory that follows itself


def foreign_cases() -> Iterator[Case]:
    """Yield what is no image at all, under the name of one."""
    noise = random.Random(4)  # noqa: S311
    texts = {
        "empty": b"",
        "newline": b"\n",
        "letter": b"Dear reader,",
        "page": b"<!doctype html><html><script>alert(1)</script></html>",
        "vector": b'<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"/>',
        "entities": b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "a"><!ENTITY b "&a;&a;">]><svg>&b;</svg>',
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n(/etc/passwd) run\n",
        "document": b"%PDF-1.7\n1 0 obj << /Length 99999999999 >>\n",
        "program": b"\x7fELF\x02\x01\x01" + bytes(200),
        "script": b"#!/bin/sh\necho score\n",
        "archive": b"PK\x03\x04" + bytes(100),
        "gzip": b"\x1f\x8b\x08" + bytes(100),
        "pickle": b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R.",
        "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
        "zeros": bytes(100_000),
        "ones": b"\xff" * 100_000,
        "noise": noise.randbytes(100_000),
        "heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100),
        "jpeg2000": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100),
    }
    for name, data in texts.items():
        yield of_bytes("foreign", f"{name}.png", data, "is not an image|HEIF")
    signatures = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a", b"BM", b"II*\0", b"MM\0*", b"RIFF\0\0\0\0WEBP")
    for number, signature in enumerate((*signatures, b"P6", b"P4", b"\0\0\0\x1cftypavif")):
        yield of_bytes("foreign", f"signature-{number}.jpg", signature, DAMAGED)
        yield of_bytes("foreign", f"signature-{number}-noise.jpg", signature + noise.randbytes(500), _REFUSED)
        yield of_bytes("foreign", f"signature-{number}-zeros.jpg", signature + bytes(500), _REFUSED)


def glued_cases() -> Iterator[Case]:
    """Yield sound images with something behind or before them."""
    tail = encoded("JPEG")
    for form in ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM"):
        whole = encoded(form)
        yield of_bytes("glued", f"behind.{form.lower()}", whole + b"PK\x03\x04" + tail, whole=whole)
        yield of_bytes("glued", f"before.{form.lower()}", b"\n" + whole, "is not an image")


def _riff(body: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def tiff(width: int, height: int, *, following: int = 0) -> bytes:
    """Return a TIFF of one strip that lies behind its end, and where the next directory is said to be."""
    entries = [
        (256, 4, width),
        (257, 4, height),
        (258, 3, 8),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 200),
        (277, 3, 1),
        (278, 4, height),
        (279, 4, (width * height) & 0xFFFFFFFF),
    ]
    rows = b"".join(struct.pack("<HHII", tag, kind, 1, value & 0xFFFFFFFF) for tag, kind, value in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + rows + struct.pack("<I", following) + bytes(100)
