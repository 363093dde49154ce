"""Ranking images by asking which of two is better."""

from qdebias.ranking.pairs import rings
from qdebias.ranking.questions import QUESTIONS
from qdebias.ranking.rank import Ranking, rank
from qdebias.ranking.rows import Ranked
from qdebias.ranking.strengths import Strengths, bradley_terry

__all__ = ["QUESTIONS", "Ranked", "Ranking", "Strengths", "bradley_terry", "rank", "rings"]
