"""Ranking images by asking which of two is better."""

from qdebias.evaluation.ranking.pairs import rings
from qdebias.evaluation.ranking.questions import QUESTIONS
from qdebias.evaluation.ranking.rank import Ranking, rank
from qdebias.evaluation.ranking.rows import Ranked
from qdebias.evaluation.ranking.strengths import Strengths, bradley_terry

__all__ = ["QUESTIONS", "Ranked", "Ranking", "Strengths", "bradley_terry", "rank", "rings"]
