"""A reward function for flow_grpo: `quality(Client(url))` returns what its table of rewards holds.

Such functions are called with images, prompts and metadata and return a score for each image. An image without a score
ends the training step with an error; no number is put in its place.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from qdebias.client import Client


def quality(client: Client) -> Callable[..., tuple[npt.NDArray[np.float64], dict[str, Any]]]:
    """Return a reward function that asks the server of this client."""

    def reward(images: Any, prompts: Any, metadata: Any) -> tuple[npt.NDArray[np.float64], dict[str, Any]]:  # noqa: ANN401, ARG001
        """Judge images: a tensor (N, 3, H, W) in [0, 1], or an array (N, H, W, 3) of uint8."""
        if hasattr(images, "detach"):
            pixels = (images.detach().float() * 255).round().clamp(0, 255).byte().cpu().numpy().transpose(0, 2, 3, 1)
        else:
            pixels = np.asarray(images, dtype=np.uint8)
        found = client.reward([np.ascontiguousarray(image) for image in pixels])
        if found.errors:
            place, error = next(iter(found.errors.items()))
            raise ValueError(f"image {place} of {len(pixels)} cannot be judged: {error}")
        return np.array(found.rewards, dtype=np.float64), {"fingerprint": found.fingerprint}

    return reward
