"""Degradations that make conditional images: worse in quality, the same in content (section 3.2.1 of the paper)."""

from qdebias.degrade.base import Degradation, Rng, draws_noise, kind_of, noise_rng
from qdebias.degrade.fog import Fog
from qdebias.degrade.imagenet_c import (
    DEGRADATIONS,
    Brightness,
    Contrast,
    GaussianBlur,
    GaussianNoise,
    Jpeg,
    Pixelate,
    degradation_named,
    imagenet_c,
    name_of,
)
from qdebias.degrade.saturate import Saturate
from qdebias.degrade.spatter import Mud, Spatter, Water
from qdebias.degrade.zoom_blur import ZoomBlur

__all__ = [
    "DEGRADATIONS",
    "Brightness",
    "Contrast",
    "Degradation",
    "Fog",
    "GaussianBlur",
    "GaussianNoise",
    "Jpeg",
    "Mud",
    "Pixelate",
    "Rng",
    "Saturate",
    "Spatter",
    "Water",
    "ZoomBlur",
    "degradation_named",
    "draws_noise",
    "imagenet_c",
    "kind_of",
    "name_of",
    "noise_rng",
]
