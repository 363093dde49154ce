"""Parquet files, read in bounded memory even where their metadata are false."""

from collections.abc import Iterator, Sequence
from typing import IO, Any

from qdebias.errors import SettingError
from qdebias.inputs.addresses import MAX_BYTES, open_container, unsigned

MOST_TIMES = 100
"""How many times larger than stored the columns of a row group may become where they take more than `MAX_BYTES`:
encoded images hardly shrink, and one page that grows to gigabytes is in memory at once."""

BATCH = 1 << 26  # bytes that the texts of a record batch take at most, unless it is one row
_HEADER = 1 << 14  # bytes that are read at a time, at most, where only the headers of pages are wanted
_DEEPEST = 8  # most structures inside each other in the header of a page, which has two

_UNSOUND = "a page without a sound header"


def open_parquet(name: str, stream: Any) -> Any:  # noqa: ANN401 (pyarrow has no types)
    """Return an open Parquet file."""
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(stream, buffer_size=1 << 20)
    except ValueError as error:  # also where a column's name is no UTF-8
        raise SettingError(f"{unsigned(name)}: is not a Parquet file, or is damaged ({error})") from error


def check_growth(name: str, group: Any, *columns: str) -> int:  # noqa: ANN401
    """Refuse a row group whose columns would take far more memory than they take in the file.

    The metadata may be false, so the headers of the pages are read too, by which pyarrow allocates memory.
    Returns the bytes of the largest page when it is unpacked. No cell is larger.
    """
    chunks = [group.column(number) for number in range(group.num_columns)]
    chosen = [chunk for chunk in chunks if any(f"{chunk.path_in_schema}.".startswith(f"{one}.") for one in columns)]
    stored = sum(chunk.total_compressed_size for chunk in chosen)
    with open_container(name, block=_HEADER) as stream:
        pages = [size for chunk in chosen for size in page_sizes(stream, chunk)]
    unpacked = max(sum(chunk.total_uncompressed_size for chunk in chosen), sum(pages))
    if unpacked > max(MAX_BYTES, MOST_TIMES * stored):
        raise SettingError(
            f"{unsigned(name)}: column {', '.join(map(repr, columns[:3]))} grows from {stored / 1e6:.1f} to "
            f"{unpacked / 1e6:,.0f} MB when it is unpacked, more than {MOST_TIMES} times; store encoded images "
            f"(JPEG, PNG) in it"
        )
    return max(pages, default=0)


def page_sizes(stream: IO[bytes], chunk: Any) -> Iterator[int]:  # noqa: ANN401
    """Yield the unpacked size of each page of a column chunk, by its own header."""
    starts = (chunk.dictionary_page_offset, chunk.data_page_offset)
    place = min(start for start in starts if start)
    end = place + chunk.total_compressed_size
    while place < end:
        stream.seek(place)
        page = _thrift_struct(stream, 0)
        if page.get(2, -1) < 0 or page.get(3, -1) < 0:
            raise ValueError(_UNSOUND)
        yield page[2]
        place = stream.tell() + page[3]


def batches(name: str, file: Any, columns: Sequence[str]) -> Iterator[Any]:  # noqa: ANN401
    """Yield record batches of an open Parquet file that take at most `BATCH` bytes each, or hold one row.

    Many equal texts may be stored as one, in a dictionary or (DELTA_BYTE_ARRAY) by what each has in common with the one
    before it, so that pages, too, are short for what they hold; but none holds a cell that is larger than itself.
    """
    for number in range(file.num_row_groups):
        largest = check_growth(name, file.metadata.row_group(number), *columns)
        rows = max(1, min(1 << 16, BATCH // max(1, largest)))
        yield from file.iter_batches(rows, row_groups=[number], columns=list(columns))


def _thrift_struct(stream: IO[bytes], depth: int) -> dict[int, int]:
    """Read a structure in the compact protocol of Thrift; return its integers by field, in a page header 1 to 4."""
    found: dict[int, int] = {}
    number = 0
    while head := _byte(stream):
        number = number + (head >> 4) if head >> 4 else _integer(stream)
        found[number] = _thrift_value(stream, head & 15, depth)
    return found


def _thrift_value(stream: IO[bytes], kind: int, depth: int) -> int:
    """Read a value; return it if it is an integer, else 0."""
    if kind in (4, 5, 6):
        return _integer(stream)
    if kind == 3:
        _byte(stream)
    elif kind == 7:
        stream.seek(8, 1)
    elif kind == 8:
        stream.seek(_integer(stream, signed=False), 1)
    elif kind in (9, 10) and depth < _DEEPEST:
        head = _byte(stream)
        for _ in range(_integer(stream, signed=False) if head >> 4 == 15 else head >> 4):
            _thrift_value(stream, head & 15 if head & 15 > 2 else 3, depth + 1)
    elif kind == 12 and depth < _DEEPEST:
        _thrift_struct(stream, depth + 1)
    elif kind not in (1, 2):
        raise ValueError(_UNSOUND)
    return 0


def _byte(stream: IO[bytes]) -> int:
    byte = stream.read(1)
    if not byte:
        raise ValueError(_UNSOUND)
    return byte[0]


def _integer(stream: IO[bytes], *, signed: bool = True) -> int:
    """Read a number of 7 bits a byte; of a signed one, the lowest bit is the sign (zigzag)."""
    value = 0
    for shift in range(0, 70, 7):
        byte = _byte(stream)
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
    return (value >> 1) ^ -(value & 1) if signed else value
