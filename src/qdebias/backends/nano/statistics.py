"""Fixed natural-scene statistics of an image: what the vision encoder knows before it learns anything.

Everything here is arithmetic on pixels. Moments of locally normalised luminance (Ruderman; Mittal et al., BRISQUE),
gradient and contrast histograms, a Laplacian pyramid, differences on the 8-pixel JPEG lattice, noise floors, opponent
colours, saturation and the dark channel (He et al.).
"""

from collections.abc import Callable

import torch
from torch.nn import functional

from qdebias.backends.nano.measures import colour, lattice, quantiles, texture
from qdebias.backends.nano.views import NATIVE

SIZE = 715
SHARPNESS = slice(578, 590)  # quantiles of the map of sharpness
COLOURS = slice(664, SIZE)  # of the thumbnail
_SHARES = (0.05, 0.25, 0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 1.0)

Measure = Callable[[torch.Tensor], torch.Tensor]


def statistics(pixels: torch.Tensor) -> torch.Tensor:
    """Measure images.

    Args:
        pixels: (images, views, 3, side, side) in [0, 1], from `views`.

    Returns:
        (images, SIZE).
    """
    crops = 1 + len(NATIVE)
    native = pixels[:, 1:crops]
    reduced = functional.avg_pool2d(native.flatten(0, 1), 2).unflatten(0, native.shape[:2])
    textures, colours = _each(pixels[:, :-1], texture), _each(pixels[:, :crops], colour)
    parts = [
        _summary(textures[:, 1:crops]),
        _summary(_each(native, lattice)),
        _summary(colours[:, 1:]),
        _summary(_each(reduced, texture)),
        _summary(textures[:, crops:]),
        quantiles(pixels[:, -1, 0].flatten(1), _SHARES),
        textures[:, 0],
        colours[:, 0],
    ]
    return torch.cat(parts, dim=1)


def _each(pixels: torch.Tensor, measure: Measure) -> torch.Tensor:
    """Measure each view: (images, views, 3, side, side) to (images, views, values)."""
    return measure(pixels.flatten(0, 1)).view(*pixels.shape[:2], -1)


def _summary(values: torch.Tensor) -> torch.Tensor:
    """Mean over the views and their spread: (images, views, values) to (images, 2 * values)."""
    return torch.cat([values.mean(1), values.amax(1) - values.amin(1)], dim=1)
