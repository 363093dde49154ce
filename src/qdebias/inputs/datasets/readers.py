"""Label files as rows, a mapping from column to value: CSV, white-space columns, Excel, and every form of JSON in use.

Values are as in the file; the meaning of the columns is in the descriptions of the datasets.
"""

import csv
import gzip
import json
import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
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
"""The exceptions of the readers of packed formats for damaged files; RuntimeError includes NotImplementedError."""


def read_records(path: Path) -> list[Mapping[str, object]]:
    """Return the rows of a label file with column names, by its suffix; text formats may have .gz behind it."""
    suffix = path.with_suffix("").suffix.lower() if path.suffix.lower() == ".gz" else path.suffix.lower()
    if suffix in (".csv", ".txt", ".tsv"):
        return read_delimited(path, delimiter="\t" if suffix == ".tsv" else ",")
    if suffix in (".json", ".jsonl"):
        return _read_json(path)
    if suffix == ".xlsx":
        return read_workbook(path)
    if suffix == ".parquet":
        return _read_parquet(path)
    raise SettingError(
        f"{path}: labels are read from .csv, .tsv, .json, .jsonl, .xlsx and .parquet, not from {suffix!r}"
    )


def read_delimited(
    path: Path, *, columns: Sequence[str] | None = None, delimiter: str | None = ","
) -> list[Mapping[str, object]]:
    """Return the rows of a text file, without empty ones; `columns` None: its first line; `delimiter` None: blanks."""
    text = _read_text(path)
    if delimiter is None:
        rows: Iterable[list[str]] = map(str.split, text.split("\n"))
    else:
        rows = csv_rows(StringIO(text, newline=""), str(path), delimiter=delimiter)
    rows = [row for row in rows if any(cell.strip() for cell in row)]
    if columns is None:
        columns = [cell.strip() for cell in rows.pop(0)] if rows else []
        check_header(columns, str(path), delimiter or ",")
        for number, row in enumerate(rows, start=1):
            check_cells(row, columns, f"{path}, row {number}")
    return [_as_record(columns, row) for row in rows]


def read_workbook(path: Path, *, sheet: str | None = None, header: str | None = None) -> list[Mapping[str, object]]:
    """Return the rows of a sheet (None: the first) of an Excel file, without empty ones.

    Rows above the one that has the column `header` are skipped; None: the first names the columns.
    """
    try:
        openpyxl = import_module("openpyxl")
    except ImportError as error:
        message = f"{path}: reading Excel files needs openpyxl; install it (pip install openpyxl) or save as CSV"
        raise MissingPackageError(message) from error
    try:
        with closing(openpyxl.load_workbook(path, read_only=True, data_only=True)) as book:
            if sheet is not None and sheet not in book.sheetnames:
                raise SettingError(f"{path}: has no sheet {sheet!r}, only {book.sheetnames}")
            chosen = book.worksheets[0] if sheet is None else book[sheet]
            rows = [row for row in chosen.iter_rows(values_only=True) if any(cell is not None for cell in row)]
    except SettingError:
        raise
    except DAMAGED as error:
        raise SettingError(f"{path}: is not a readable Excel file ({error})") from error
    while rows and header is not None and header not in rows[0]:
        rows.pop(0)
    if not rows:
        raise SettingError(f"{path}: has no row of column names")
    columns = ["" if cell is None else str(cell).strip() for cell in rows[0]]
    return [_as_record(columns, row) for row in rows[1:]]


def csv_rows(lines: Iterable[str], name: str, *, delimiter: str = ",") -> Iterator[list[str]]:
    """Yield the rows of a CSV file; cells may be of any length. An unclosed quote, or text behind one, is refused."""
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
    """Refuse a file without a header, and a header that is one column because another separator is used."""
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
    """Refuse a row with more cells than there are columns: of "1,5" and of "a,b.png", one part would be taken."""
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
                records += [_as_record(batch.schema.names, row) for row in rows]
    except SettingError:
        raise
    except (OSError, ValueError) as error:  # ValueError: also a name that is no UTF-8
        raise SettingError(f"{path}: is not a readable Parquet file ({error})") from error
    return records


def _read_json(path: Path) -> list[Mapping[str, object]]:
    """Return the rows of a JSON file.

    Accepted are a list of objects, objects one after the other with or without commas or lines between them (as
    Q-Bench's outputs are), lists of those, an object of columns of equal length, and an object that holds a list of
    objects.
    """
    text = _read_text(path)
    decoder, blank = json.JSONDecoder(), re.compile(r"[\s,]*")
    values: list[object] = []
    position = 0
    while (position := blank.match(text, position).end()) < len(text):  # type: ignore[union-attr]  # matches always
        try:
            value, position = decoder.raw_decode(text, position)
        except json.JSONDecodeError as error:
            raise SettingError(f"{path}: is not JSON, line {error.lineno}: {error.msg}") from error
        except RecursionError as error:
            raise SettingError(f"{path}: is nested too deeply to be a table") from error
        values.append(value)
    return _flattened(values, path)


def _read_text(path: Path) -> str:
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if path.suffix.lower() == ".gz" else data).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error) as error:
        raise SettingError(f"{path}: cannot be read ({error})") from error
    except UnicodeDecodeError as error:
        raise SettingError(f"{path}: is not UTF-8 text, byte {error.start}; save it as UTF-8") from error


def _flattened(values: Iterable[object], path: Path) -> list[Mapping[str, object]]:
    """Return the rows in values: objects, lists of them, and objects that hold columns or one list of objects."""
    rows: list[Mapping[str, object]] = []
    for value in values:
        if isinstance(value, list):
            rows += _flattened(value, path)
            continue
        if not isinstance(value, dict):
            raise SettingError(f"{path}: expected objects with columns, found {str(value)[:40]!r}")
        lists = {key: column for key, column in value.items() if isinstance(column, list)}
        lengths = {key: len(column) for key, column in lists.items()}
        if len(lists) == 1 and all(isinstance(row, dict) for column in lists.values() for row in column):
            rows += _flattened(lists.values(), path)
        elif len(lists) < 2 or len(lists) < len(value):
            rows.append(value)
        elif len(set(lengths.values())) > 1:
            raise SettingError(f"{path}: has columns of different lengths, {lengths}")
        else:
            rows += [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]
    return rows


def _as_record(columns: Sequence[str], row: Sequence[object]) -> Mapping[str, object]:
    """Return a row by its columns; the second column of the same name is called as `second` returns."""
    named: dict[str, object] = {}
    for column, cell in zip_longest(columns, row[: len(columns)]):
        named.setdefault(second(column) if column and column in named else column, cell)
    return named


def second(column: str) -> str:
    """Return the name for the second column of the same name."""
    return f"{column} (2)"
