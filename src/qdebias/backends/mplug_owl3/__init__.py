"""mPLUG-Owl3, the model of the paper, in our own code: see `docs/mplug_owl3.md`."""

from qdebias.backends.mplug_owl3.backend import MplugOwl3Backend
from qdebias.backends.mplug_owl3.load import load_mplug_owl3, recognises

__all__ = ["MplugOwl3Backend", "load_mplug_owl3", "recognises"]
