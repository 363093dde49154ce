"""Images without content, to find out what a model answers before it has seen anything."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from qdebias.image import RgbImage, digest
from qdebias.probability import FloatArray

SIDE = 448
"""Width and height of the image, in pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentFree:
    """An image that shows nothing; what is answered about it in the place of the query is subtracted, logit by logit.

    Contextual calibration (Zhao et al., Calibrate before use, 2021) with P(option | no content) as the prior that is
    divided out; Zhang et al. (Debiasing multimodal large language models, arXiv 2403.05262) do so with images.

    Attributes:
        make: Makes the image, always the same.
    """

    make: Callable[[], RgbImage]

    def __str__(self) -> str:
        """Return the name of the image."""
        return self.make.__name__

    @property
    def image(self) -> RgbImage:
        """(448, 448, 3), the same object each time."""
        return _made(self.make)

    @property
    def digest(self) -> str:
        """`qdebias.image.digest` of the image."""
        return _digest(self.make)


def blank() -> RgbImage:
    """Return a grey image."""
    return np.full((SIDE, SIDE, 3), 128, dtype=np.uint8)


def noise() -> RgbImage:
    """Return an image of independent values, all equally likely."""
    return np.random.Generator(np.random.SFC64(0)).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def without_prior(logits: FloatArray, prior: FloatArray) -> FloatArray:
    """Return logits whose softmax is P(option | image) / P(option | no content), normalised."""
    return np.asarray(logits, dtype=np.float64) - prior


@lru_cache(maxsize=8)
def _made(make: Callable[[], RgbImage]) -> RgbImage:
    image = make()
    image.flags.writeable = False
    return image


@lru_cache(maxsize=8)
def _digest(make: Callable[[], RgbImage]) -> str:
    return digest(_made(make))
