"""qdebias in the forms that other libraries expect, one module a library; here the columns of scores for any table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from qdebias.backends.base import Backend
from qdebias.image import ImageSource
from qdebias.methods import presets
from qdebias.runs.records import Columns, Row, columns_of, record
from qdebias.runs.scorer import score

COLUMNS = "score,error"  # what is added where no columns are named


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRow(Row):
    """One image; of score and error one is None. The columns mean what they mean in `qdebias.runs.records.Record`."""

    score: float | None = None
    error: str | None = None
    log_odds: float | None = None
    deviation: float | None = None
    spread: float | None = None
    probabilities: Mapping[str, float] = field(default_factory=dict)


def columns_named(columns: str, *, method: str) -> Columns:
    """Return the type of each of the columns named; "p" stands for the probabilities of all options of the method."""
    return columns_of(ScoreRow, presets.get(method).words, columns)


def score_columns(
    images: Sequence[ImageSource], *, model: str | Backend, method: str, seed: int, columns: Columns
) -> dict[str, list[Any]]:
    """Score images and return each column by its name; an image that cannot be scored has its error and else None."""
    results = score(images, model=model, method=method, seed=seed, on_error="return")
    cells = [record("", one, model="", method="", seed=seed).cells(columns) for one in results]
    return {name: [row[name] for row in cells] for name in columns}
