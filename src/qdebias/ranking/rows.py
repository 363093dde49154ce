"""One row an image: its place, and how sure that is."""

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """An image and its place, or why it has none.

    Attributes:
        rank: 1 is the best; images of equal strength share a rank, and the next one is as far behind as they are many.
        path: The image as it was named.
        strength: See `qdebias.ranking.Strengths`: by the model, exp(a - b) are the odds that a is better than b.
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

    def json(self) -> str:
        """Return the row as one line of JSON, keys in the order of the attributes."""
        return json.dumps(asdict(self), ensure_ascii=False, allow_nan=False)
