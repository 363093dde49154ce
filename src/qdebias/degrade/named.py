"""From the name of a degradation to the degradation."""

from collections.abc import Mapping
from typing import cast

from qdebias.degrade.base import Degradation
from qdebias.degrade.fog import Fog
from qdebias.degrade.saturate import Saturate
from qdebias.degrade.spatter import Spatter
from qdebias.degrade.zoom_blur import ZoomBlur
from qdebias.errors import SettingError
from qdebias.named import import_named, is_import

DEGRADATIONS: Mapping[str, Degradation] = {
    "zoom-blur": ZoomBlur(),
    "spatter": Spatter(),
    "saturate": Saturate(),
    "fog": Fog(),
}
"""The degradations of the paper with its settings."""


def degradation_named(name: str) -> Degradation:
    """Return a degradation.

    Args:
        name: One of `DEGRADATIONS`, or "package.module:name" of a function or object of one's own.

    Raises:
        SettingError: There is none of that name, or it cannot be called.
    """
    if name in DEGRADATIONS:
        return DEGRADATIONS[name]
    if not is_import(name):
        raise SettingError(
            f"there is no degradation {name!r}; choose from {', '.join(DEGRADATIONS)}, or name your own as "
            f"package.module:name"
        )
    found = import_named(name, what="degradation")
    if isinstance(found, type) or not callable(found):
        raise SettingError(
            f"degradation {name} is {found!r}; it has to be a function of an image and a source of noise"
        )
    return cast(Degradation, found)
