"""With what answers are made, apart from the model: recorded and told when it changes, never refused."""

import importlib.metadata
import platform
from collections.abc import Mapping

PACKAGES = ("qdebias", "numpy", "pillow", "opencv-python-headless", "numba")
"""Those that decide the pixels of the images and of their degraded copies."""


def environment() -> Mapping[str, str]:
    """Return the versions of Python, of the system and of `PACKAGES`."""
    versions = {"python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "absent"
    return versions
