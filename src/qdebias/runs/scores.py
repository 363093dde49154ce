"""Reading scores back from the files in which they left qdebias, or from anybody's table of images and scores."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from qdebias.errors import SettingError
from qdebias.inputs.datasets.dataset import NAME_COLUMNS
from qdebias.inputs.datasets.readers import read_records, second
from qdebias.runs.records import Row

SCORE_COLUMNS = ("score", "strength", "predicted_score", "prediction", "predicted")
"""Columns that are taken for scores, the first that is there; case does not matter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenScore(Row):
    """A score that was made before."""

    path: str
    score: float | None
    error: str | None


def read_scores(path: Path) -> list[GivenScore]:
    """Return the scores of a file, in its order.

    Args:
        path: What `qdebias score --out`, `evaluate --out`, `export` or `rank --out` wrote, or any .csv, .tsv, .json,
            .jsonl, .xlsx or .parquet with a column of images and one of `SCORE_COLUMNS`. A row without a score, or
            with one that is not finite, is an image that failed.

    Raises:
        SettingError: It cannot be read, a column is missing, a score is no number, or an image is listed twice.
    """
    rows = read_records(path)
    if not rows:
        raise SettingError(f"{path}: lists no images")
    columns = {str(column).strip().casefold(): str(column) for row in rows for column in row}
    name = _column(columns, ("path", *NAME_COLUMNS), path, "images")
    score = _column(columns, SCORE_COLUMNS, path, "scores")
    if twice := [one for one in (name, score) if second(one.casefold()) in columns]:
        raise SettingError(f"{path}: has two columns named {twice[0]!r}; leave one of them")
    error = columns.get("error", "")
    found = [_given(row, name, score, error, f"{path}, row {number}") for number, row in enumerate(rows, start=1)]
    _refuse_repeated(found, path)
    return found


def _given(row: Mapping[str, object], name: str, score: str, error: str, where: str) -> GivenScore:
    image, text, why = (_text(row.get(column)) for column in (name, score, error))
    if not image:
        raise SettingError(f"{where}: names no image")
    if not text:
        return GivenScore(path=image, score=None, error=why or f"{image}: has no score in the file")
    try:
        value = float(text)
    except ValueError:
        raise SettingError(f"{where} ({image}): the score {text!r} is no number; leave it empty if it failed") from None
    if not math.isfinite(value):
        return GivenScore(path=image, score=None, error=why or f"{image}: its score in the file is {text}")
    return GivenScore(path=image, score=value, error=None)


def _text(value: object) -> str:
    return "" if value is None else str(value).strip()


def _column(columns: Mapping[str, str], wanted: Iterable[str], path: Path, what: str) -> str:
    found = next((columns[name] for name in wanted if name in columns), None)
    if found is None:
        raise SettingError(
            f"{path}: has no column of {what} ({', '.join(dict.fromkeys(wanted))}), only {list(columns)}"
        )
    return found


def _refuse_repeated(scores: Iterable[GivenScore], path: Path) -> None:
    seen: set[str] = set()
    for one in scores:
        if one.path in seen:
            raise SettingError(f"{path}: lists {one.path!r} more than once; leave one of the rows")
        seen.add(one.path)
