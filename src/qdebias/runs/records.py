"""Rows of scores as CSV, JSON Lines and Parquet: written, and read back."""

import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from itertools import groupby
from pathlib import Path
from statistics import fmean, pstdev
from typing import IO, Any, TypeAlias, get_args, get_origin, get_type_hints

from qdebias.errors import SettingError
from qdebias.inputs.datasets.dataset import NAME_COLUMNS
from qdebias.inputs.datasets.readers import read_records, second
from qdebias.inputs.items import container_kind
from qdebias.methods.plan import Failure, Score
from qdebias.metrics.mos import Mos
from qdebias.system.output import locked_output, replacing, written

SUFFIXES = (".csv", ".jsonl", ".parquet")  # the formats of rows
Columns: TypeAlias = Mapping[str, Any]  # the columns of a file in their order, and the type of each
P = "p_"  # how the columns begin that hold the probability of an option: p_good


class Row:
    """A flat dataclass that can be written; its attributes are the columns, `probabilities` has one for each option."""

    __slots__ = ()

    def cells(self, columns: Iterable[str] | None = None) -> dict[str, Any]:
        """Return the columns by name, in their order, or those that are named; None where it has none."""
        cells = asdict(self)  # type: ignore[call-overload]
        probabilities = cells.pop("probabilities", {})
        cells |= {f"{P}{word}": share for word, share in probabilities.items()}
        return cells if columns is None else {name: cells.get(name) for name in columns}

    def json(self, columns: Iterable[str] | None = None) -> str:
        """Return `cells` as one line of JSON."""
        return json.dumps(self.cells(columns), ensure_ascii=False, allow_nan=False)


def columns_of(kind: type[Row], words: Iterable[str] = (), chosen: str | None = None) -> Columns:
    """Return the columns of rows with options `words`: all, or those `chosen`, "path,score,p"; p is every option's."""
    hints = get_type_hints(kind)
    shares = {f"{P}{word}": float | None for word in words} if hints.pop("probabilities", None) else {}
    known = hints | shares
    if chosen is None:
        return known
    names = [each for name in chosen.split(",") for each in (shares if name.strip() == "p" else [name.strip()])]
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise SettingError(f"there is no column {', '.join(unknown) or chosen!r}; there are {', '.join(known)}")
    return {name: known[name] for name in names}


@dataclass(frozen=True, slots=True, kw_only=True)
class Record(Row):
    """The score of one image, or why it has none."""

    path: str  # the image as it was named
    score: float | None  # quality in [0, 1], higher is better; None where it failed
    error: str | None  # why it failed; None where it did not
    model: str
    method: str
    seed: int
    good: tuple[float, ...] = ()  # P(good) under each condition
    same: tuple[float, ...] = ()  # P(same object) of each condition; empty where it was not asked
    weight: tuple[float, ...] = ()  # of each condition
    spread: float | None = None  # standard deviation of the score over seeds of the noise; None for one seed
    log_odds: float | None = None  # log(score / (1 - score)) without rounding, where the method gives it
    deviation: float | None = None  # standard deviation of the options' values
    probabilities: Mapping[str, float] = field(default_factory=dict)  # of each option by its word


@dataclass(frozen=True, slots=True, kw_only=True)
class MosRecord(Record):
    """A record with its score on somebody's MOS scale beside it; all None where the image failed."""

    mos: float | None = None
    mos_low: float | None = None  # the ends of its interval, where the scale has intervals
    mos_high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredRecord(Record):
    """A record with the answers that its score was computed from."""

    logits: tuple[tuple[tuple[float, ...], ...], ...] = ()  # per request, per question, per option


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoRecord(Record):
    """The score of a video, which is the mean over its frames."""

    frames: int | None = None  # how many were scored
    frame_deviation: float | None = None  # standard deviation of their scores
    worst: float | None = None  # the lowest of them
    worst_frame: str | None = None  # which frame that is, by its time in the video, such as "3.203s"


def record(
    path: str, result: Score | Failure, *, model: str, method: str, seed: int, kind: type[Record] = Record
) -> Record:
    """Return the row of one result; an `AnsweredRecord` has its logits too."""
    asked: dict[str, Any] = {"path": path, "model": model, "method": method, "seed": seed}
    if isinstance(result, Failure):
        return kind(**asked, score=None, error=result.error)
    for name in ("good", "same", "weight"):
        asked[name] = tuple(getattr(result, name).tolist())
    for name in ("spread", "log_odds", "deviation", "probabilities"):
        asked[name] = getattr(result, name)
    if issubclass(kind, AnsweredRecord):
        asked["logits"] = tuple(tuple(tuple(logits.tolist()) for logits in request) for request in result.logits)
    return kind(**asked, score=result.value, error=None)


def with_mos(row: Record, mos: Mos | None) -> MosRecord:
    """Return a record with its score on a MOS scale; the score itself stays. None: the image failed."""
    if mos is None:
        return MosRecord(**asdict(row))
    return MosRecord(**asdict(row), mos=mos.value, mos_low=mos.low, mos_high=mos.high)


def video_records(rows: Iterable[Record]) -> Iterator[Record]:
    """Yield one row a video for the rows of its frames, which follow each other; any other row as it is.

    A video with a frame that failed has no score.
    """
    for video, group in groupby(rows, lambda row: row.path.rpartition("!")[0]):
        if container_kind(video) != "video":
            yield from group
            continue
        frames = list(group)
        asked = {name: getattr(frames[0], name) for name in ("model", "method", "seed")}
        whole = VideoRecord(path=video, score=None, error=None, frames=len(frames), **asked)
        errors = [frame.error for frame in frames if frame.error is not None]
        if errors:
            why = f"{video}: {len(errors)} of {len(frames)} frames could not be scored; the first: {errors[0]}"
            yield replace(whole, error=why)
            continue
        scores = [math.inf if frame.score is None else frame.score for frame in frames]
        worst = min(scores)
        worst_frame = frames[scores.index(worst)].path.rpartition("!")[2]
        yield replace(whole, score=fmean(scores), frame_deviation=pstdev(scores), worst=worst, worst_frame=worst_frame)


