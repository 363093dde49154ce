"""Whether a model knows which of two images is the first.

Where images stand among the tokens, their positions tell. Where they enter by cross attention (Mllama), nothing but
the question's own words does: swapping two images hardly changes the answer, so that "the second image" means little.
"""

import inspect
import logging
from dataclasses import replace

import numpy as np

from qdebias.backends.hf import HfBackend
from qdebias.backends.hf_types import Model
from qdebias.errors import PromptError
from qdebias.image import RgbImage
from qdebias.prompts import Question, Request

LEAST = 0.05
"""The order counts where swapping two images changes the logits by this share of what replacing one does."""

_ASKED = Question(text="Is the second image sharper than the first one?", options=("Yes", "No"), values=(1.0, 0.0))
_log = logging.getLogger(__name__)


def remember_order(model: Model, backend: HfBackend) -> None:
    """Warn where the order of images carries no weight, and write that into the identity of the backend.

    Only a model whose images enter by cross attention is asked.
    """
    if "cross_attention_states" not in inspect.signature(type(model).forward).parameters:
        return
    try:
        share = swapped_share(backend)
    except PromptError:  # one image a prompt: there is no order
        return
    if share >= LEAST:
        return
    _log.warning(
        "swapping two images changes the answer of this model by %.1f %% of what replacing one does: it hardly knows "
        "which is the first, so methods that show two images, and rank, say little with it; take another model",
        100 * share,
    )
    known = backend.fingerprint
    backend.fingerprint = replace(known, identity={**known.identity, "image_order": "carries no weight"})


def swapped_share(backend: HfBackend) -> float:
    """Return how much swapping two images changes the logits, as a share of what replacing one of them does."""
    broad, narrow, steep = (_stripes(width) for width in (64, 8, 23))
    asked, swapped, replaced = (
        backend.last_logits([Request(images=images, questions=(_ASKED,))])[0][0]
        for images in ((broad, narrow), (narrow, broad), (broad, steep))
    )
    return float(np.abs(asked - swapped).max() / max(float(np.abs(asked - replaced).max()), 1e-12))


def _stripes(width: int) -> RgbImage:
    """Return a picture of stripes of so many pixels, (224, 224, 3)."""
    rows, columns = np.mgrid[0:224, 0:224]
    bright = 64 + 128 * ((columns + rows // 2) // width % 2)
    return np.stack([bright, 255 - bright, np.full_like(bright, 96)], axis=-1).astype(np.uint8)
