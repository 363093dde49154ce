"""Files of several frames: refused, as which frame is meant is not ours to guess, and without counting them."""

import struct
from collections.abc import Iterator

from PIL import features

from corpus.case import DAMAGED, Case, of_bytes
from corpus.headers import png, png_chunk
from corpus.pictures import encoded, film
from corpus.truncated import cuts, gif_borders, png_borders, riff_borders

SEVERAL = "holds several frames; extract"


def film_cases() -> Iterator[Case]:
    """Yield a film of each format; a camera's MPO stands for its first picture."""
    for form in ("GIF", "WEBP", "PNG", "TIFF", "MPO", *(["AVIF"] if features.check("avif") else [])):
        yield of_bytes("film", f"{form}.{form.lower()}", film(form), None if form == "MPO" else SEVERAL)
    yield of_bytes("film", "frames.gif", gif(200_000), SEVERAL)
    yield of_bytes("film", "pages.tif", tiff(3), SEVERAL)
    rows = b"".join(b"\0" + bytes(64 * 3) for _ in range(64))
    for name, count, size, place in (("none", 0, 64, 0), ("larger", 2, 1 << 30, 0), ("outside", 2, 64, 1 << 30)):
        control = struct.pack(">IIIIIHHBB", 0, size, size, place, place, 1, 0, 9, 9)
        chunks = (png_chunk(b"acTL", struct.pack(">II", count, 0)), png_chunk(b"fcTL", control))
        whole = png(64, 64, data=rows)
        yield of_bytes("film", f"{name}.png", png(64, 64, *chunks, data=rows), f"{DAMAGED}|{SEVERAL}", whole=whole)


def cut_film_cases() -> Iterator[Case]:
    """Yield each cut of a film: refused, or, where nothing of a second frame is left, the first one."""
    for form, borders in (("GIF", gif_borders), ("PNG", png_borders), ("WEBP", riff_borders)):
        data = film(form)
        for size in cuts(borders(data), len(data)):
            error = f"{DAMAGED}|{SEVERAL}|is too small"
            yield of_bytes("cut film", f"{size:06}.{form.lower()}", data[:size], error, whole=encoded(form))


def gif(frames: int) -> bytes:
    """Return a GIF with so many frames of one pixel behind the first."""
    one = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    return encoded("GIF")[:-1] + one * frames + b"\x3b"


def tiff(pages: int) -> bytes:
    """Return a TIFF of so many directories, all of the same pixels."""
    length = 2 + 9 * 12 + 4
    pixels = 8 + pages * length
    values = {256: 64, 257: 64, 258: 8, 259: 1, 262: 1, 273: pixels, 277: 1, 278: 64, 279: 4096}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in values.items())
    following = [*range(8 + length, pixels, length), 0]
    directories = (struct.pack("<H", len(values)) + entries + struct.pack("<I", place) for place in following)
    return b"II*\0" + struct.pack("<I", 8) + b"".join(directories) + bytes(range(64)) * 64
