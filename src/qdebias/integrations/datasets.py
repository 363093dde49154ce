"""Scores as columns of a Hugging Face dataset, for its `map`.

from qdebias.integrations.datasets import AddScores

dataset = dataset.map(AddScores(column="image"), batched=True, batch_size=64)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from qdebias.backends.load import load_backend
from qdebias.integrations import COLUMNS, columns_named, score_columns

_load = cache(load_backend)


@dataclass(frozen=True, slots=True, kw_only=True)
class AddScores:
    """Turns a batch of rows into the columns `score` and `error`, or those that are named as for `with_scores`.

    It holds only settings, so that `datasets` recognises a map that it has done before; the model is loaded once in
    each process. `column` holds images, or their paths.
    """

    column: str = "image"
    model: str = "nano"
    method: str = "paper"
    seed: int = 0
    columns: str = COLUMNS

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Return the new columns of a batch."""
        # Encoded: what `datasets` cannot decode would end the map, and what it decodes `map` would compress again.
        table = getattr(batch, "pa_table", None)
        images = batch[self.column] if table is None else table.column(self.column).to_pylist()
        columns = columns_named(self.columns, method=self.method)
        return score_columns(images, model=_load(self.model), method=self.method, seed=self.seed, columns=columns)
