"""A node for ComfyUI that judges a batch of images, and passes on the best: copy this file to `custom_nodes`.

It asks the `qdebias serve` whose address is in QDEBIAS_URL of ComfyUI's environment, or the one on this machine. The
address is no input of the node, so that a workflow from someone else cannot send images elsewhere.
"""

import os
from typing import Any

import numpy as np

from qdebias.client import Client


class QualityScore:
    """Quality of images in [0, 1], higher is better."""

    RETURN_TYPES = ("FLOAT", "IMAGE")
    RETURN_NAMES = ("scores", "best")
    OUTPUT_IS_LIST = (True, False)
    FUNCTION = "score"
    CATEGORY = "image/quality"
    DESCRIPTION = "Scores each image of a batch with qdebias, and passes on the one with the highest score."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802  its name in ComfyUI
        """Return the inputs as ComfyUI describes them."""
        return {"required": {"images": ("IMAGE",)}}

    def score(self, images: Any) -> tuple[list[float], Any]:  # noqa: ANN401  a tensor
        """Judge a batch: a tensor (N, H, W, 3) in [0, 1], made bytes as ComfyUI makes them to save an image.

        Raises:
            ServerError: The server does not answer, or an image has no score.
        """
        pixels = np.clip(255.0 * images.cpu().numpy(), 0, 255).astype(np.uint8)
        scores = []
        with Client(os.environ.get("QDEBIAS_URL", "http://127.0.0.1:8765")) as client:
            for result in client.score_many(pixels):
                if isinstance(result, Exception):
                    raise result
                scores.append(result.score)
        best = scores.index(max(scores))
        return scores, images[best : best + 1]


NODE_CLASS_MAPPINGS = {"QdebiasQualityScore": QualityScore}
NODE_DISPLAY_NAME_MAPPINGS = {"QdebiasQualityScore": "Image Quality (qdebias)"}
