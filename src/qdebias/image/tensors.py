"""Batches of images as torch holds them."""

from typing import Any

import numpy as np

from qdebias.errors import ImageError
from qdebias.image import RgbImage


def to_images(batch: Any) -> list[RgbImage]:  # noqa: ANN401  (torch is not loaded here)
    """Return the images of a batch.

    Args:
        batch: Tensor (N, 3, H, W) or (3, H, W), on any device: uint8, or floating point in [0, 1], which is rounded to
            the nearest of 256 steps. An image that was uint8 / 255 comes back exactly.

    Returns:
        N arrays (H, W, 3) uint8.

    Raises:
        ImageError: The tensor has another shape, type or range.
    """
    planes = batch.detach().cpu()
    if planes.ndim == 3:
        planes = planes[None]
    if planes.ndim != 4 or planes.shape[1] != 3:
        raise ImageError(f"a tensor of shape {tuple(batch.shape)} holds no images; give (N, 3, H, W) in RGB order")
    if planes.is_floating_point():
        planes = planes.float()
        if planes.numel() and not (planes.min() >= 0 and planes.max() <= 1):  # so that NaN is refused
            raise ImageError(
                f"pixels lie in [{planes.min():.4g}, {planes.max():.4g}] and not in [0, 1]; undo the normalisation"
            )
        planes = (planes * 255).round()
    elif planes.numpy().dtype != np.uint8:
        raise ImageError(f"pixels are {batch.dtype}; give uint8, or floating point in [0, 1]")
    return [np.ascontiguousarray(image) for image in planes.numpy().astype(np.uint8).transpose(0, 2, 3, 1)]
