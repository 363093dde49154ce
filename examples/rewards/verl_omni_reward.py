"""A reward function for verl-omni: name this file and `compute_score` as its custom reward function.

`reward_kwargs` hold `server_url`, and what else `AsyncClient` takes. An image without a score is an error, never a
number.
"""

from typing import Any

import numpy as np

from qdebias.client import AsyncClient

_clients: dict[str, AsyncClient] = {}


async def compute_score(
    solution_image: Any,  # noqa: ANN401  a tensor
    ground_truth: str,  # noqa: ARG001  the prompt, which quality does not depend on
    server_url: str,
    **settings: Any,  # noqa: ANN401
) -> dict[str, float]:
    """Judge one image: a uint8 tensor (3, H, W) or (1, 3, H, W).

    Raises:
        ServerError: The server does not answer, or the image cannot be judged.
    """
    if server_url not in _clients:
        known = {name: settings[name] for name in ("key", "timeout", "retries") if name in settings}
        _clients[server_url] = AsyncClient(server_url, **known)
    pixels = solution_image[0] if solution_image.ndim == 4 else solution_image
    image = np.ascontiguousarray(pixels.permute(1, 2, 0).cpu().numpy())
    found = await _clients[server_url].reward([image])
    if 0 in found.errors:
        raise found.errors[0]
    (reward,) = found.rewards
    return {"score": float(reward)}  # type: ignore[arg-type]  # None has an error
