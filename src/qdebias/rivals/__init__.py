"""Other people's metrics, run through the packages that hold them, where a user has installed those."""

from qdebias.rivals.lpips import Lpips
from qdebias.rivals.pyiqa import KNOWN_RIVALS, Rival, load_rival

__all__ = ["KNOWN_RIVALS", "Lpips", "Rival", "load_rival"]
