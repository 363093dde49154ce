"""Which degradations suit what an image shows: what the paper chooses for a whole dataset, chosen for each image."""

import cv2
import numpy as np

from qdebias.degrade import Degradation, Spatter
from qdebias.image import RgbImage

FLAT = 0.2
"""Least share of the most frequent colour in screen content."""

EDGES = 0.05
"""Least share of hard edges in screen content."""


def is_screen(image: RgbImage) -> bool:
    """Return whether an image looks like the picture of a screen: text, diagrams, windows.

    It does where both hold:

    - one colour fills a fifth of the image or more, counted after a 5 x 5 median in 16 levels a channel, so that noise
      and compression do not hide it: a background;
    - a twentieth of the pixels or more differ from the pixel to the right or below by 64 grey levels: letters, lines.

    Photographs have hard edges or a plain background, seldom both. A screen that is much blurred is not recognised.

    Args:
        image: (H, W, 3).
    """
    image = np.ascontiguousarray(image)
    colours = cv2.medianBlur(image, 5).astype(np.int64) >> 4
    counts = np.bincount((colours @ (256, 16, 1)).ravel(), minlength=4096)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.int64)
    steps = np.maximum(np.abs(np.diff(grey, axis=1))[:-1], np.abs(np.diff(grey, axis=0))[:, :-1])
    return bool(counts.max() >= FLAT * grey.size and (steps >= 64).mean() >= EDGES)


def suits(image: RgbImage, degradation: Degradation) -> bool:
    """Return whether a degradation is used for an image: on screen content spatter alone, else all.

    On SIQAD, the paper's dataset of screen content, the four together lie below the plain question and spatter alone
    above (Table 1), as zoom blur and fog leave no letter to read.
    """
    return isinstance(degradation, Spatter) or not is_screen(image)
