"""Damage of encoded data that Pillow does not report, where missing pixels become grey, coarse or invented."""

import re
import struct
import zlib
from collections.abc import Iterator
from typing import IO

import simplejpeg
from PIL import Image, JpegImagePlugin, TiffImagePlugin
from PIL.ImageFile import ImageFile

_MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")  # 0 behind 0xff is data, and D0 to D7 only restart them
_SCALED, _SEQUENTIAL, _PROGRESSIVE = (0xC0, 0xC1, 0xC2), (0xC0, 0xC1, 0xC9), (0xC2, 0xCA)
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SCAN, _END, _DIVISORS = 0xDA, 0xD9, 0xDB
_ASIDE = frozenset((*range(0xE0, 0xF0), 0xFE))  # headers that concern no pixel: EXIF, profiles and comments
_PADDING = 16  # most bytes before the end marker that are no damage where they are all the same


def can_be_scaled(picture: Image.Image) -> bool:
    """Whether a picture is a baseline, extended or progressive JPEG; lossless ones, for example, have no scales."""
    if not isinstance(picture, JpegImagePlugin.JpegImageFile) or not picture.tile:
        return False
    return next((kind for kind, *_ in _segments(_data(picture)) if kind in _FRAMES), 0) in _SCALED


def damage(picture: Image.Image) -> str | None:
    """Return why the pixels of an opened picture cannot be those that were saved; None if nothing shows it.

    It checks the checksums of a PNG and of deflated data in a TIFF, the end of a lossless WebP or an AVIF, and with
    `_of_jpeg` a JPEG, also in a TIFF. A picture that is decoded already is not checked.
    """
    if not isinstance(picture, ImageFile) or picture.fp is None:
        return None
    if picture.format in ("WEBP", "AVIF"):
        data = _data(picture)
        encoded = data[4:8] == b"ftyp" or (data[8:12] == b"WEBP" and b"VP8L" in data[:1_000_000])
        return "it ends in zeros" if encoded and data.endswith(bytes(64)) else None
    if not picture.tile:
        return None
    if isinstance(picture, JpegImagePlugin.JpegImageFile):
        return _of_jpeg(_data(picture), picture.mode)
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        return _of_tiff(picture)
    for kind, left in png_chunks(picture.fp) if picture.format == "PNG" else ():
        found = zlib.crc32(kind)
        while kind == b"IDAT" and left and (part := picture.fp.read(min(left, 1 << 20))):
            found, left = zlib.crc32(part, found), left - len(part)
        if kind == b"IDAT" and found != int.from_bytes(picture.fp.read(4)):
            return "a checksum does not fit"
    return None


def png_chunks(file: IO[bytes]) -> Iterator[tuple[bytes, int]]:
    """Yield kind and length of each chunk of a PNG up to its end; the file then stands at the chunk's data.

    Data of any length may follow the end.
    """
    place, kind = 8, b""
    while kind != b"IEND":
        file.seek(place)
        if len(header := file.read(8)) < 8:
            return
        length, kind = struct.unpack(">I4s", header)
        place += 12 + length
        yield kind, length


def _data(picture: ImageFile) -> bytes:
    if picture.fp is None:
        return b""
    picture.fp.seek(0)
    return picture.fp.read()


def _of_tiff(picture: TiffImagePlugin.TiffImageFile) -> str | None:
    tags, compression = picture.tag_v2, picture.info.get("compression")
    if compression not in ("tiff_adobe_deflate", "tiff_deflate", "jpeg") or picture.fp is None:
        return None
    starts, lengths = (tags.get(tag, ()) for tag in ((324, 325) if 324 in tags else (273, 279)))
    for start, length in zip(starts, lengths, strict=False):
        picture.fp.seek(start)
        part = picture.fp.read(length)
        if compression == "jpeg":
            tables = tags.get(347, b"")
            if fault := _of_jpeg(tables[:-2] + part[2:] if tables else part, picture.mode):
                return fault
            continue
        try:
            zlib.decompressobj().decompress(part, 64 * (1 << 20) + 64 * picture.width * picture.height)
        except zlib.error as error:
            return str(error)
    return None


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield each marker of a JPEG with the places where it begins and where its header ends, up to the end marker."""
    place = 2
    while found := _MARKER.search(data, place):
        kind, place = found[1][0], found.end()
        if kind not in (0xD8, _END):
            place += int.from_bytes(data[place : place + 2])
        yield kind, found.end() - 2, place
        if kind == _END:
            return


def _of_jpeg(data: bytes, mode: str) -> str | None:
    """Return what libjpeg warns of, and what it does not report: missing scans, and divisors of 0.

    Headers that concern no pixel are left out first: odd ones make it warn, too, and only its last warning is heard.
    """
    kept = b"\xff\xd8"
    for kind, start, stop in _segments(data):
        if kind == _SCAN:
            kept += data[start:]
            break
        tables = data[start + 4 : stop] if kind == _DIVISORS else b""
        while tables:  # each has 64 numbers of 8 bits, or of 16 by its first byte
            wide = tables[0] >= 16
            table, tables = tables[1 : 129 if wide else 65], tables[129 if wide else 65 :]
            if 0 in (memoryview(table[: len(table) // 2 * 2]).cast("H") if wide else table):
                return "a table of divisors holds a 0"
        if kind not in _ASIDE:
            kept += data[start:stop]
    return _warning(kept, "CMYK" if mode == "CMYK" else "GRAY") or _absent_scan(kept)


def _warning(data: bytes, space: str, *, padded: bool = False) -> str | None:
    """Return a warning of libjpeg that concerns pixels; `padded`: padding was already removed."""
    try:  # not scaled: of a lossless JPEG, which cannot be, simplejpeg 1.9 would write beyond its memory
        simplejpeg.decode_jpeg(data, space, fastdct=True, fastupsample=True)
    except ValueError as error:
        words = str(error)
        padding = re.search(r"\b(\d+) extraneous bytes before marker 0xd9", words)
        *_, (_, end, _) = _segments(data)
        start = end - int(padding[1] if padding else 0)
        if padding and not padded and end - start <= _PADDING and len(set(data[start:end])) == 1:
            return _warning(data[:start] + data[end:], space, padded=True)
        return words if "orrupt" in words or "Premature" in words else None
    return None


def _absent_scan(data: bytes) -> str | None:
    """Return whether a channel has no scan, or in a progressive JPEG not all bits of all its coefficients."""
    left: dict[int, list[int]] = {}
    progressive = False
    for kind, start, stop in _segments(data):
        header = data[start + 4 : stop]
        if kind in _SEQUENTIAL + _PROGRESSIVE:
            progressive = kind in _PROGRESSIVE
            left = {channel: [-1] * 64 for channel in header[6::3]}
        elif kind == _SCAN and len(header) > 3:
            *channels, first, last, bits = (*header[1 : 1 + 2 * header[0] : 2], *header[-3:])
            for channel in left.keys() & set(channels):
                wanted = slice(first, last + 1) if progressive else slice(64)
                left[channel][wanted] = [bits & 15 if progressive else 0] * len(left[channel][wanted])
    return "scans are missing" if any(any(bits) for bits in left.values()) else None
