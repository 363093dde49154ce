"""A model of one's own: it calls good what is sharp, in place of a network or a server."""

from collections.abc import Sequence

import numpy as np

from qdebias import Fingerprint, Request
from qdebias.backends.base import OptionLogits
from qdebias.equations import FloatArray
from qdebias.image import RgbImage


class Sharpness:
    """Fits `qdebias.Backend`: a fingerprint and `option_logits` are all that is needed."""

    fingerprint = Fingerprint(identity={"backend": "sharpness", "model": "mean-difference-1"})

    def option_logits(self, requests: Sequence[Request]) -> OptionLogits:
        """Return (K,) logits of each question of each request, in the order of its options."""
        return [[sharpness(one.images) * praise(question.options) for question in one.questions] for one in requests]


def praise(options: Sequence[str]) -> FloatArray:
    """Return 1 for a word of praise, -1 for any other."""
    return np.array([1.0 if option.strip().lower() in ("good", "yes") else -1.0 for option in options])


def sharpness(images: Sequence[RgbImage]) -> float:
    """Return how sharp the last image is beside the first; beside none, beside a usual photograph."""
    steps = [np.abs(np.diff(image.astype(float), axis=1)).mean() for image in images]
    return float(np.log((steps[-1] + 1) / (steps[0] + 1 if len(steps) > 1 else 8)))
