"""Full-reference error of a distorted copy: gradients at three scales, chroma and local light."""

import cv2
import numpy as np


def error(pristine: np.ndarray, distorted: np.ndarray) -> float:
    """Return how different a copy looks from its pristine original; 0 is identical.

    Gradient-magnitude similarity (with its deviation) at three scales, chroma similarity and similarity of
    local luminance, in the manner of GMSD and VSI; the constants are theirs, scaled to [0, 1].

    Args:
        pristine: (H, W, 3) RGB bytes.
        distorted: The same shape.

    Returns:
        Error, 0 to about 1.
    """
    parts = []
    first, second = (image.astype(np.float32) / 255 for image in (pristine, distorted))
    for _ in range(3):
        one, two = _layers(first), _layers(second)
        gradient = _similar(_gradient(one[0]), _gradient(two[0]), 0.0026)
        chroma = _similar(one[1], two[1], 0.02) * _similar(one[2], two[2], 0.02)
        light = _similar(*(cv2.blur(layer[0], (7, 7)) for layer in (one, two)), 0.01)
        parts.append(
            0.5 * (1 - gradient.mean()) + 0.9 * gradient.std() + 2.0 * (1 - chroma.mean()) + 0.4 * (1 - light.mean())
        )
        first, second = (
            cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for image in (first, second)
        )
    return float(np.mean(parts))


def _layers(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Luminance, and two opponent colours shifted to be positive."""
    red, green, blue = image[..., 0], image[..., 1], image[..., 2]
    light = 0.299 * red + 0.587 * green + 0.114 * blue
    return light, 0.5 + 0.5 * (red - green), 0.5 + 0.25 * (red + green) - 0.5 * blue


def _gradient(light: np.ndarray) -> np.ndarray:
    across = cv2.Scharr(light, cv2.CV_32F, 1, 0) / 16
    down = cv2.Scharr(light, cv2.CV_32F, 0, 1) / 16
    return np.hypot(across, down)


def _similar(one: np.ndarray, two: np.ndarray, constant: float) -> np.ndarray:
    return (2 * one * two + constant) / (one * one + two * two + constant)
