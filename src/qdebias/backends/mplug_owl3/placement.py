"""Where the parts of the model lie, and whether they fit."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import torch

from qdebias.backends.devices import device_of
from qdebias.backends.mplug_owl3.config import Config
from qdebias.errors import SettingError

BALANCED = "balanced"

Placement: TypeAlias = Callable[[str], torch.device]
"""From the name of a weight to its device."""


def placement(device: str | None, device_map: str | Mapping[str, str] | None, config: Config) -> Placement:
    """Return where every weight goes.

    Args:
        device: One device for all; None takes "cuda" where there is one, else "cpu".
        device_map: "balanced" spreads the decoder's layers over all CUDA devices; a mapping gives the device for each
            beginning of a weight's name, the longest that fits counts. Both exclude `device`.
        config: How many layers there are.

    Raises:
        SettingError: A device is unknown or absent, or both arguments are given.
    """
    if device is not None and device_map is not None:
        raise SettingError(f"give device {device!r} or device_map {device_map!r}, not both")
    if device_map is None:
        only = device_of(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        return lambda _: only
    if isinstance(device_map, str):
        device_map = _balanced(device_map, config.layers, torch.cuda.device_count())
    devices = {name.rstrip("."): device_of(where) for name, where in device_map.items()}
    return lambda name: _longest_fit(devices, name)


def _balanced(name: str, layers: int, devices: int) -> dict[str, str]:
    """Spread the decoder's layers evenly; what comes before goes to the first device, what comes after to the last."""
    if name != BALANCED:
        raise SettingError(f"device_map is {BALANCED!r} or a mapping from names of weights to devices, got {name!r}")
    if devices == 0:
        raise SettingError(f"device_map {BALANCED!r} needs CUDA devices; torch sees none here: use device 'cpu'")
    spread = {f"language_model.model.layers.{layer}": f"cuda:{layer * devices // layers}" for layer in range(layers)}
    last = f"cuda:{devices - 1}"
    return {"": "cuda:0", **spread, "language_model.model.norm": last, "language_model.lm_head": last}


def _longest_fit(devices: Mapping[str, torch.device], name: str) -> torch.device:
    parts = name.split(".")
    for end in range(len(parts), -1, -1):
        beginning = ".".join(parts[:end])
        if beginning in devices:
            return devices[beginning]
    raise SettingError(f"device_map says nothing about {name}; add an entry '' for all that is not named")
