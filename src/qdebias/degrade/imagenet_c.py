"""Degradations at the severities of ImageNet-C (Hendrycks & Dietterich, 2019)."""

from qdebias.degrade.base import Degradation
from qdebias.degrade.brightness import Brightness
from qdebias.degrade.contrast import Contrast
from qdebias.degrade.fog import Fog
from qdebias.degrade.gaussian_blur import GaussianBlur
from qdebias.degrade.gaussian_noise import GaussianNoise
from qdebias.degrade.jpeg import Jpeg
from qdebias.degrade.pixelate import Pixelate
from qdebias.degrade.saturate import Saturate
from qdebias.degrade.spatter import Mud, Spatter, Water
from qdebias.degrade.zoom_blur import ZoomBlur
from qdebias.errors import SettingError


def _zoom_blur(largest: float, step: float) -> ZoomBlur:
    return ZoomBlur(largest=largest, step=step, original_again=True, black_edges=True)


SEVERITIES: dict[str, tuple[Degradation, ...]] = {
    "zoom_blur": (
        _zoom_blur(1.11, 0.01),
        _zoom_blur(1.15, 0.01),
        _zoom_blur(1.20, 0.02),
        _zoom_blur(1.24, 0.02),
        _zoom_blur(1.30, 0.03),
    ),
    "spatter": (
        Spatter(blur=4, threshold=0.69, liquid=Water(strength=0.6)),
        Spatter(blur=3, threshold=0.68, liquid=Water(strength=0.6)),
        Spatter(blur=2, threshold=0.68, liquid=Water(strength=0.5)),
        Spatter(blur=1, threshold=0.65, liquid=Mud(softness=1.5)),
        Spatter(mean=0.67, deviation=0.4, blur=1, threshold=0.65, liquid=Mud(softness=1.5)),
    ),
    "saturate": (
        Saturate(gain=0.3),
        Saturate(gain=0.1),
        Saturate(gain=2.0),
        Saturate(gain=5.0, offset=0.1),
        Saturate(gain=20.0, offset=0.2),
    ),
    "fog": (
        Fog(density=1.5, decay=2.0, rescale=True),
        Fog(density=2.0, decay=2.0, rescale=True),
        Fog(density=2.5, decay=1.7, rescale=True),
        Fog(density=2.5, decay=1.5, rescale=True),
        Fog(density=3.0, decay=1.4, rescale=True),
    ),
    "jpeg": tuple(Jpeg(quality=quality) for quality in (25, 18, 15, 10, 7)),
    "gaussian_noise": tuple(GaussianNoise(deviation=deviation) for deviation in (0.08, 0.12, 0.18, 0.26, 0.38)),
    "gaussian_blur": tuple(GaussianBlur(deviation=deviation) for deviation in (1.0, 2.0, 3.0, 4.0, 6.0)),
    "pixelate": tuple(Pixelate(scale=scale) for scale in (0.6, 0.5, 0.4, 0.3, 0.25)),
    "contrast": tuple(Contrast(gain=gain) for gain in (0.4, 0.3, 0.2, 0.1, 0.05)),
    "brightness": tuple(Brightness(offset=offset) for offset in (0.1, 0.2, 0.3, 0.4, 0.5)),
}
"""For each kind, the degradation at severity 1, 2, 3, 4, 5."""


def imagenet_c(kind: str, severity: int) -> Degradation:
    """Return one of ImageNet-C's degradations; from the same rng it makes the same pixels, to one grey level.

    Args:
        kind: One of `SEVERITIES`, such as "zoom_blur".
        severity: 1 (weakest) to 5. The paper's released code takes 3, and 4 for fog.
    """
    if kind not in SEVERITIES:
        raise SettingError(f"ImageNet-C's {kind!r} is not among {', '.join(SEVERITIES)}; choose one of these")
    if severity not in range(1, 6):
        raise SettingError(f"ImageNet-C has severities 1 to 5, got {severity}; choose one of these")
    return SEVERITIES[kind][severity - 1]
