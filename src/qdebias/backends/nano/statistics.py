"""The views of an image that are measured, and the statistics of all of them."""

from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image

from qdebias.backends.hf.images import flat
from qdebias.backends.nano.colour import colour
from qdebias.backends.nano.loops import LATTICE, Float32Array, UInt8Array, largest_cells, luminance, summaries
from qdebias.backends.nano.texture import lattice, texture

SIDE = 128
NATIVE = ((0.5, 0.5), (0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0))  # (down, right) of the free space
HALF = ((0.5, 0.0), (0.5, 1.0))
COUNT = 1 + len(NATIVE) + len(HALF) + 1
LARGEST = 1024
STEEPEST = 1020  # the largest Laplacian of bytes
_STEPS = np.rint(255 * np.log1p(np.arange(STEEPEST + 1, dtype=np.int16)) / np.log1p(STEEPEST)).astype(np.uint8)


def pixels_of(images: Any) -> Float32Array:  # noqa: ANN401
    """Return the views of (nested lists of) images, (images, 9, 3, 128, 128) in [0, 1].

    They are a thumbnail, five native crops, two half-resolution crops, and the sharpness of the whole image in three
    equal channels: 255 log(1 + s) / log(1021), so that one step is 3 %, of the largest size s of the Laplacian in each
    cell of a grid. Images with a side above 1024 pixels are first reduced by area averaging, as a viewer's screen does.
    Native crops start on the 8-pixel lattice, so that JPEG blocks keep their phase.

    Raises:
        ValueError: One is no RGB image of bytes.
    """
    flattened = flat(images)
    pixels = np.empty((len(flattened), COUNT, 3, SIDE, SIDE), np.float32)
    for picture, views in zip(flattened, pixels, strict=True):
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
        cuts = [cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)]
        cuts += [_crop(source, *place) for source, places in ((image, NATIVE), (half, HALF)) for place in places]
        laplacian = cv2.Laplacian(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.CV_16S)
        sharpness = np.empty((SIDE, SIDE), np.uint8)
        largest_cells(np.abs(laplacian), _STEPS, sharpness)
        for cut, view in zip([*map(cv2.split, cuts), sharpness], views, strict=True):
            np.divide(np.asarray(cut), np.float32(255), out=view, dtype=np.float32)
    return pixels


def _crop(image: UInt8Array, down: float, right: float) -> UInt8Array:
    height, width = image.shape[:2]
    if min(height, width) < SIDE:
        image = np.pad(image, ((0, max(0, SIDE - height)), (0, max(0, SIDE - width)), (0, 0)), mode="symmetric")
    top, left = (max(0, int(part)) for part in (down * (height - SIDE), right * (width - SIDE)))
    top, left = top // LATTICE * LATTICE, left // LATTICE * LATTICE
    return image[top : top + SIDE, left : left + SIDE]


SIZE = 715
SHARPNESS = slice(578, 590)  # quantiles of the map of sharpness
COLOURS = slice(664, SIZE)  # of the thumbnail
_SHARES = np.array((0.05, 0.25, 0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 1.0))


def statistics(pixels: torch.Tensor) -> torch.Tensor:
    """Map the `views` of images, (images, views, 3, side, side) in [0, 1], to (images, SIZE)."""
    native, rows = slice(1, 1 + len(NATIVE)), []
    for image in pixels.float().cpu().numpy():
        light, halves = (
            np.empty((COUNT - 1, SIDE, SIDE), np.float32),
            np.empty((len(NATIVE), SIDE // 2, SIDE // 2), np.float32),
        )
        luminance(image, light, halves)
        textures, colours = texture(light), colour(image[: native.stop], light[: native.stop])
        steps = np.sort(image[-1, 0].ravel())
        parts = [
            *map(summaries, (textures[native], lattice(light[native]), colours[1:])),
            *map(summaries, (texture(halves), textures[native.stop :])),
            *(steps[np.rint(_SHARES * (len(steps) - 1)).astype(int)], textures[0], colours[0]),
        ]
        rows.append(np.concatenate(parts))
    return torch.from_numpy(np.stack(rows).astype(np.float32)).to(pixels.device, pixels.dtype)
