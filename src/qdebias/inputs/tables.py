"""Tables (Parquet, CSV, TSV) of paths, addresses or images; lists of names; data sets that `datasets` saved to disk."""

from collections.abc import Iterator
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from qdebias.errors import MissingPackageError, SettingError
from qdebias.inputs.addresses import MAX_BYTES, beside, is_there, open_container, unsigned
from qdebias.inputs.datasets.readers import check_cells, check_header, csv_rows
from qdebias.inputs.items import (
    SIZE,
    Container,
    EncodedItem,
    Found,
    Image,
    LeftOut,
    Piece,
    Unreadable,
    container_kind,
    image_named,
    in_pieces,
    member_name,
    or_nothing,
    unreadable,
)
from qdebias.inputs.parquet import batches, check_growth, open_parquet

COLUMNS = ("image", "path", "url", "file_name")  # the first of these that a table has is taken where no column is named
_NO_ROWS = "has column names and no rows"


@dataclass(frozen=True, slots=True)
class Rows(Container):
    """The images in row group `group` of a Parquet file, from row `start` on: bytes, or as Hugging Face writes them."""

    column: str
    group: int
    start: int
    count: int

    @property
    def names(self) -> tuple[str, ...]:
        """The file and the first row."""
        return (member_name(self.container, str(self.start)),)

    def __iter__(self) -> Iterator[Image]:
        done = 0
        try:
            with open_container(self.container) as stream:
                file = open_parquet(self.container, stream)
                check_growth(self.container, file.metadata.row_group(self.group), self.column)
                for batch in file.iter_batches(1, row_groups=[self.group], columns=[self.column]):
                    yield _image_of(self.container, str(self.start + done), batch.column(0)[0].as_py())
                    done += 1
        except (ValueError, OSError) as error:  # including SettingError
            words = str(error).removeprefix(f"{unsigned(self.container)}: ")
            for row in range(self.start + done, self.start + self.count):
                yield unreadable(member_name(self.container, str(row)), words)


@dataclass(frozen=True, slots=True)
class DatasetRows(Container):
    """Rows `start` to `stop`, exclusive, of a split of a data set in a folder; "" where it has none."""

    split: str
    column: str
    start: int
    stop: int

    @property
    def names(self) -> tuple[str, ...]:
        """The folder, the split and the first row."""
        return (member_name(self.container, self._key(self.start)),)

    @property
    def count(self) -> int:
        """How many rows they are."""
        return self.stop - self.start

    def __iter__(self) -> Iterator[Image]:
        """Yield the images; the files are mapped into memory, and nothing is decoded by the other package."""
        rows = _splits(self.container)[self.split].select_columns([self.column])
        import datasets

        if isinstance(rows.features[self.column], datasets.Image):
            rows = rows.cast_column(self.column, datasets.Image(decode=False))
        for row in range(self.start, self.stop):
            yield _image_of(self.container, self._key(row), rows[row][self.column])

    def _key(self, row: int) -> str:
        return f"{self.split}/{row}" if self.split else str(row)


def _image_of(container: str, key: str, cell: Any) -> Image:  # noqa: ANN401
    """Return the image in a cell: bytes, a path or an address, or a structure of both as Hugging Face writes it."""
    name = member_name(container, key)
    value = (cell.get("bytes") or cell.get("path")) if isinstance(cell, dict) else cell
    if isinstance(value, str) and value:
        return image_named(beside(container, value))
    if not isinstance(value, bytes) or not value:
        return unreadable(name, "holds no image")
    if len(value) > MAX_BYTES:
        return unreadable(name, f"more than {MAX_BYTES / 1e6:.0f} MB, the most that is read for one image")
    return EncodedItem(name, container, value)


def table_pieces(name: str, column: str | None) -> Iterator[Piece | LeftOut]:
    """Yield the images of a Parquet, CSV or TSV file, or of a list of names, one a line."""
    kind = container_kind(name)
    with open_container(name) as stream:
        if kind == "parquet":
            yield from _parquet_pieces(name, stream, column)
            return
        with TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
            if kind == "list":
                yield from in_pieces(or_nothing(name, _lines(name, text), "names no image"))
            else:
                names = _csv_names(name, text, "\t" if kind == "tsv" else ",", column)
                yield from in_pieces(or_nothing(name, names, _NO_ROWS))


