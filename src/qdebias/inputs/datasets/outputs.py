"""Stored outputs of models, as Q-Bench's leaderboard has them: human score and option logits per image."""

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
import numpy.typing as npt

from qdebias.errors import SettingError
from qdebias.inputs.datasets.readers import read_records
from qdebias.inputs.datasets.rows import recognise, text

FloatArray = npt.NDArray[np.float64]

_PREFIX = "logit_"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outputs:
    """What a model answered about N images.

    Attributes:
        names: The images' names.
        mos: (N,) human scores, as the file has them.
        logits: (N,) logits of each option by the option's word: "good" is column logit_good.
        repeated: How many rows were left out because they repeat the one before.
    """

    names: tuple[str, ...]
    mos: FloatArray
    logits: dict[str, FloatArray]
    repeated: int = 0

    def __len__(self) -> int:
        return len(self.names)


def read_outputs(path: "str | PathLike[str]", *, keep_repeated: bool = False) -> Outputs:
    """Read a file with columns img_path, gt_score and logit_... for each option.

    Args:
        path: Any of the formats that labels have; Q-Bench's are objects one after the other, without commas.
        keep_repeated: Whether to keep a row that equals the one before. Runs that were started twice leave such rows
            behind; published numbers count them.

    Raises:
        SettingError: A column is missing, or a value is no number.
    """
    path = Path(path)
    records = read_records(path)
    form = recognise(records, path)
    kept = [row for last, row in zip([None, *records], records, strict=False) if keep_repeated or row != last]
    options = [column.removeprefix(_PREFIX) for column in records[0] if column.startswith(_PREFIX)]
    if not options:
        raise SettingError(f"{path}: has no column {_PREFIX}..., only {list(records[0])}")
    try:
        mos = np.array([float(text(row, form.score)) for row in kept])
        logits = {option: np.array([float(text(row, _PREFIX + option)) for row in kept]) for option in options}
    except ValueError as error:
        raise SettingError(f"{path}: a score or logit is missing or is no number ({error})") from error
    names = tuple(text(row, form.name) for row in kept)
    return Outputs(names=names, mos=mos, logits=logits, repeated=len(records) - len(kept))
