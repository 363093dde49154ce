"""The views of an image that are measured, and the statistics of all of them."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from qdebias.backends.nano.loops import LATTICE, Float32Array, Float64Array, halve, largest_rows, luma
from qdebias.backends.nano.measures import colour, lattice, texture

UInt8Array = npt.NDArray[np.uint8]

SIDE = 128
NATIVE = ((0.5, 0.5), (0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0))  # (down, right) of the free space
HALF = ((0.5, 0.0), (0.5, 1.0))
COUNT = 1 + len(NATIVE) + len(HALF) + 1
LARGEST = 1024
STEEPEST = 1020  # the largest Laplacian of bytes


def views(image: UInt8Array) -> UInt8Array:
    """Cut an image into a thumbnail and crops at full and half resolution, and map the sharpness of all of it.

    Images with a side above 1024 pixels are first reduced by area averaging, as a viewer's screen does.
    Native crops start on the 8-pixel lattice, so that JPEG blocks keep their phase.

    (H, W, 3) RGB becomes (9, 3, 128, 128): thumbnail, five native crops, two half-resolution crops, and `sharpness` in
    three equal channels.
    """
    longest = max(image.shape[:2])
    if longest > LARGEST:
        size = [max(1, round(side * LARGEST / longest)) for side in image.shape[1::-1]]
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    half = cv2.resize(image, (max(1, image.shape[1] // 2), max(1, image.shape[0] // 2)), interpolation=cv2.INTER_AREA)
    thumbnail = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    cuts = [thumbnail]
    cuts += [_crop(image, *place) for place in NATIVE]
    cuts += [_crop(np.asarray(half, dtype=np.uint8), *place) for place in HALF]
    cuts.append(np.repeat(sharpness(image)[..., None], 3, axis=2))
    return np.ascontiguousarray(np.stack(cuts).transpose(0, 3, 1, 2))


def sharpness(image: UInt8Array) -> UInt8Array:
    """Return the largest size of the Laplacian in each cell of a grid over the whole (H, W, 3) image, (128, 128).

    255 log(1 + |Laplacian|) / log(1021), so that one step is 3 %.
    """
    largest = np.abs(cv2.Laplacian(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.CV_16S))
    for _ in range(2):  # rows, then columns
        found = np.empty((SIDE, largest.shape[1]), np.int16)
        largest_rows(largest, np.arange(SIDE) * len(largest) // SIDE, found)
        largest = np.ascontiguousarray(found.T)
    steps: UInt8Array = _STEPS[largest]
    return steps


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


def flat(images: Any) -> list[Any]:  # noqa: ANN401
    """Return the images of nested lists, in order: of Pillow, or (H, W, 3) uint8."""
    return [images] if isinstance(images, Image.Image | np.ndarray) else [one for part in images for one in flat(part)]


def pixels_of(images: Any) -> Float32Array:  # noqa: ANN401
    """Return the `views` of (nested lists of) images, (images, views, 3, 128, 128) in [0, 1].

    Raises:
        ValueError: One is no RGB image of bytes.
    """
    cuts = []
    for image in flat(images):
        array = np.asarray(image.convert("RGB") if isinstance(image, Image.Image) else image)
        if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
            raise ValueError(f"need (H, W, 3) uint8 or a PIL image, got {array.dtype} of shape {array.shape}")
        cuts.append(views(array))
    return np.divide(np.stack(cuts), np.float32(255), dtype=np.float32)


SIZE = 715
SHARPNESS = slice(578, 590)  # quantiles of the map of sharpness
COLOURS = slice(664, SIZE)  # of the thumbnail
_SHARES = (0.05, 0.25, 0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 1.0)


def statistics(pixels: torch.Tensor) -> torch.Tensor:
    """Map the `views` of images, (images, views, 3, side, side) in [0, 1], to (images, SIZE)."""
    measured = np.stack([_of_image(image) for image in pixels.float().cpu().numpy()])
    return torch.from_numpy(measured.astype(np.float32)).to(pixels.device, pixels.dtype)


def _of_image(pixels: Float32Array) -> Float64Array:
    """Measure the (views, 3, side, side) of an image."""
    crops = 1 + len(NATIVE)
    light = [np.empty_like(view[0]) for view in pixels[:-1]]
    halves = [np.empty((len(plane) // 2, len(plane) // 2), np.float32) for plane in light[1:crops]]
    for view, plane in zip(pixels, light, strict=False):
        luma(view, plane)
    small = np.empty((3, SIDE // 2, SIDE // 2), np.float32)
    for view, plane in zip(pixels[1:], halves, strict=False):
        for channel, half in zip(view, small, strict=True):
            halve(channel, half)
        luma(small, plane)
    textures, colours = texture(light + halves), colour(pixels[:crops], light[:crops])
    steps = np.sort(pixels[-1, 0].ravel())
    parts = [
        _summary(textures[1:crops]),
        _summary(lattice(light[1:crops])),
        _summary(colours[1:]),
        _summary(textures[len(light) :]),
        _summary(textures[crops : len(light)]),
        steps[[round(share * (len(steps) - 1)) for share in _SHARES]],
        textures[0],
        colours[0],
    ]
    return np.concatenate(parts)


def _summary(values: Float64Array) -> Float64Array:
    """Mean over the views and their spread: (views, values) to (2 * values,)."""
    return np.concatenate([values.mean(0), np.ptp(values, axis=0)])