def _chosen(name: str, present: list[str], column: str | None) -> str:
    """Return which column holds the images."""
    for wanted in (column,) if column else COLUMNS:
        alike = [one for one in present if one.strip().casefold() == wanted.strip().casefold()]
        found = [one for one in alike if one == wanted] or alike
        if len(found) > 1:
            raise SettingError(f"{unsigned(name)}: has {len(found)} columns named {wanted!r}; keep only one of them")
        if found:
            return found[0]
    wanted = repr(column) if column else f"named {', '.join(COLUMNS)}"
    raise SettingError(f"{unsigned(name)}: no column {wanted}; choose one of {', '.join(present)} with --column")


def _lines(name: str, text: TextIOWrapper) -> Iterator[str]:
    for line in text:
        if "\0" in line:
            raise SettingError(f"{unsigned(name)}: is not UTF-8 text; save it as UTF-8")
        if line.strip():
            yield beside(name, line.strip("\r\n"))


def _csv_names(name: str, text: TextIOWrapper, delimiter: str, column: str | None) -> Iterator[Found]:
    rows = (row for row in csv_rows(text, unsigned(name), delimiter=delimiter) if row)
    columns = next(rows, [])
    check_header(columns, unsigned(name), delimiter)
    place = columns.index(_chosen(name, columns, column))
    for number, row in enumerate(rows):
        try:
            check_cells(row, columns, member_name(name, str(number)))
            yield _name_in(name, number, row[place] if place < len(row) else None)
        except SettingError as error:
            yield unreadable(member_name(name, str(number)), str(error))


def _name_in(container: str, number: int, cell: str | None) -> str | Unreadable:
    """Return the path or address that a row names."""
    place = member_name(container, str(number))
    if cell and len(cell) > 8192:
        return unreadable(place, f"{len(cell):,} characters, too long for a path or address")
    return beside(container, cell) if cell else unreadable(place, "names no image")


def _parquet_pieces(name: str, stream: Any, column: str | None) -> Iterator[Piece | LeftOut]:  # noqa: ANN401
    import pyarrow.types as kinds

    file = open_parquet(name, stream)
    chosen = _chosen(name, file.schema_arrow.names, column)
    kind = file.schema_arrow.field(file.schema_arrow.names.index(chosen)).type
    kind = kind.value_type if kinds.is_dictionary(kind) else kind
    if file.metadata.num_rows == 0:
        yield unreadable(name, _NO_ROWS)
    if any(one(kind) for one in (kinds.is_string, kinds.is_large_string, kinds.is_string_view)):
        yield from in_pieces(_cell_names(name, file, chosen))
        return
    images = (kinds.is_struct, kinds.is_binary, kinds.is_large_binary, kinds.is_binary_view, kinds.is_fixed_size_binary)
    if not any(one(kind) for one in images):
        raise SettingError(f"{unsigned(name)}: column {chosen!r} holds {kind}, neither images nor names of images")
    start = 0
    for group in range(file.num_row_groups):
        count = file.metadata.row_group(group).num_rows
        yield Rows(name, chosen, group, start, count)
        start += count


def _cell_names(name: str, file: Any, column: str) -> Iterator[Found]:  # noqa: ANN401
    number = 0
    try:
        for batch in batches(name, file, [column]):
            for cell in batch.column(0):
                yield _name_in(name, number, cell.as_py())
                number += 1
    except SettingError:
        raise
    except (ValueError, OSError) as error:
        raise SettingError(
            f"{unsigned(name)}: cannot be read beyond row {number}; it may be damaged ({error})"
        ) from error


def is_dataset(folder: Path) -> bool:
    """Whether a folder is a data set that was saved to disk, of several splits or of one."""
    return any(is_there(folder / mark) for mark in ("dataset_dict.json", "state.json"))


def dataset_pieces(folder: str, column: str | None) -> Iterator[Piece]:
    """Yield the rows of every split."""
    for split, rows in _splits(folder).items():
        chosen = _chosen(folder, rows.column_names, column)
        for start in range(0, len(rows), SIZE):
            yield DatasetRows(folder, split, chosen, start, min(start + SIZE, len(rows)))


def _splits(folder: str) -> dict[str, Any]:
    try:
        import datasets
    except ImportError as error:
        raise MissingPackageError(f'{folder} is a data set on disk: pip install "qdebias[datasets]"') from error
    try:
        found = datasets.load_from_disk(folder)
    except (OSError, ValueError, KeyError) as error:
        raise SettingError(f"{folder}: is not a valid data set ({error})") from error
    return dict(found) if isinstance(found, datasets.DatasetDict) else {"": found}
