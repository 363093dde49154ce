"""Choosing the better images of many, and putting them elsewhere without harm."""

from qdebias.curation.filter import COPY, LINK, MOVE, Choice, Placed, Top, Way, check_places, choose, place

__all__ = ["COPY", "LINK", "MOVE", "Choice", "Placed", "Top", "Way", "check_places", "choose", "place"]
