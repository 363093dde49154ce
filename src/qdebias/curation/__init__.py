"""Choosing the better images of many, and putting them elsewhere without harm."""

from qdebias.curation.choose import Choice, Top, choose
from qdebias.curation.place import COPY, LINK, MOVE, Placed, Way, check_places, place

__all__ = ["COPY", "LINK", "MOVE", "Choice", "Placed", "Top", "Way", "check_places", "choose", "place"]
