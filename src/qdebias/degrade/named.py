"""From the name of a degradation to the degradation."""

import re
from collections.abc import Mapping
from typing import cast

from qdebias.degrade.base import Degradation
from qdebias.degrade.brightness import Brightness
from qdebias.degrade.contrast import Contrast
from qdebias.degrade.fog import Fog
from qdebias.degrade.gaussian_blur import GaussianBlur
from qdebias.degrade.gaussian_noise import GaussianNoise
from qdebias.degrade.imagenet_c import imagenet_c
from qdebias.degrade.jpeg import Jpeg
from qdebias.degrade.pixelate import Pixelate
from qdebias.degrade.saturate import Saturate
from qdebias.degrade.spatter import Spatter
from qdebias.degrade.zoom_blur import ZoomBlur
from qdebias.errors import SettingError
from qdebias.system.named import import_named, is_import, nearest

DEGRADATIONS: Mapping[str, Degradation] = {
    "zoom-blur": ZoomBlur(),
    "spatter": Spatter(),
    "saturate": Saturate(),
    "fog": Fog(),
    "jpeg": Jpeg(),
    "gaussian-noise": GaussianNoise(),
    "gaussian-blur": GaussianBlur(),
    "pixelate": Pixelate(),
    "contrast": Contrast(),
    "brightness": Brightness(),
}
"""The four degradations of the paper with its settings, and more of ImageNet-C at severity 3."""


def degradation_named(name: str) -> Degradation:
    """Return a degradation.

    Args:
        name: One of `DEGRADATIONS`; or with a digit from 1 to 5 behind it, such as "fog4", that severity of ImageNet-C;
            or "package.module:name" of a function or object of one's own.

    Raises:
        SettingError: There is none of that name, or it cannot be called.
    """
    if name in DEGRADATIONS:
        return DEGRADATIONS[name]
    severe = re.fullmatch(r"(.+?)([0-9]+)", name)
    if severe is not None and severe[1] in DEGRADATIONS:
        return imagenet_c(severe[1].replace("-", "_"), int(severe[2]))
    if not is_import(name):
        raise SettingError(
            f"there is no degradation {name!r}{nearest(name, DEGRADATIONS)}; choose from "
            f"{', '.join(DEGRADATIONS)}, with a digit from 1 to 5 behind it for a severity of ImageNet-C, "
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
