"""Hostile and odd image files, each with what has to become of it.

PYTHONPATH=tests/hardening python -m corpus FOLDER      writes them all, and prints how many of each kind there are
"""

from corpus.case import Built, Case, build
from corpus.every import all_cases

__all__ = ["Built", "Case", "all_cases", "build"]
