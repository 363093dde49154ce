"""What an image shows, as far as a method has to know: screen content, a photograph, or nothing at all."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from qdebias.degrade import Degradation, Spatter
from qdebias.image import RgbImage, digest


def is_screen(image: RgbImage) -> bool:
    """Return whether an image looks like the picture of a screen: text, diagrams, windows.

    It has a background, one colour that fills a fifth of it or more (after a median and in 16 levels a channel, so that
    noise and compression do not hide it), and hard edges: a twentieth of the pixels or more differ from the next by 64
    grey levels. Photographs seldom have both. A screen that is much blurred is not recognised.
    """
    image = np.ascontiguousarray(image)
    colours = cv2.medianBlur(image, 5).astype(np.int64) >> 4
    counts = np.bincount((colours @ (256, 16, 1)).ravel(), minlength=4096)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.int64)
    steps = np.maximum(np.abs(np.diff(grey, axis=1))[:-1], np.abs(np.diff(grey, axis=0))[:, :-1])
    return bool(counts.max() >= 0.2 * grey.size and (steps >= 64).mean() >= 0.05)


def suits(image: RgbImage, degradation: Degradation) -> bool:
    """Return whether a degradation is used for an image: on screen content spatter alone, else all.

    On SIQAD, the paper's dataset of screen content, the four together lie below the plain question and spatter alone
    above (Table 1), as zoom blur and fog leave no letter to read.
    """
    return isinstance(degradation, Spatter) or not is_screen(image)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentFree:
    """An image that shows nothing; what is answered about it instead of the query is subtracted, logit by logit.

    Contextual calibration (Zhao et al., Calibrate before use, 2021) with P(option | no content) as the prior that is
    divided out; Zhang et al. (Debiasing multimodal large language models, arXiv 2403.05262) do so with images.
    """

    make: Callable[[], RgbImage]  # makes the image, always the same

    def __str__(self) -> str:
        return self.make.__name__

    @property
    def image(self) -> RgbImage:
        """(448, 448, 3), the same object each time."""
        return _made(self.make)

    @property
    def digest(self) -> str:
        """`qdebias.image.digest` of the image."""
        return digest(self.image)


def blank() -> RgbImage:
    """Return a grey image."""
    return np.full((448, 448, 3), 128, dtype=np.uint8)


def noise() -> RgbImage:
    """Return an image of independent values, all equally likely."""
    return np.random.Generator(np.random.SFC64(0)).integers(0, 256, (448, 448, 3), dtype=np.uint8)


@lru_cache(maxsize=8)
def _made(make: Callable[[], RgbImage]) -> RgbImage:
    image = make()
    image.flags.writeable = False
    return image
