"""Photographs as cameras and photographers make them: several mild faults at once, on scenes of many looks.

`styled` changes what a photographer chooses (depth of field, grading), which is no loss of quality: the result is a
pristine image of its own. `camera` passes it through the stages of a camera that does its work badly. None of it
resembles the method's own four kinds: veils are uniform, and nothing is zoomed, splashed or saturated to clipping.
"""

from collections.abc import Callable

import cv2
import numpy as np
from distortions import (
    Rng,
    at,
    coded,
    contrast_down,
    down_up,
    gaussian_blur,
    lens_blur,
    painted,
    sharpen,
    to_bytes,
    to_unit,
    together,
)

GAMMA = np.float32(2.2)
Stage = Callable[[np.ndarray, float, Rng], np.ndarray]


def styled(image: np.ndarray, rng: Rng) -> np.ndarray:
    """Return the scene as a photographer may have wanted it: shallow focus, another tone curve."""
    if rng.random() < 0.4:
        image = shallow_focus(image, float(rng.uniform(2, 9)), rng)
    if rng.random() < 0.4:
        image = graded(image, rng)
    return image


def shallow_focus(image: np.ndarray, radius: float, rng: Rng) -> np.ndarray:
    """Keep an ellipse or a band sharp; everything else is out of focus, the more so the further away."""
    down, right = (np.linspace(-1, 1, side, dtype=np.float32) for side in image.shape[:2])
    away = _tilted(down[:, None] - rng.uniform(-0.5, 0.5), right[None] - rng.uniform(-0.5, 0.5), rng)
    share = np.clip((away - rng.uniform(0.25, 0.6)) / rng.uniform(0.1, 0.5), 0, 1)[..., None]
    near, far = (_out_of_focus(image, part * radius) for part in (0.5, 1))
    half = np.clip(2 * share, 0, 1) * near + (1 - np.clip(2 * share, 0, 1)) * image
    rest = np.clip(2 * share - 1, 0, 1)
    return np.rint((1 - rest) * half + rest * far).astype(np.uint8)


def graded(image: np.ndarray, rng: Rng) -> np.ndarray:
    """Lighter or darker, softer or harder; not more or less colourful: saturation is a kind of the method's own."""
    unit = to_unit(image) ** np.float32(rng.uniform(0.85, 1.25))
    curve = unit * unit * (3 - 2 * unit)
    return to_bytes(unit + np.float32(rng.uniform(-0.15, 0.5)) * (curve - unit))


def camera(image: np.ndarray, rng: Rng) -> tuple[np.ndarray, float]:
    """Pass a pristine image through the stages of a camera; return the photograph and its strength, 0 to 6."""
    strengths = []
    for chance, stages in STAGES:
        if rng.random() < chance:
            strength = float(5 * rng.beta(1.2, 2.2))
            image = stages[int(rng.integers(len(stages)))](image, strength, rng)
            strengths.append(strength)
    image, compressed = _stored(image, rng)
    strengths.append(compressed)
    return image, together(strengths)


def underexposed(image: np.ndarray, strength: float, rng: Rng) -> np.ndarray:
    """Too little light; a third of the time the shadows are lost as well."""
    light = to_unit(image) ** GAMMA * 2 ** -at(strength, 0, 0.9, 1.6, 2.3, 3.0, 3.7, 4.5)
    if rng.random() < 0.33:
        light = np.clip(light - 0.004 * strength, 0, 1)
    return to_bytes(light ** (1 / GAMMA))


def overexposed(image: np.ndarray, strength: float, rng: Rng) -> np.ndarray:
    """Too much light: the brightest parts are lost."""
    light = to_unit(image) ** GAMMA * 2 ** at(strength, 0, 0.5, 0.9, 1.4, 1.9, 2.5, 3.2)
    shoulder = rng.uniform(0, 0.3)
    return to_bytes((light / (1 + shoulder * light)).clip(0, 1) ** (1 / GAMMA))


