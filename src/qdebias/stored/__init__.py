"""Scoring into run folders, and reading scores out of them."""

from qdebias.stored.scorer import StoredScorer

__all__ = ["StoredScorer"]
