"""Scores as columns of a table of pandas, Polars or PyArrow.

from qdebias.integrations.frames import with_scores

frame = with_scores(frame, column="path")        # two columns more: score and error
"""

import narwhals.stable.v2 as nw
from narwhals.stable.v2.typing import IntoDataFrameT

from qdebias.backends.base import Backend
from qdebias.errors import SettingError
from qdebias.integrations.columns import score_columns


def with_scores(
    frame: IntoDataFrameT, *, column: str = "path", model: str | Backend = "nano", method: str = "paper", seed: int = 0
) -> IntoDataFrameT:
    """Return a table with two columns more: `score`, in [0, 1], and `error`.

    A row has one of the two, and null in the other. The order of the rows, and the index of pandas, stay.

    Args:
        frame: DataFrame of pandas or Polars, or Table of PyArrow.
        column: The column that holds the paths of the images.
        model: What `qdebias.load_backend` takes, or a backend that is already loaded.
        method: Name of a method.
        seed: Seed of the random degradations.

    Raises:
        SettingError: The table has no such column, or has one of the new columns already.
    """
    table = nw.from_native(frame, eager_only=True)
    if column not in table.columns or {"score", "error"} & set(table.columns):
        raise SettingError(
            f"the table needs a column {column!r} and must not have score or error; it has {', '.join(table.columns)}"
        )
    made = score_columns(table[column].to_list(), model=model, method=method, seed=seed)
    return table.with_columns(
        nw.new_series("score", made.score, nw.Float64(), backend=table.implementation),
        nw.new_series("error", made.error, nw.String(), backend=table.implementation),
    ).to_native()