@contextmanager
def open_writer(path: Path, columns: type[Row] | Columns = Record) -> Iterator[Callable[[Row], None]]:
    """Open a file of rows, its format by its suffix, and yield a function that appends one row.

    An existing file is left as it is until the first row is written (of Parquet: until the last), or the block ends
    without an error. From then on CSV and JSON Lines hold every row at once; Parquet is complete or absent.
    """
    check_suffix(path)
    named = columns_of(columns) if isinstance(columns, type) else columns
    writer = _parquet_writer if path.suffix.lower() == ".parquet" else _line_writer
    with written(path), locked_output(path), writer(path, named) as write:
        yield write


def check_suffix(path: Path) -> None:
    """Check that rows can be written into a file of this name."""
    if path.suffix.lower() not in SUFFIXES:
        raise SettingError(f"{path}: results are written as {', '.join(SUFFIXES)}; choose one of these suffixes")


@contextmanager
def _line_writer(path: Path, columns: Columns) -> Iterator[Callable[[Row], None]]:
    """Write CSV, lists as JSON arrays in one cell, or JSON Lines; the file is emptied when the first row is written."""
    table, settings = path.suffix.lower() == ".csv", {"encoding": "utf-8", "errors": "backslashreplace", "newline": ""}
    with ExitStack() as stack:

        @cache
        def file() -> IO[str]:
            opened: IO[str] = stack.enter_context(path.open("w", buffering=1, **settings))
            if table:
                csv.writer(opened).writerow(columns)
            return opened

        def write(row: Row) -> None:
            if table:
                cells = row.cells(columns).values()
                csv.writer(file()).writerow(json.dumps(cell) if isinstance(cell, tuple) else cell for cell in cells)
            else:
                print(row.json(columns), file=file())

        yield write
        file()


@contextmanager
def _parquet_writer(path: Path, columns: Columns) -> Iterator[Callable[[Row], None]]:
    """Write groups of 1,000 rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows: list[Row] = []
    schema = pa.schema({name: _arrow_type(pa, hint) for name, hint in columns.items()})
    with replacing(path) as sink, pq.ParquetWriter(sink, schema) as file:

        def write(row: Row) -> None:
            rows.append(row)
            if len(rows) == 1000:
                flush()

        def flush() -> None:
            cells = [
                {
                    name: cell.encode("utf-8", "backslashreplace").decode() if isinstance(cell, str) else cell
                    for name, cell in row.cells(columns).items()
                }  # names of files may be no text
                for row in rows
            ]
            file.write_table(pa.Table.from_pylist(cells, schema=schema))
            rows.clear()

        yield write
        flush()


def _arrow_type(pa: Any, hint: Any) -> Any:  # noqa: ANN401 (pyarrow has no types, and hints have none of their own)
    """Return the column type of an attribute: str, int, float, one of them or None, or a tuple of them."""
    if get_origin(hint) is tuple:
        return pa.list_(_arrow_type(pa, get_args(hint)[0]))
    plain = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    return plain[next(kind for kind in get_args(hint) or (hint,) if kind is not type(None))]


SCORE_COLUMNS = ("score", "strength", "predicted_score", "prediction", "predicted")
"""Columns that are taken for scores, the first that is there; case does not matter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenScore(Row):
    """A score that was made before."""

    path: str
    score: float | None
    error: str | None


def read_scores(path: Path) -> list[GivenScore]:
    """Return the scores of a file, in its order.

    It is what `qdebias score --out`, `evaluate --out`, `export` or `rank --out` wrote, or any .csv, .tsv, .json,
    .jsonl, .xlsx or .parquet with a column of images and one of `SCORE_COLUMNS`. A row without a score, or with one
    that is not finite, is an image that failed. A SettingError where it cannot be read, a column is missing, a score is
    no number, or an image is listed twice.
    """
    rows = read_records(path)
    if not rows:
        raise SettingError(f"{path}: lists no images")
    columns = {str(column).strip().casefold(): str(column) for row in rows for column in row}
    chosen = []
    for wanted, what in ((("path", *NAME_COLUMNS), "images"), (SCORE_COLUMNS, "scores")):
        column = next((columns[name] for name in wanted if name in columns), None)
        if column is None:
            known = ", ".join(dict.fromkeys(wanted))
            raise SettingError(f"{path}: has no column of {what} ({known}), only {list(columns)}")
        if second(column.casefold()) in columns:
            raise SettingError(f"{path}: has two columns named {column!r}; keep only one of them")
        chosen.append(column)
    found: dict[str, GivenScore] = {}
    for number, row in enumerate(rows, start=1):
        cells = [row.get(column) for column in (*chosen, columns.get("error", ""))]
        image, text, error = ("" if cell is None else str(cell).strip() for cell in cells)
        if not image:
            raise SettingError(f"{path}, row {number}: names no image")
        if image in found:
            raise SettingError(f"{path}: lists {image!r} more than once; keep only one of the rows")
        try:
            score = float(text or "nan")
        except ValueError:
            raise SettingError(
                f"{path}, row {number} ({image}): the score {text!r} is not a number; leave it empty if it failed"
            ) from None
        if math.isfinite(score):
            found[image] = GivenScore(path=image, score=score, error=None)
        else:
            why = f"its score in the file is {text}" if text else "has no score in the file"
            found[image] = GivenScore(path=image, score=None, error=error or f"{image}: {why}")
    return list(found.values())
