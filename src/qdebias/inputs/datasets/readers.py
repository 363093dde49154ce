"""Label files as rows: CSV, white-space columns, Excel, and every form of JSON that IQA projects exchange.

A row is a mapping from column to value, values as the file has them. What a column means is said by the table of
datasets, not here.
"""

import csv
import gzip
import json
import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib import import_module
from io import StringIO
from itertools import zip_longest
from pathlib import Path
from zipfile import BadZipFile

from qdebias.errors import MissingPackageError, SettingError
from qdebias.inputs.addresses import MAX_BYTES
from qdebias.inputs.parquet import MOST_TIMES, batches, open_parquet

DAMAGED = (
    *(OSError, EOFError, SyntaxError, ValueError, TypeError, AttributeError),
    *(ArithmeticError, LookupError, RuntimeError, MemoryError, BadZipFile, zlib.error, struct.error),
)
"""What the readers of packed formats raise at damaged files; RuntimeError also stands for what is not implemented."""

_BLANK = re.compile(r"[\s,]*")


def read_records(path: Path) -> list[Mapping[str, object]]:
    """Return the rows of a label file with column names, by its suffix.

    Args:
        path: .csv, .tsv, .json, .jsonl, .xlsx or .parquet; the text formats also with .gz behind.

    Raises:
        SettingError: Another suffix, or the file cannot be read as what its suffix says.
    """
    suffix = path.with_suffix("").suffix.lower() if path.suffix.lower() == ".gz" else path.suffix.lower()
    if suffix in (".csv", ".txt"):
        return Delimited()(path)
    if suffix == ".tsv":
        return Delimited(delimiter="\t")(path)
    if suffix in (".json", ".jsonl"):
        return read_json(path)
    if suffix == ".xlsx":
        return Workbook()(path)
    if suffix == ".parquet":
        return _read_parquet(path)
    raise SettingError(
        f"{path}: labels are read from .csv, .tsv, .json, .jsonl, .xlsx and .parquet, not from {suffix!r}"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Delimited:
    """Rows of text columns.

    Attributes:
        columns: Names of the columns of a file without a header; None: the first line names them. Where two columns
            have one name, the first is meant.
        delimiter: What stands between columns; None: white space.
    """

    columns: tuple[str, ...] | None = None
    delimiter: str | None = ","

    def __call__(self, path: Path) -> list[Mapping[str, object]]:
        """Return the rows of a file; lines without any text are left out."""
        rows = [row for row in self._split(read_text(path), path) if any(cell.strip() for cell in row)]
        columns = self.columns or (tuple(cell.strip() for cell in rows.pop(0)) if rows else ())
        if self.columns is None:
            check_header(columns, str(path), self.delimiter or ",")
            for number, row in enumerate(rows, start=1):
                check_cells(row, columns, f"{path}, row {number}")
        return [_as_record(columns, row) for row in rows]

    def _split(self, text: str, path: Path) -> list[list[str]]:
        if self.delimiter is None:
            return [line.split() for line in text.split("\n")]
        return list(csv_rows(StringIO(text, newline=""), str(path), delimiter=self.delimiter))


@dataclass(frozen=True, slots=True, kw_only=True)
class Workbook:
    """Rows of a sheet of an Excel file.

    Attributes:
        sheet: Name of the sheet; None: the first.
        header: A column that the header row has; rows above that one are skipped. None: the first row is the header.
    """

    sheet: str | None = None
    header: str | None = None

    def __call__(self, path: Path) -> list[Mapping[str, object]]:
        """Return the rows of the sheet; rows without any value are left out."""
        rows = [row for row in self._rows(path) if any(cell is not None for cell in row)]
        while rows and self.header is not None and self.header not in rows[0]:
            rows.pop(0)
        if not rows:
            raise SettingError(f"{path}: has no row of column names")
        columns = tuple("" if cell is None else str(cell).strip() for cell in rows[0])
        return [_as_record(columns, row) for row in rows[1:]]

    def _rows(self, path: Path) -> list[tuple[object, ...]]:
        try:
            openpyxl = import_module("openpyxl")
        except ImportError as error:
            message = f"{path}: reading Excel files needs openpyxl; install it (pip install openpyxl) or save as CSV"
            raise MissingPackageError(message) from error
        try:
            book = openpyxl.load_workbook(path, read_only=True, data_only=True)
            with closing(book):
                if self.sheet is not None and self.sheet not in book.sheetnames:
                    raise SettingError(f"{path}: has no sheet {self.sheet!r}, only {book.sheetnames}")
                sheet = book.worksheets[0] if self.sheet is None else book[self.sheet]
                return list(sheet.iter_rows(values_only=True))
        except SettingError:
            raise
        except DAMAGED as error:
            raise SettingError(f"{path}: is not a readable Excel file ({error})") from error


def csv_rows(lines: Iterable[str], name: str, *, delimiter: str = ",") -> Iterator[list[str]]:
    """Yield the rows of a CSV file; cells may be of any length.

    Raises:
        SettingError: A quote is not closed, or text stands behind a closing quote.
    """
    csv.field_size_limit(2**31 - 1)  # the default ends at 131,072 characters, less than a picture written as text
    rows = csv.reader(lines, delimiter=delimiter, strict=True)
    start = 1
    try:
        for row in rows:
            yield row
            start = rows.line_num + 1
    except csv.Error as error:
        why = "a quote that is not closed" if "unexpected end" in str(error) else str(error)
        raise SettingError(
            f"{name}: cannot be read as columns separated by {delimiter!r} "
            f"from line {start} on ({why}); correct that line"
        ) from error


def check_header(columns: Sequence[str], name: str, delimiter: str) -> None:
    """Refuse a file without a header, and a header that is one column because another separator is used.

    Raises:
        SettingError: It is such.
    """
    if not columns:
        raise SettingError(f"{name}: is empty; its first line names the columns")
    if any("\0" in column for column in columns):
        raise SettingError(f"{name}: is not UTF-8 text; save it as UTF-8")
    marks = (mark for mark in (";", "\t", "|", ",") if len(columns) == 1 and mark in columns[0])
    if (other := next(marks, None)) is not None:
        kind, right = (".tsv", "tabs") if delimiter == "\t" else (".csv", "commas")
        renamed = {"\t": ", or name it .tsv", ",": ", or name it .csv"}.get(other, "")
        raise SettingError(
            f"{name}: its columns are separated by {other!r}, and a {kind} by {right}; save it with {right}{renamed}"
        )


def check_cells(row: Sequence[str], columns: Sequence[str], where: str) -> None:
    """Refuse a row with more cells than there are columns: of "1,5" and of "a,b.png", one part would be taken.

    Raises:
        SettingError: It has, and they are not empty.
    """
    if any(cell.strip() for cell in row[len(columns) :]):
        raise SettingError(
            f"{where}: has {len(row)} cells, and the first line names {len(columns)} columns; put a value or name that "
            f"holds a comma in quotes, and write decimals with a point"
        )


def _read_parquet(path: Path) -> list[Mapping[str, object]]:
    """Return the rows of a Parquet file, without the columns that hold images."""
    import pyarrow.types as kinds

    unread = (kinds.is_nested, kinds.is_binary, kinds.is_large_binary, kinds.is_binary_view)
    records: list[Mapping[str, object]] = []
    try:
        with path.open("rb") as stream:
            file = open_parquet(str(path), stream)
            plain = [field.name for field in file.schema_arrow if not any(kind(field.type) for kind in unread)]
            left = max(MAX_BYTES, MOST_TIMES * path.stat().st_size)
            for batch in batches(str(path), file, list(dict.fromkeys(plain))):
                left -= batch.nbytes
                if left < 0:
                    raise SettingError(f"{path}: its repeated texts would fill more memory than a table should")
                rows = zip(*(column.to_pylist() for column in batch.columns), strict=True)
                records += [_as_record(tuple(batch.schema.names), row) for row in rows]
    except SettingError:
        raise
    except (OSError, ValueError) as error:  # ValueError: also a name that is no UTF-8
        raise SettingError(f"{path}: is not a readable Parquet file ({error})") from error
    return records


def read_json(path: Path) -> list[Mapping[str, object]]:
    """Return the rows of a JSON file.

    Accepted are a list of objects, objects one after the other with or without commas or lines between them (as
    Q-Bench's outputs are), lists of those, an object of columns of equal length, and an object that holds a list of
    objects.
    """
    text = read_text(path)
    decoder = json.JSONDecoder()
    values: list[object] = []
    position = _skip_blank(text, 0)
    while position < len(text):
        try:
            value, position = decoder.raw_decode(text, position)
        except json.JSONDecodeError as error:
            raise SettingError(f"{path}: is not JSON, line {error.lineno}: {error.msg}") from error
        except RecursionError as error:
            raise SettingError(f"{path}: is nested too deeply to be a table") from error
        values.append(value)
        position = _skip_blank(text, position)
    return _flattened(values, path)


def read_text(path: Path) -> str:
    """Return the text of a file, decompressed if its name ends in .gz."""
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix.lower() == ".gz" else path.read_bytes()
        return data.decode("utf-8-sig")
    except (OSError, EOFError, zlib.error) as error:
        raise SettingError(f"{path}: cannot be read ({error})") from error
    except UnicodeDecodeError as error:
        raise SettingError(f"{path}: is not UTF-8 text, byte {error.start}; save it as UTF-8") from error


def _flattened(values: list[object], path: Path) -> list[Mapping[str, object]]:
    rows: list[Mapping[str, object]] = []
    for value in values:
        if isinstance(value, list):
            rows += _flattened(value, path)
        elif isinstance(value, dict):
            rows += _rows_of(value, path)
        else:
            raise SettingError(f"{path}: expected objects with columns, found {str(value)[:40]!r}")
    return rows


def _rows_of(value: dict[str, object], path: Path) -> list[Mapping[str, object]]:
    """Return one row, or many where the object holds columns or a list of objects."""
    lists = {key: column for key, column in value.items() if isinstance(column, list)}
    if len(lists) == 1 and all(isinstance(row, dict) for column in lists.values() for row in column):
        return _flattened(list(lists.values()), path)
    if len(lists) < 2 or len(lists) < len(value):
        return [value]
    lengths = {key: len(column) for key, column in lists.items()}
    if len(set(lengths.values())) > 1:
        raise SettingError(f"{path}: has columns of different lengths, {lengths}")
    return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]


def _as_record(columns: tuple[str, ...], row: "list[str] | tuple[object, ...]") -> Mapping[str, object]:
    """Return a row by its columns; the second of one name, for whoever has to know of it, as `second` calls it."""
    named: dict[str, object] = {}
    for column, cell in zip_longest(columns, row[: len(columns)]):
        named.setdefault(second(column) if column and column in named else column, cell)
    return named


def second(column: str) -> str:
    """Return what the second column of one name is called."""
    return f"{column} (2)"


def _skip_blank(text: str, position: int) -> int:
    match = _BLANK.match(text, position)
    return match.end() if match else position
