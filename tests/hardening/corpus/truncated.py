"""Files that are cut off: at each border between chunks, just behind it, and within each chunk."""

import struct
from collections.abc import Callable, Iterator

from PIL import features

from corpus.case import DAMAGED, Case, of_bytes
from corpus.pictures import encoded


def truncated_cases() -> Iterator[Case]:
    """Yield each cut of each format."""
    forms: dict[str, tuple[bytes, Callable[[bytes], list[int]]]] = {
        "png": (encoded("PNG"), png_borders),
        "palette.png": (encoded("PNG", "P"), png_borders),
        "jpg": (encoded("JPEG"), jpeg_borders),
        "progressive.jpg": (encoded("JPEG", progressive=True), jpeg_borders),
        "webp": (encoded("WEBP"), riff_borders),
        "lossless.webp": (encoded("WEBP", lossless=True, exif=b"Exif\0\0", icc_profile=b"profile"), riff_borders),
        "gif": (encoded("GIF"), gif_borders),
        "bmp": (encoded("BMP"), lambda data: [2, 10, 14, 18, 26, 54, len(data)]),
        "palette.bmp": (encoded("BMP", "P"), lambda data: [14, 54, 54 + 1024, len(data)]),
        "tif": (encoded("TIFF"), tiff_borders),
        "lzw.tif": (encoded("TIFF", compression="tiff_lzw"), tiff_borders),
        "deflate.tif": (encoded("TIFF", compression="tiff_adobe_deflate"), tiff_borders),
        "ppm": (encoded("PPM"), lambda data: [2, 5, 8, 11, 15, len(data)]),
        "pbm": (encoded("PPM", "1"), lambda data: [2, 5, 9, len(data)]),
    }
    if features.check("avif"):
        forms["avif"] = (encoded("AVIF"), box_borders)
    for form, (data, borders) in forms.items():
        for size in cuts(borders(data), len(data)):
            yield of_bytes("truncated", f"{size:06}.{form}", data[:size], f"{DAMAGED}|is too small", whole=data)


def cuts(borders: list[int], length: int) -> list[int]:
    """Return where to cut: at each border, one byte and five bytes behind it, and in the middle between two."""
    at = {0, *borders}
    middles = {(first + second) // 2 for first, second in zip(sorted(at), sorted(at)[1:], strict=False)}
    return sorted(size for size in {*at, *(one + 1 for one in at), *(one + 5 for one in at), *middles} if size < length)


def png_borders(data: bytes) -> list[int]:
    """Return where the chunks of a PNG begin."""
    borders, at = [], 8
    while at < len(data):
        borders.append(at)
        at += 12 + int(struct.unpack_from(">I", data, at)[0])
    return borders


def jpeg_borders(data: bytes) -> list[int]:
    """Return where the segments of a JPEG begin; of several scans, each."""
    borders, at = [2], 2
    while (at := data.find(b"\xff", at)) != -1:
        if data[at + 1] in (0x00, *range(0xD0, 0xD8)):  # part of a scan
            at += 2
            continue
        borders.append(at)
        at += 2 if data[at + 1] == 0xD9 else 2 + int(struct.unpack_from(">H", data, at + 2)[0])
    return borders


def riff_borders(data: bytes) -> list[int]:
    """Return where the chunks of a WebP begin."""
    borders, at = [4, 8], 12
    while at < len(data):
        borders.append(at)
        size = int(struct.unpack_from("<I", data, at + 4)[0])
        at += 8 + size + size % 2
    return borders


def gif_borders(data: bytes) -> list[int]:
    """Return where header, palette, blocks and sub-blocks of a GIF begin."""
    at = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    borders = [6, 13]
    while at < len(data) and data[at] != 0x3B:
        borders.append(at)
        if data[at] == 0x2C:
            at += 10 + (3 << (data[at + 9] & 7) + 1 if data[at + 9] & 0x80 else 0) + 1
        else:
            at += 2
        while data[at]:
            borders.append(at)
            at += data[at] + 1
        at += 1
    return [*borders, at]


def tiff_borders(data: bytes) -> list[int]:
    """Return where header, directory and its entries begin, and the data in front or behind."""
    (directory,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, directory)
    entries = [directory + 2 + 12 * number for number in range(count + 1)]
    return sorted({4, 8, len(data) // 2, directory, *entries} & set(range(len(data))))


def box_borders(data: bytes) -> list[int]:
    """Return where the boxes of an AVIF begin, with those inside of `meta`."""
    borders: list[int] = []

    def walk(at: int, end: int) -> None:
        while at + 8 <= end:
            size, kind = struct.unpack_from(">I4s", data, at)
            borders.append(at)
            if kind in (b"meta", b"iprp", b"ipco"):
                walk(at + (12 if kind == b"meta" else 8), at + size)
            at += max(size, 8)

    walk(0, len(data))
    return borders
