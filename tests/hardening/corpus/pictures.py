"""The sound pictures that the corpus is made of."""

import io
import warnings
from functools import cache

import numpy as np
from PIL import Image


@cache
def picture(mode: str = "RGB", side: int = 48) -> Image.Image:
    """Return a picture with edges, texture and colour, one row higher than wide."""
    rows, columns = np.mgrid[0 : side + 1, 0:side]
    red = 255 * columns / side
    green = 127 + 120 * np.sin(columns / 5) * np.cos(rows / 7)
    blue = np.where((rows // 12 + columns // 12) % 2, 220, 40)
    colour = Image.fromarray(np.stack([red, green, blue], axis=-1).astype(np.uint8))
    if mode == "I;16":
        return Image.fromarray(np.asarray(colour.convert("L")).astype(np.uint16) * 257)
    if mode in ("PA", "LAB", "HSV", "RGBa"):
        return Image.new(mode, colour.size)
    return colour.convert(mode)


def encoded(form: str, mode: str = "RGB", **options: object) -> bytes:
    """Return the picture as a file of a format; raises what Pillow raises where the format has no such pixels."""
    memory = io.BytesIO()
    warnings.filterwarnings("ignore", "IM image format is deprecated", DeprecationWarning)
    picture(mode).save(memory, form, **options)
    return memory.getvalue()


def film(form: str) -> bytes:
    """Return three frames in one file."""
    return encoded(form, save_all=True, append_images=[picture().rotate(90 * turn) for turn in (1, 2)])
