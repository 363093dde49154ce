"""The image as every part of qdebias sees it: uint8 RGB of shape (H, W, 3), never re-encoded or resized.

Loading is the only place where a file becomes pixels, so that every conversion is written down once.
"""

import hashlib
import warnings
from pathlib import Path
from typing import IO, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from qdebias.errors import ImageError

RgbImage: TypeAlias = npt.NDArray[np.uint8]

MAX_PIXELS = 50_000_000
"""Default upper limit of width x height; larger images are refused before they are decoded."""

MIN_SIDE = 32
"""Shortest side, in pixels, on which the degradations and the vision encoders mean anything."""


def digest(image: RgbImage) -> str:
    """Return the content hash of an image: 32 hex digits over its shape and pixels.

    Two files with the same decoded pixels have the same digest, whatever their format. The random degradations
    are seeded with it, so that neither order nor batch size can change them.
    """
    shape = ",".join(map(str, image.shape)).encode()
    return hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16, key=shape).hexdigest()


