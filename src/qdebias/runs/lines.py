"""answers.jsonl and images.jsonl, the files of a run folder that only grow: each line ends in its checksum."""

import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from qdebias.equations import FloatArray
from qdebias.errors import StoreError
from qdebias.prompts import Placement, Question

Row: TypeAlias = Mapping[str, Any]

_SUM = b',"sum":"%s"}\n'
"""How a line ends: with its checksum."""


class Lines:
    """A file that lines are appended to; its folder is locked by this process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with _refusals(path):
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        self.size = os.fstat(self._file).st_size

    def append(self, rows: Iterable[Row]) -> None:
        """Write the rows so that they outlive this process; all of them, or none where the disk refuses."""
        data = b"".join(map(_line, rows))
        written = 0
        with _refusals(self.path):
            try:
                while written < len(data):
                    written += os.write(self._file, data[written:])
            except OSError:
                with suppress(OSError):  # else the torn line is cut off when the run is next opened
                    os.ftruncate(self._file, self.size)
                raise
        self.size += len(data)

    def cut(self, size: int) -> None:
        """Drop everything behind the first `size` bytes."""
        with _refusals(self.path):
            os.ftruncate(self._file, size)
        self.size = size

    def sync(self) -> None:
        """Make what was written outlive the machine's loss of power."""
        with _refusals(self.path):
            os.fsync(self._file)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


@contextmanager
def _refusals(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise cannot_write(path, error) from error


def read_lines(path: Path, start: int) -> Iterator[tuple[int, Row | None]]:
    """Yield for each line from byte `start` on where it ends and what it says; None where it is damaged or cut off."""
    if not path.exists():
        return
    end = start
    with path.open("rb") as file:
        file.seek(start)
        for line in file:
            end += len(line)
            yield end, parsed(line)


def cannot_write(path: Path, error: OSError) -> StoreError:
    """Return the error to raise when the operating system refuses to write."""
    return StoreError(
        f"{path}: cannot be written ({error.strerror or error}); what was stored before is kept, "
        f"and the same command resumes from there once the cause is fixed"
    )


def checksum(data: bytes) -> str:
    """Return 8 hex digits by which a change of the data is noticed: CRC-32."""
    return f"{zlib.crc32(data):08x}"


def _line(row: Row) -> bytes:
    """Return a line that ends in the checksum of what comes before it."""
    said = json.dumps(row, separators=(",", ":"), allow_nan=False).encode()[:-1]
    return said + _SUM % checksum(said).encode()


def parsed(line: bytes) -> Row | None:
    """Return what a line says, None where it is damaged or cut off."""
    if not line.endswith(b"\n"):
        return None
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict):
        return None
    said = line[: -len(_SUM % bytes(8))]
    if row.pop("sum", None) is None or line == said + _SUM % checksum(said).encode():
        return row  # lines of before there were checksums have none
    return None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answer:
    """The logits of the options of one question about one sequence of images: a line of answers.jsonl.

    Attributes:
        key: From `qdebias.methods.outline.answer_key`.
        images: Digests of the images, in the order in which the model saw them.
        placement: Whether the images came before or after the question.
        question: What was asked.
        logits: (K,) as the backend gave them.
    """

    key: str
    images: tuple[str, ...]
    placement: Placement
    question: Question
    logits: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class FileState:
    """By what an unchanged file is recognised without reading it; both are None where there is no file.

    Attributes:
        size: Bytes.
        mtime_ns: When it was last changed, in nanoseconds.
    """

    size: int | None = None
    mtime_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one image under one method: a line of images.jsonl.

    Attributes:
        path: The image file, absolute.
        method: Id of the method in run.json.
        state: The file as it was then.
        image: Digest of its pixels; None where it failed.
        conditions: Digests of the conditional images, in the order of the method's conditions in run.json.
        similarity: What the method measured on the pixels in place of asking the model (`Plan.similarity`).
        error: Why it failed; None where it did not.
    """

    path: str
    method: str
    state: FileState
    image: str | None = None
    conditions: tuple[str, ...] = ()
    similarity: tuple[float, ...] = ()
    error: str | None = None


def file_state(path: Path) -> FileState:
    """Return the present state of a file."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return FileState()
    return FileState(size=found.st_size, mtime_ns=found.st_mtime_ns)


def row_of(outcome: Outcome, **more: float) -> Row:
    """Return the line of an outcome."""
    named = {name: getattr(outcome, name) for name in ("path", "method", "image", "error")}
    state = {"size": outcome.state.size, "mtime_ns": outcome.state.mtime_ns}
    return named | state | {"conditions": outcome.conditions, "similarity": outcome.similarity} | more


def outcome_of(row: Row) -> Outcome:
    """Return the outcome of a line; raises KeyError or TypeError where it is none."""
    return Outcome(
        path=row["path"],
        method=row["method"],
        state=FileState(size=row["size"], mtime_ns=row["mtime_ns"]),
        image=row["image"],
        conditions=tuple(row["conditions"]),
        similarity=tuple(row["similarity"]),
        error=row["error"],
    )
