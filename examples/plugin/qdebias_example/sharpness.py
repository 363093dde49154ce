"""A custom model: sharp images are good; a stand-in for a network or a server."""

from collections.abc import Sequence

import numpy as np

from qdebias import Fingerprint, Request
from qdebias.backends.base import OptionLogits
from qdebias.equations import FloatArray
from qdebias.image import RgbImage


class Sharpness:
    """Implement `qdebias.Backend`: it needs only a fingerprint and `option_logits`."""

    fingerprint = Fingerprint(identity={"backend": "sharpness", "model": "mean-difference-1"})

    def option_logits(self, requests: Sequence[Request]) -> OptionLogits:
        """Return (K,) logits of each question of each request, in the order of its options."""
        return [[sharpness(one.images) * praise(question.options) for question in one.questions] for one in requests]


def praise(options: Sequence[str]) -> FloatArray:
    """Return 1 for good and yes, -1 for any other option."""
    return np.array([1.0 if option.strip().lower() in ("good", "yes") else -1.0 for option in options])


def sharpness(images: Sequence[RgbImage]) -> float:
    """Return the log ratio of the last image's sharpness to the first's, or to that of a typical photograph."""
    steps = [np.abs(np.diff(image.astype(float), axis=1)).mean() for image in images]
    return float(np.log((steps[-1] + 1) / (steps[0] + 1 if len(steps) > 1 else 8)))
