"""Metadata without sense: EXIF, colour profiles, palettes, transparency, chunks in the wrong place."""

import struct
from collections.abc import Iterator

from corpus.case import DAMAGED, Case, of_bytes
from corpus.headers import png, png_chunk
from corpus.pictures import encoded

_ROWS = b"".join(b"\0" + bytes(range(64)) * 3 for _ in range(64))


def exif(*entries: tuple[int, int, int, bytes], order: bytes = b"II", following: int = 0) -> bytes:
    """Return an EXIF block with these entries: tag, type, count, four bytes of value."""
    sign = "<" if order == b"II" else ">"
    rows = b"".join(struct.pack(f"{sign}HHI", tag, kind, count) + value for tag, kind, count, value in entries)
    head = order + struct.pack(f"{sign}HIH", 42, 8, len(entries))
    return b"Exif\0\0" + head + rows + struct.pack(f"{sign}I", following)


def _short(value: int) -> bytes:
    return struct.pack("<HH", value, 0)


EXIF = {
    **{f"orientation-{value}": exif((0x0112, 3, 1, _short(value))) for value in (0, 1, 9, 255, 65_535)},
    "orientation-text": exif((0x0112, 2, 4, b"abc\0")),
    "orientation-many": exif((0x0112, 3, 2, struct.pack("<HH", 6, 8))),
    "orientation-none": exif((0x0112, 3, 0, bytes(4))),
    "orientation-signed": exif((0x0112, 9, 1, struct.pack("<i", -6))),
    "orientation-float": exif((0x0112, 11, 1, struct.pack("<f", float("nan")))),
    "orientation-fraction": exif((0x0112, 5, 1, struct.pack("<I", 8))),
    "orientation-far": exif((0x0112, 3, 4_000_000, struct.pack("<I", 0xFFFFFFF0))),
    "type-unknown": exif((0x0112, 99, 1, bytes(4))),
    "loop": exif((0x8769, 4, 1, struct.pack("<I", 8))),
    "loop-following": exif((0x0112, 3, 1, _short(1)), following=8),
    "gps-loop": exif((0x8825, 4, 1, struct.pack("<I", 8))),
    "count-absurd": b"Exif\0\0II*\0" + struct.pack("<IH", 8, 65_535),
    "offset-absurd": b"Exif\0\0II*\0\xff\xff\xff\xff",
    "order-unknown": b"Exif\0\0XX*\0\x08\0\0\0",
    "cut": exif((0x0112, 3, 1, _short(6)))[:20],
    "empty": b"Exif\0\0",
    "noise": b"Exif\0\0" + bytes(range(256)) * 10,
    "long": b"Exif\0\0" + bytes(65_000),
}


def exif_cases() -> Iterator[Case]:
    """Yield images whose EXIF says nothing that can be followed: they are scored as they lie, or refused."""
    for name, block in EXIF.items():
        for form, options in (("JPEG", {}), ("PNG", {}), ("WEBP", {"lossless": True})):
            data = encoded(form, exif=block, **options)
            whole = encoded(form, **options)
            yield of_bytes("exif", f"{name}.{form.lower()}", data, DAMAGED, whole=whole)


def profile_cases() -> Iterator[Case]:
    """Yield images with absurd colour profiles, which nothing here reads."""
    profiles = {
        "noise": bytes(range(256)),
        "length": struct.pack(">I", 0xFFFFFFFF) + b"\0" * 124,
        "header": struct.pack(">I", 128) + b"lcms" + bytes(28) + b"acsp" + bytes(88),
        "tags": struct.pack(">I", 132) + bytes(124) + struct.pack(">I", 0xFFFFFFFF),
        "long": bytes(300_000),
    }
    for name, profile in profiles.items():
        for form, options in (("JPEG", {}), ("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True})):
            data, whole = encoded(form, icc_profile=profile, **options), encoded(form, **options)
            yield of_bytes("profile", f"{name}.{form.lower()}", data, whole=whole)
    pieces = b"".join(b"\xff\xe2\0\x10ICC_PROFILE\0" + bytes([1, 9]) for _ in range(20))
    whole = encoded("JPEG")
    yield of_bytes("profile", "pieces.jpg", whole[:2] + pieces + whole[2:], whole=whole)


def chunk_cases() -> Iterator[Case]:
    """Yield PNG files with chunks that are twice there, missing, misplaced, of a wrong length or with a wrong sum."""
    plain = png(64, 64, data=_ROWS)
    header = plain[8:33]
    indexed = b"".join(b"\0" + bytes(range(64)) for _ in range(64))
    odd = {
        "gamma": png(64, 64, png_chunk(b"gAMA", bytes(4)), data=_ROWS),
        "gamma-short": png(64, 64, png_chunk(b"gAMA", b"\0"), data=_ROWS),
        "chroma": png(64, 64, png_chunk(b"cHRM", b"\xff" * 32), data=_ROWS),
        "chroma-short": png(64, 64, png_chunk(b"cHRM", b"\xff"), data=_ROWS),
        "density": png(64, 64, png_chunk(b"pHYs", b"\xff" * 9), data=_ROWS),
        "density-short": png(64, 64, png_chunk(b"pHYs", b"\xff"), data=_ROWS),
        "srgb": png(64, 64, png_chunk(b"sRGB", b""), data=_ROWS),
        "time": png(64, 64, png_chunk(b"tIME", b"\xff" * 7), data=_ROWS),
        "unknown": png(64, 64, png_chunk(b"zzZz", bytes(1000)), data=_ROWS),
        "frames-none": png(64, 64, png_chunk(b"acTL", bytes(8)), data=_ROWS),
        "frames-one": png(64, 64, png_chunk(b"acTL", struct.pack(">II", 1, 0)), data=_ROWS),
        "frames-many": png(64, 64, png_chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0)), data=_ROWS),
        "transparency-odd": png(64, 64, png_chunk(b"tRNS", b"\0"), data=_ROWS),
        "text": png(64, 64, png_chunk(b"tEXt", b"\0" * 50), data=_ROWS),
        "profile": png(64, 64, png_chunk(b"iCCP", b"a\0\7xx"), data=_ROWS),
        "palette-odd": png(64, 64, png_chunk(b"PLTE", bytes(10)), data=_ROWS),
        "twice": plain[:33] + header + plain[33:],
        "sum": plain[:29] + b"\0\0\0\0" + plain[33:],
        "headless": plain[:8] + plain[33:],
        "dataless": plain[:33] + plain[-12:],
        "first": plain[:8] + png_chunk(b"tEXt", b"a\0b") + plain[8:],
        "length": plain[:33] + b"\xff\xff\xff\xff" + plain[37:],
        "name": plain[:37] + b"\0\0\0\0" + plain[41:],
        "palette-absent": png(64, 64, colour=3, data=indexed),
        "depth": png(64, 64, depth=7, data=_ROWS),
        "colour": png(64, 64, colour=5, data=_ROWS),
        "filter": png(64, 64, data=b"".join(b"\x63" + bytes(192) for _ in range(64))),
        "rows": png(64, 64, data=_ROWS[: len(_ROWS) // 2]),
        "deflate": plain.replace(b"IDATx", b"IDATz"),
    }
    for name, data in odd.items():
        yield of_bytes("chunk", f"{name}.png", data, f"{DAMAGED}|holds several frames", whole=plain)
    beyond = png(64, 64, png_chunk(b"PLTE", bytes(9)), colour=3, data=indexed)
    yield of_bytes("chunk", "palette-short.png", beyond, whole=png(64, 64, colour=0, data=b"\0" * 65 * 64))
