"""One row an image: the form in which scores leave qdebias, as JSON Lines, CSV or Parquet."""

import csv
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO, Any, ClassVar, Protocol, TypeVar, get_args, get_origin, get_type_hints

from qdebias.calibration import Calibration
from qdebias.engine import Failure
from qdebias.errors import SettingError
from qdebias.method import Score
from qdebias.output import locked_output, replacing

SUFFIXES = (".csv", ".jsonl", ".parquet")
"""The formats of rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The score of one image, or why it has none.

    Attributes:
        path: The image as it was named.
        score: Quality in [0, 1], higher is better; None where it failed.
        error: Why it failed; None where it did not.
        model: What answered.
        method: How it was asked.
        seed: Seed of the random degradations.
        good: P(good) under each condition.
        same: P(same object) of each condition; empty where it was not asked.
        weight: Weight of each condition.
        spread: Standard deviation of the score over seeds of the noise; None for a method with one seed.
    """

    path: str
    score: float | None
    error: str | None
    model: str
    method: str
    seed: int
    good: tuple[float, ...] = ()
    same: tuple[float, ...] = ()
    weight: tuple[float, ...] = ()
    spread: float | None = None

    def json(self) -> str:
        """Return the record as one line of JSON, keys in the order of the attributes."""
        return json.dumps(asdict(self), ensure_ascii=False, allow_nan=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibratedRecord(Record):
    """A record with its score on somebody's MOS scale beside it.

    Attributes:
        calibrated: The score as `qdebias.calibration` maps it; None where the image failed.
    """

    calibrated: float | None = None


def calibrated_record(row: Record, calibration: Calibration) -> CalibratedRecord:
    """Return a record with its score mapped; the score itself stays."""
    mapped = None if row.score is None else float(calibration(row.score))
    return CalibratedRecord(**asdict(row), calibrated=mapped)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredRecord(Record):
    """A record with the answers that its score was computed from.

    Attributes:
        logits: For each request, for each of its questions, the logits of its options as the model gave them.
    """

    logits: tuple[tuple[tuple[float, ...], ...], ...] = ()


def answered_record(path: str, result: Score | Failure, *, model: str, method: str, seed: int) -> AnsweredRecord:
    """Return the row of one result, with its logits."""
    row = asdict(record(path, result, model=model, method=method, seed=seed))
    return AnsweredRecord(**row, logits=() if isinstance(result, Failure) else plain_logits(result))


def plain_logits(score: Score) -> tuple[tuple[tuple[float, ...], ...], ...]:
    """Return the logits of a score as numbers of Python."""
    return tuple(tuple(tuple(logits.tolist()) for logits in request) for request in score.logits)


def record(path: str, result: Score | Failure, *, model: str, method: str, seed: int) -> Record:
    """Return the row of one result."""
    if isinstance(result, Failure):
        return Record(path=path, score=None, error=result.error, model=model, method=method, seed=seed)
    return Record(
        path=path,
        score=result.value,
        error=None,
        model=model,
        method=method,
        seed=seed,
        good=tuple(result.good.tolist()),
        same=tuple(result.same.tolist()),
        weight=tuple(result.weight.tolist()),
        spread=result.spread,
    )


class Row(Protocol):
    """A flat dataclass that can be written."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def json(self) -> str:
        """Return the row as one line of JSON."""


AnyRow = TypeVar("AnyRow", bound=Row)


@contextmanager
def open_writer(path: Path, kind: type[AnyRow] = Record) -> Iterator[Callable[[AnyRow], None]]:  # type: ignore[assignment]
    """Open a file of rows.

    An existing file is left as it is until the first row is written (of Parquet: until the last), or the block ends
    without an error. From then on CSV and JSON Lines hold every row at once; Parquet is complete or not there.

    Args:
        path: Its suffix decides the format: .csv, .jsonl or .parquet.
        kind: The class of the rows; its attributes are the columns.

    Yields:
        A function that appends one row.

    Raises:
        SettingError: The suffix is another one, or the file cannot be written, or another process writes it.
    """
    check_suffix(path)
    writers = {".csv": _csv_writer, ".jsonl": _json_writer, ".parquet": _parquet_writer}
    try:
        with locked_output(path), writers[path.suffix.lower()](path, kind) as write:
            yield write
    except BrokenPipeError:
        raise  # that is whoever reads stdout, not this file
    except OSError as error:
        raise SettingError(f"{path}: cannot be written ({error.strerror or error})") from error


def check_suffix(path: Path) -> None:
    """Check that rows can be written into a file of this name.

    Raises:
        SettingError: Its suffix names another format.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise SettingError(f"{path}: results are written as {', '.join(SUFFIXES)}; choose one of these suffixes")


class _Late:
    """A text file that is emptied when the first line is written.

    Args:
        path: The file.
        head: Writes the beginning.
    """

    def __init__(self, path: Path, head: Callable[[IO[str]], object] | None = None) -> None:
        self._path, self._head, self._file = path, head, ExitStack()
        self._opened: IO[str] | None = None

    def __enter__(self) -> "_Late":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._file:
            if kind is None:
                self.open()

    def open(self) -> IO[str]:
        """Return the file."""
        if self._opened is None:
            settings: Any = {"encoding": "utf-8", "errors": "backslashreplace", "newline": "", "buffering": 1}
            self._opened = self._file.enter_context(self._path.open("w", **settings))
            if self._head is not None:
                self._head(self._opened)
        return self._opened


@contextmanager
def _json_writer(path: Path, _: type[Row]) -> Iterator[Callable[[Row], None]]:
    with _Late(path) as late:
        yield lambda row: print(row.json(), file=late.open())


@contextmanager
def _csv_writer(path: Path, kind: type[Row]) -> Iterator[Callable[[Row], None]]:
    """Write lists as JSON arrays in one cell."""
    names = [field.name for field in fields(kind)]
    with _Late(path, lambda file: csv.writer(file).writerow(names)) as late:
        yield lambda row: csv.writer(late.open()).writerow(map(_cell, asdict(row).values()))


def _cell(value: object) -> object:
    return json.dumps(value) if isinstance(value, tuple) else value


@contextmanager
def _parquet_writer(path: Path, kind: type[Row]) -> Iterator[Callable[[Row], None]]:
    """Write groups of 1,000 rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows: list[Row] = []
    schema = pa.schema({name: _arrow_type(pa, hint) for name, hint in get_type_hints(kind).items()})
    with replacing(path) as sink, pq.ParquetWriter(sink, schema) as file:

        def write(row: Row) -> None:
            rows.append(row)
            if len(rows) == 1000:
                flush()

        def flush() -> None:
            file.write_table(pa.Table.from_pylist(list(map(_writable, rows)), schema=schema))
            rows.clear()

        yield write
        flush()


def _writable(row: Row) -> dict[str, Any]:
    """Return the columns of a row, with names of files that are no text written out."""
    columns = asdict(row).items()
    return {
        name: value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
        for name, value in columns
    }


def _arrow_type(pa: Any, hint: Any) -> Any:  # noqa: ANN401 (pyarrow has no types, and hints have none of their own)
    """Return the column type of an attribute: str, int, float, one of them or None, or a tuple of them."""
    if get_origin(hint) is tuple:
        return pa.list_(_arrow_type(pa, get_args(hint)[0]))
    plain = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    return plain[next(kind for kind in get_args(hint) or (hint,) if kind is not type(None))]