def tinted(image: np.ndarray, strength: float, rng: Rng) -> np.ndarray:
    """The white balance is wrong: too warm or too cold, too green or too purple."""
    warm = rng.choice([-1, 1]) * at(strength, 0, 0.15, 0.3, 0.5, 0.75, 1, 1.3)
    green = 0.15 * strength * rng.normal() / 3
    gains = 2 ** np.array([warm / 2, green, -warm / 2], np.float32)
    return to_bytes((to_unit(image) ** GAMMA * gains).clip(0, 1) ** (1 / GAMMA))


def veiled(image: np.ndarray, strength: float, rng: Rng) -> np.ndarray:
    """Stray light or haze, the same everywhere."""
    return contrast_down(image, 0.6 * strength, rng)


def misfocused(image: np.ndarray, strength: float, rng: Rng) -> np.ndarray:
    """The focus lies somewhere else: all is blurred, one side more than the other."""
    blurred = lens_blur(image, strength, rng)
    if rng.random() < 0.5:
        return blurred
    return shallow_focus(blurred, at(strength, 1, 2, 3, 4.5, 6, 8, 10), rng)


def shaken(image: np.ndarray, strength: float, rng: Rng) -> np.ndarray:
    """The camera moves along a curve while the shutter is open."""
    length = at(strength, 1, 3.5, 6.5, 11, 17, 26, 36)
    turn = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.12, 64))
    path = np.cumsum(np.stack([np.cos(turn), np.sin(turn)]) * length / 64, axis=1)
    path -= path.mean(1, keepdims=True)
    reach = int(np.ceil(np.abs(path).max())) + 1
    kernel, _, _ = np.histogram2d(*path, bins=2 * reach + 1, range=[[-reach - 0.5, reach + 0.5]] * 2)
    kernel = cv2.GaussianBlur(kernel.astype(np.float32), (0, 0), 0.5)
    return cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT)


def sensor_noise(image: np.ndarray, strength: float, rng: Rng) -> np.ndarray:
    """Shot and read noise in linear light, spread by demosaicing; colours share half of it."""
    light = to_unit(image) ** GAMMA
    grey, colours = rng.normal(size=(*image.shape[:2], 1)), rng.normal(size=image.shape)
    noise = (rng.uniform(0.4, 1) * grey + rng.uniform(0.3, 1) * colours).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), rng.uniform(0.35, 1.1))
    level = at(strength, 0, 0.01, 0.019, 0.032, 0.05, 0.08, 0.13)
    light = light + noise / noise.std() * level * np.sqrt(light + rng.uniform(0.02, 0.15))
    return to_bytes(np.clip(light, 0, 1) ** (1 / GAMMA))


def _stored(image: np.ndarray, rng: Rng) -> tuple[np.ndarray, float]:
    """Compress as phones and sites do, mostly gently; return the image and the strength of that."""
    if rng.random() < 0.2:
        return image, 0.0
    strength = float(3 * rng.beta(1, 3))
    return coded(image, "JPEG", quality=round(at(strength, 95, 48, 27, 16, 9, 5, 3))), strength


def _tilted(down: np.ndarray, right: np.ndarray, rng: Rng) -> np.ndarray:
    """Distance from a focus: of an ellipse, or of a tilted band."""
    if rng.random() < 0.6:
        return np.hypot(down * rng.uniform(0.6, 1.6), right * rng.uniform(0.6, 1.6))
    angle = rng.uniform(0, np.pi)
    return np.abs(down * np.cos(angle) + right * np.sin(angle))


def _out_of_focus(image: np.ndarray, radius: float) -> np.ndarray:
    side = 2 * max(1, round(radius)) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)).astype(np.float32)
    return cv2.filter2D(image, -1, disc / disc.sum(), borderType=cv2.BORDER_REFLECT).astype(np.float32)


STAGES: tuple[tuple[float, tuple[Stage, ...]], ...] = (  # (chance, one of these), in the order of a camera
    (0.4, (underexposed, underexposed, overexposed)),
    (0.15, (veiled,)),
    (0.6, (misfocused, shaken, lens_blur, gaussian_blur, down_up)),
    (0.2, (tinted,)),
    (0.55, (sensor_noise,)),
    (0.25, (painted,)),
    (0.3, (sharpen,)),
)
