"""Fixed natural-scene statistics of an image: what the vision encoder knows before it learns anything.

Everything here is arithmetic on pixels. Moments of locally normalised luminance (Ruderman; Mittal et al., BRISQUE),
gradient and contrast histograms, a Laplacian pyramid, differences on the 8-pixel JPEG lattice, noise floors, opponent
colours, saturation and the dark channel (He et al.).
"""

import numpy as np
import torch

from qdebias.backends.nano.loops import Float32Array, Float64Array
from qdebias.backends.nano.measures import (
    colour,
    halved,
    lattice,
    luma,
    quantiles,
    texture,
)
from qdebias.backends.nano.views import NATIVE

SIZE = 715
SHARPNESS = slice(578, 590)  # quantiles of the map of sharpness
COLOURS = slice(664, SIZE)  # of the thumbnail
_SHARES = (0.05, 0.25, 0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 1.0)


def statistics(pixels: torch.Tensor) -> torch.Tensor:
    """Measure images.

    Args:
        pixels: (images, views, 3, side, side) in [0, 1], from `views`.

    Returns:
        (images, SIZE).
    """
    measured = np.stack([_of_image(image) for image in pixels.float().cpu().numpy()])
    return torch.from_numpy(measured.astype(np.float32)).to(pixels.device, pixels.dtype)


def _of_image(pixels: Float32Array) -> Float64Array:
    """Measure the (views, 3, side, side) of an image."""
    crops = 1 + len(NATIVE)
    light = luma(pixels[:-1])
    textures, colours = texture(light), colour(pixels[:crops], light[:crops])
    parts = [
        _summary(textures[1:crops]),
        _summary(lattice(light[1:crops])),
        _summary(colours[1:]),
        _summary(texture(luma(halved(pixels[1:crops])))),
        _summary(textures[crops:]),
        quantiles(pixels[-1:, 0].reshape(1, -1), _SHARES)[0],
        textures[0],
        colours[0],
    ]
    return np.concatenate(parts)


def _summary(values: Float64Array) -> Float64Array:
    """Mean over the views and their spread: (views, values) to (2 * values,)."""
    return np.concatenate([values.mean(0), np.ptp(values, axis=0)])
