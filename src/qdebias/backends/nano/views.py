"""Fixed-shape views of an image of any size: what the vision encoder looks at."""

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

UInt8Array = npt.NDArray[np.uint8]

SIDE = 128
NATIVE = ((0.5, 0.5), (0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0))  # (down, right) of the free space
HALF = ((0.5, 0.0), (0.5, 1.0))
COUNT = 1 + len(NATIVE) + len(HALF)
LATTICE = 8
LARGEST = 1024


def views(image: UInt8Array) -> UInt8Array:
    """Cut an image into a thumbnail, native-resolution crops and half-resolution crops.

    Images with a side above 1024 pixels are first reduced by area averaging, as a viewer's screen does.
    Native crops start on the 8-pixel lattice, so that JPEG blocks keep their phase.

    Args:
        image: (H, W, 3) RGB.

    Returns:
        (8, 3, 128, 128): thumbnail, five native crops, two half-resolution crops.
    """
    image = _limit(image)
    half = cv2.resize(image, (max(1, image.shape[1] // 2), max(1, image.shape[0] // 2)), interpolation=cv2.INTER_AREA)
    thumbnail = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    cuts = [thumbnail]
    cuts += [_crop(image, *place) for place in NATIVE]
    cuts += [_crop(np.asarray(half, dtype=np.uint8), *place) for place in HALF]
    return np.ascontiguousarray(np.stack(cuts).transpose(0, 3, 1, 2))


def _limit(image: UInt8Array) -> UInt8Array:
    longest = max(image.shape[:2])
    if longest <= LARGEST:
        return image
    size = [max(1, round(side * LARGEST / longest)) for side in image.shape[:2]]
    return np.asarray(cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _crop(image: UInt8Array, down: float, right: float) -> UInt8Array:
    missing = [max(0, SIDE - side) for side in image.shape[:2]]
    if any(missing):
        image = np.pad(image, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="symmetric")
    top, left = (
        int(part * (side - SIDE)) // LATTICE * LATTICE
        for part, side in zip((down, right), image.shape[:2], strict=True)
    )
    return image[top : top + SIDE, left : left + SIDE]


def rgb_array(image: Image.Image | UInt8Array) -> UInt8Array:
    """Return an image as (H, W, 3) RGB bytes.

    Raises:
        ValueError: The input is no RGB image of bytes.
    """
    if isinstance(image, Image.Image):
        return np.asarray(image.convert("RGB"), dtype=np.uint8)
    array = np.asarray(image)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
        raise ValueError(f"need (H, W, 3) uint8 or a PIL image, got {array.dtype} of shape {array.shape}")
    return array
