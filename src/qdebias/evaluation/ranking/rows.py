"""One row an image: its place, and how sure that is."""

from dataclasses import dataclass

from qdebias.runs.records import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked(Row):
    """An image and its place, or why it has none.

    Attributes:
        rank: 1 is the best; images of equal strength share a rank, and the next one is as far behind as they are many.
        path: The image as it was named.
        strength: See `qdebias.evaluation.ranking.Strengths`: by the model, exp(a - b) are the odds that a is better
            than b.
        standard_error: Standard error of the strength; None where nothing tells it.
        low: Lower end of the 95 % interval, strength - 1.96 standard errors.
        high: Upper end.
        opponents: With how many others it was compared.
        error: Why it has no place; None where it has one.
    """

    rank: int | None = None
    path: str
    strength: float | None = None
    standard_error: float | None = None
    low: float | None = None
    high: float | None = None
    opponents: int = 0
    error: str | None = None
