"""Scoring into run folders, and reading scores out of them."""

from qdebias.stored.recorded import Recorded, recorded
from qdebias.stored.retry import Retried, failed_images, recipe_of, retry_failures
from qdebias.stored.scorer import StoredScorer

__all__ = ["Recorded", "Retried", "StoredScorer", "failed_images", "recipe_of", "recorded", "retry_failures"]
