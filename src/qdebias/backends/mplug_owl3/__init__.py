"""mPLUG-Owl3, the model of the paper, in our own code: see `docs/mplug_owl3.md`."""

from qdebias.backends.mplug_owl3.backend import MplugOwl3Backend
from qdebias.backends.mplug_owl3.config import is_mplug_owl3
from qdebias.backends.mplug_owl3.load import load_mplug_owl3

__all__ = ["MplugOwl3Backend", "is_mplug_owl3", "load_mplug_owl3"]
