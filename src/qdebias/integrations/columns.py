"""Two columns for any table: the score of each image, or why it has none."""

from collections.abc import Sequence
from dataclasses import dataclass

from qdebias.backends.base import Backend
from qdebias.image import ImageSource
from qdebias.methods.method import Score
from qdebias.runs.api import score


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """One row an image; of the two, one is None.

    Attributes:
        score: Quality in [0, 1], higher is better.
        error: Why there is none.
    """

    score: list[float | None]
    error: list[str | None]


def score_columns(images: Sequence[ImageSource], *, model: str | Backend, method: str, seed: int) -> Columns:
    """Score images; one that cannot be scored is a row with its error."""
    results = score(images, model=model, method=method, seed=seed, on_error="return")
    return Columns(
        score=[result.value if isinstance(result, Score) else None for result in results],
        error=[None if isinstance(result, Score) else result.error for result in results],
    )
