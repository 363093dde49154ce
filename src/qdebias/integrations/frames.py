"""Scores as columns of a table of pandas, Polars or PyArrow.

from qdebias.integrations.frames import with_scores

frame = with_scores(frame, column="path")        # two columns more: score and error
frame = with_scores(frame, columns="score,error,p,deviation,log_odds")
"""

import narwhals.stable.v2 as nw
from narwhals.stable.v2.typing import IntoDataFrameT

from qdebias.backends.base import Backend
from qdebias.errors import SettingError
from qdebias.integrations import COLUMNS, columns_named, score_columns


def with_scores(
    frame: IntoDataFrameT,
    *,
    column: str = "path",  # that holds the paths of the images
    model: str | Backend = "nano",
    method: str = "paper",
    seed: int = 0,
    columns: str = COLUMNS,
) -> IntoDataFrameT:
    """Return a table with more columns: `score`, in [0, 1], and `error`, or those that are named.

    A row has a score or an error, and null in the other. The order of the rows, and the index of pandas, stay.
    `columns` are those of `qdebias score --out`, with commas between: of score, error, log_odds, deviation, spread, and
    p_ with a word for the probability of an option; p stands for all of these.
    """
    table = nw.from_native(frame, eager_only=True)
    new = columns_named(columns, method=method)
    if column not in table.columns or new.keys() & set(table.columns):
        raise SettingError(
            f"the table needs a column {column!r} and must not have {' or '.join(new)}; "
            f"it has {', '.join(table.columns)}"
        )
    made = score_columns(table[column].to_list(), model=model, method=method, seed=seed, columns=new)
    series = [
        nw.new_series(name, values, nw.String() if name == "error" else nw.Float64(), backend=table.implementation)
        for name, values in made.items()
    ]
    return table.with_columns(*series).to_native()
