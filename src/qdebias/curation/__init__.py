"""Choosing the better images of many, and putting them elsewhere without harm."""

from qdebias.curation.choose import Choice, Top, choose
from qdebias.curation.place import COPY, LINK, MOVE, Placed, Way, place, refuse_inside

__all__ = ["COPY", "LINK", "MOVE", "Choice", "Placed", "Top", "Way", "choose", "place", "refuse_inside"]
