"""Fixed natural-scene statistics of an image: what the vision encoder knows before it learns anything.

Everything here is arithmetic on pixels. Moments of locally normalised luminance (Ruderman; Mittal et al., BRISQUE),
gradient and contrast histograms, a Laplacian pyramid, differences on the 8-pixel JPEG lattice, noise floors, opponent
colours, saturation and the dark channel (He et al.).
"""

from collections.abc import Callable

import torch
from torch.nn import functional

from qdebias.backends.nano.measures import colour, lattice, texture
from qdebias.backends.nano.views import NATIVE

SIZE = 703

Measure = Callable[[torch.Tensor], torch.Tensor]


def statistics(pixels: torch.Tensor) -> torch.Tensor:
    """Measure images.

    Args:
        pixels: (images, views, 3, side, side) in [0, 1]; thumbnail, native crops, half-resolution crops.

    Returns:
        (images, SIZE).
    """
    thumbnail = pixels[:, :1]
    native = pixels[:, 1 : 1 + len(NATIVE)]
    half = pixels[:, 1 + len(NATIVE) :]
    reduced = functional.avg_pool2d(native.flatten(0, 1), 2).unflatten(0, native.shape[:2])
    parts = [
        *(_over_views(native, measure) for measure in (texture, lattice, colour)),
        *(_over_views(views, texture) for views in (reduced, half, thumbnail)),
        _over_views(thumbnail, colour),
    ]
    return torch.cat(parts, dim=1)


def _over_views(pixels: torch.Tensor, measure: Measure) -> torch.Tensor:
    """Mean over the views and, where there are several, their spread."""
    each = measure(pixels.flatten(0, 1)).unflatten(0, pixels.shape[:2])
    if each.shape[1] == 1:
        return each[:, 0]
    return torch.cat([each.mean(1), each.amax(1) - each.amin(1)], dim=1)
