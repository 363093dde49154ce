"""Methods beside each other on the same images: how well each agrees with people, and which difference is chance."""

from qdebias.evaluation.compare.gather import compare_asked, compare_models, compare_stored, in_asking_order
from qdebias.evaluation.compare.spent import Spent
from qdebias.evaluation.compare.table import BEST, Compared, Comparison, compare

__all__ = [
    "BEST",
    "Compared",
    "Comparison",
    "Spent",
    "compare",
    "compare_asked",
    "compare_models",
    "compare_stored",
    "in_asking_order",
]
