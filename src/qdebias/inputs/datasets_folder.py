"""Data sets of Hugging Face `datasets` that lie on disk, as `save_to_disk` leaves them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qdebias.errors import MissingPackageError, SettingError
from qdebias.inputs.items import Image, member_name
from qdebias.inputs.pieces import SIZE, Nothing, Piece, absolute_name
from qdebias.inputs.presence import is_there
from qdebias.inputs.tables import chosen_column, image_of_cell

MARKS = ("dataset_dict.json", "state.json")
"""Files by which such a folder is known: of several splits, of one."""


@dataclass(frozen=True, slots=True)
class DatasetRows:
    """Some rows of a data set.

    Attributes:
        container: Its folder.
        split: Which split, empty where it has none.
        column: The column with the images.
        start: The first row.
        stop: The row behind the last.
    """

    container: str
    split: str
    column: str
    start: int
    stop: int

    @property
    def label(self) -> str:
        """The folder, the split and the first row."""
        return member_name(self.container, self._key(self.start))

    @property
    def count(self) -> int:
        """How many rows they are."""
        return self.stop - self.start

    def absolute(self) -> "DatasetRows":
        """Return them with an absolute path."""
        return DatasetRows(absolute_name(self.container), self.split, self.column, self.start, self.stop)

    def __iter__(self) -> Iterator[Image]:
        """Yield the images; the files are mapped into memory, not read into it."""
        rows = _encoded(_splits(self.container)[self.split], self.column)
        for row in range(self.start, self.stop):
            yield image_of_cell(self.container, self._key(row), rows[row][self.column])

    def _key(self, row: int) -> str:
        return f"{self.split}/{row}" if self.split else str(row)


def is_dataset(folder: Path) -> bool:
    """Whether a folder is a data set that was saved to disk."""
    return any(is_there(folder / mark) for mark in MARKS)


def dataset_pieces(folder: str, column: str | None) -> Iterator[Piece]:
    """Yield the rows of every split."""
    try:
        for split, rows in _splits(folder).items():
            chosen = chosen_column(folder, rows.column_names, column)
            for start in range(0, len(rows), SIZE):
                yield DatasetRows(folder, split, chosen, start, min(start + SIZE, len(rows)))
    except SettingError as error:
        yield Nothing(folder, str(error))


def _splits(folder: str) -> dict[str, Any]:
    """Return the splits by name; one without a name where there are none."""
    try:
        import datasets
    except ImportError as error:
        raise MissingPackageError(f'{folder} is a data set on disk: pip install "qdebias[datasets]"') from error
    try:
        found = datasets.load_from_disk(folder)
    except (OSError, ValueError, KeyError) as error:
        raise SettingError(f"{folder}: is no sound data set ({error})") from error
    return dict(found) if isinstance(found, datasets.DatasetDict) else {"": found}


def _encoded(rows: Any, column: str) -> Any:  # noqa: ANN401 (datasets has types of its own only in part)
    """Return the rows with images as bytes, not decoded by the other package."""
    import datasets

    rows = rows.select_columns([column])
    if isinstance(rows.features[column], datasets.Image):
        return rows.cast_column(column, datasets.Image(decode=False))
    return rows
