"""The degradations by name: with the paper's settings, and at the severities of ImageNet-C (2019)."""

import re
from collections.abc import Mapping
from typing import cast

from qdebias.degrade.base import Degradation
from qdebias.degrade.fog import Fog
from qdebias.degrade.further import Brightness, Contrast, GaussianBlur, GaussianNoise, Jpeg, Pixelate
from qdebias.degrade.saturate import Saturate
from qdebias.degrade.spatter import Mud, Spatter, Water
from qdebias.degrade.zoom_blur import ZoomBlur
from qdebias.errors import SettingError
from qdebias.system.named import import_named, is_import, nearest


def _zoom_blur(largest: float, step: float) -> ZoomBlur:
    return ZoomBlur(largest=largest, step=step, original_again=True, black_edges=True)


SEVERITIES: dict[str, tuple[Degradation, ...]] = {
    "zoom-blur": (
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
    "gaussian-noise": tuple(GaussianNoise(deviation=deviation) for deviation in (0.08, 0.12, 0.18, 0.26, 0.38)),
    "gaussian-blur": tuple(GaussianBlur(deviation=deviation) for deviation in (1.0, 2.0, 3.0, 4.0, 6.0)),
    "pixelate": tuple(Pixelate(scale=scale) for scale in (0.6, 0.5, 0.4, 0.3, 0.25)),
    "contrast": tuple(Contrast(gain=gain) for gain in (0.4, 0.3, 0.2, 0.1, 0.05)),
    "brightness": tuple(Brightness(offset=offset) for offset in (0.1, 0.2, 0.3, 0.4, 0.5)),
}
"""For each kind, the degradation of ImageNet-C at severity 1, 2, 3, 4, 5."""

DEGRADATIONS: Mapping[str, Degradation] = {kind: row[2] for kind, row in SEVERITIES.items()} | {
    "zoom-blur": ZoomBlur(),
    "spatter": Spatter(),
    "saturate": Saturate(),
    "fog": Fog(),
}
"""The four degradations of the paper with its settings, and more of ImageNet-C at severity 3."""


def imagenet_c(kind: str, severity: int) -> Degradation:
    """Return one of ImageNet-C's degradations; from the same rng it makes the same pixels, to one grey level.

    Args:
        kind: One of `SEVERITIES`, such as "zoom-blur"; "zoom_blur" is the same.
        severity: 1 (weakest) to 5. The paper's released code takes 3, and 4 for fog.
    """
    kind = kind.replace("_", "-")
    if kind not in SEVERITIES:
        raise SettingError(f"ImageNet-C's {kind!r} is not among {', '.join(SEVERITIES)}; choose one of these")
    if severity not in range(1, 6):
        raise SettingError(f"ImageNet-C has severities 1 to 5, got {severity}; choose one of these")
    return SEVERITIES[kind][severity - 1]


def degradation_named(name: str) -> Degradation:
    """Return a degradation.

    Args:
        name: One of `DEGRADATIONS`; or followed by a digit from 1 to 5, such as "fog4", that severity of ImageNet-C;
            or "package.module:name" of a function or object of one's own.

    Raises:
        SettingError: There is none of that name, or it cannot be called.
    """
    if name in DEGRADATIONS:
        return DEGRADATIONS[name]
    severe = re.fullmatch(r"(.+?)([0-9]+)", name)
    if severe is not None and severe[1] in DEGRADATIONS:
        return imagenet_c(severe[1], int(severe[2]))
    if not is_import(name):
        raise SettingError(
            f"there is no degradation {name!r}{nearest(name, DEGRADATIONS)}; choose from "
            f"{', '.join(DEGRADATIONS)}, followed by a digit from 1 to 5 for a severity of ImageNet-C, "
            f"or name your own as package.module:name"
        )
    found = import_named(name, what="degradation")
    if isinstance(found, type) or not callable(found):
        raise SettingError(
            f"degradation {name} is {found!r}; it has to be a function of an image and a source of noise"
        )
    return cast(Degradation, found)


def name_of(name: str) -> str:
    """Return the shortest name of the degradation of that name: "jpeg" for "jpeg3"."""
    wanted = degradation_named(name)
    return next((short for short, known in DEGRADATIONS.items() if known == wanted), name)
