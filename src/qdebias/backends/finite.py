"""Refusing logits that are no numbers."""

import torch

from qdebias.equations import FloatArray
from qdebias.errors import BackendError


def finite(logits: torch.Tensor) -> FloatArray:
    """Return logits as float64.

    Raises:
        BackendError: One is NaN or infinite.
    """
    if not logits.isfinite().all():
        raise BackendError(
            "the model answered with logits that are not finite; load it in bfloat16 or float32 if it runs in float16, "
            "or obtain the weights again"
        )
    return logits.double().numpy()
