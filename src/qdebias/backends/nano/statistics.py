"""The views of an image that are measured, and the statistics of all of them."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from qdebias.backends.hf.images import flat
from qdebias.backends.nano.loops import LATTICE, Float32Array, halve, largest_rows, luma
from qdebias.backends.nano.measures import colour, lattice, texture

UInt8Array = npt.NDArray[np.uint8]

SIDE = 128
NATIVE = ((0.5, 0.5), (0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0))  # (down, right) of the free space
HALF = ((0.5, 0.0), (0.5, 1.0))
COUNT = 1 + len(NATIVE) + len(HALF) + 1
LARGEST = 1024
STEEPEST = 1020  # the largest Laplacian of bytes


_STEPS = np.rint(255 * np.log1p(np.arange(STEEPEST + 1, dtype=np.int16)) / np.log1p(STEEPEST)).astype(np.uint8)


def _crop(image: UInt8Array, down: float, right: float) -> UInt8Array:
    missing = [max(0, SIDE - side) for side in image.shape[:2]]
    if any(missing):
        image = np.pad(image, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="symmetric")
    top, left = (
        int(part * (side - SIDE)) // LATTICE * LATTICE
        for part, side in zip((down, right), image.shape[:2], strict=True)
    )
    return image[top : top + SIDE, left : left + SIDE]


def pixels_of(images: Any) -> Float32Array:  # noqa: ANN401
    """Return the views of (nested lists of) images, (images, 9, 3, 128, 128) in [0, 1].

    They are a thumbnail, five native crops, two half-resolution crops, and the sharpness of the whole image in three
    equal channels: 255 log(1 + s) / log(1021), so that one step is 3 %, of the largest size s of the Laplacian in each
    cell of a grid. Images with a side above 1024 pixels are first reduced by area averaging, as a viewer's screen does.
    Native crops start on the 8-pixel lattice, so that JPEG blocks keep their phase.

    Raises:
        ValueError: One is no RGB image of bytes.
    """
    cuts: list[UInt8Array] = []
    for picture in flat(images):
        rgb = picture.convert("RGB") if isinstance(picture, Image.Image) and picture.mode != "RGB" else picture
        image: UInt8Array = np.asarray(rgb)
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"need (H, W, 3) uint8 or a PIL image, got {image.dtype} of shape {image.shape}")
        longest = max(image.shape[:2])
        if longest > LARGEST:
            size = [max(1, round(side * LARGEST / longest)) for side in image.shape[1::-1]]
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        halved = max(1, image.shape[1] // 2), max(1, image.shape[0] // 2)
        half = np.asarray(cv2.resize(image, halved, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        cuts.append(np.asarray(cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA), dtype=np.uint8))
        cuts += [_crop(source, *place) for source, places in ((image, NATIVE), (half, HALF)) for place in places]
        largest = np.abs(cv2.Laplacian(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.CV_16S))
        for _ in range(2):  # rows, then columns
            found = np.empty((SIDE, largest.shape[1]), np.int16)
            largest_rows(largest, np.arange(SIDE) * len(largest) // SIDE, found)
            largest = np.ascontiguousarray(found.T)
        cuts.append(np.repeat(_STEPS[largest][..., None], 3, axis=2))
    stacked = np.stack(cuts).reshape(-1, COUNT, SIDE, SIDE, 3).transpose(0, 1, 4, 2, 3)
    return np.divide(stacked, np.float32(255), dtype=np.float32, order="C")


SIZE = 715
SHARPNESS = slice(578, 590)  # quantiles of the map of sharpness
COLOURS = slice(664, SIZE)  # of the thumbnail
_SHARES = (0.05, 0.25, 0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 1.0)


def statistics(pixels: torch.Tensor) -> torch.Tensor:
    """Map the views of images, (images, views, 3, side, side) in [0, 1], to (images, SIZE)."""
    crops, rows = 1 + len(NATIVE), []
    for image in pixels.float().cpu().numpy():
        light = [np.empty_like(view[0]) for view in image[:-1]]
        halves = [np.empty((len(plane) // 2, len(plane) // 2), np.float32) for plane in light[1:crops]]
        for view, plane in zip(image, light, strict=False):
            luma(view, plane)
        small = np.empty((3, SIDE // 2, SIDE // 2), np.float32)
        for view, plane in zip(image[1:], halves, strict=False):
            for channel, half in zip(view, small, strict=True):
                halve(channel, half)
            luma(small, plane)
        textures, colours = texture(light + halves), colour(image[:crops], light[:crops])
        steps = np.sort(image[-1, 0].ravel())
        over = (textures[1:crops], lattice(light[1:crops]), colours[1:], textures[len(light) :])
        parts = [np.concatenate([part.mean(0), np.ptp(part, axis=0)]) for part in (*over, textures[crops : len(light)])]
        parts += [steps[[round(share * (len(steps) - 1)) for share in _SHARES]], textures[0], colours[0]]
        rows.append(np.concatenate(parts))
    return torch.from_numpy(np.stack(rows).astype(np.float32)).to(pixels.device, pixels.dtype)
