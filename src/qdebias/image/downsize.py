"""Making camera-size images smaller before they are scored: only where it is asked for, and written down."""

from collections.abc import Mapping

import numpy as np
from PIL import Image

from qdebias.errors import ImageError
from qdebias.image import MIN_SIDE, RgbImage

IDENTITY = "max_side"
"""Under which name a fingerprint says how large images may be; absent where they are scored as they are."""


def downsized(image: RgbImage, max_side: int, *, name: str = "image") -> RgbImage:
    """Return the image with its longer side cut down to `max_side` pixels, or as it is where that is no longer.

    The aspect ratio stays, to the nearest pixel. The filter is Pillow's Lanczos, whose support grows with the factor,
    so that nothing aliases.

    Args:
        image: (H, W, 3).
        max_side: At least `MIN_SIDE`.
        name: What the image is called in the error.

    Raises:
        ImageError: The shorter side would be less than `MIN_SIDE`.
    """
    height, width = image.shape[:2]
    factor = max_side / max(height, width)
    if factor >= 1:
        return image
    size = round(width * factor), round(height * factor)
    if min(size) < MIN_SIDE:
        raise ImageError(
            f"{name}: {width} x {height} with a side of at most {max_side} would be {size[0]} x {size[1]}, too small "
            f"to be judged; {MIN_SIDE} a side is the least, so raise max_side"
        )
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


def max_side_of(identity: Mapping[str, str]) -> int | None:
    """Return how large images may be according to the identity of a fingerprint, None for any size."""
    return int(identity[IDENTITY]) if IDENTITY in identity else None
