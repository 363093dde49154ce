"""Fixed natural-scene statistics of an image's views."""

import torch

SIZE = 48


def statistics(pixels: torch.Tensor) -> torch.Tensor:
    """Placeholder statistics: mean and deviation per view and channel.

    Args:
        pixels: (images, views, 3, side, side) in [0, 1].

    Returns:
        (images, statistics).
    """
    return torch.cat([pixels.mean((-1, -2)), pixels.std((-1, -2))], dim=1).flatten(1)
