"""answers.jsonl and images.jsonl, the files of a run folder that only grow: each line ends in its checksum."""

import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from qdebias.errors import StoreError

Row: TypeAlias = Mapping[str, Any]
FileState: TypeAlias = tuple[int | None, int | None]
"""Bytes, and time of the last change in nanoseconds: by these an unchanged file is recognised; None for no file."""

_SUM = b',"sum":"%s"}\n'  # how a line ends: with its checksum


class Lines:
    """A file that lines are appended to; its folder is locked by this process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with writing(path):
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        self.size = os.fstat(self._file).st_size

    def append(self, rows: Iterable[Row]) -> None:
        """Write the rows so that they outlive this process; all of them, or none where the disk refuses."""
        data, written = bytearray(), 0
        for row in rows:
            content = json.dumps(row, separators=(",", ":"), allow_nan=False).encode()[:-1]
            data += content + _SUM % checksum(content).encode()
        with writing(self.path):
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
        with writing(self.path):
            os.ftruncate(self._file, size)
        self.size = size

    def sync(self) -> None:
        """Make what was written outlive the machine's loss of power."""
        with writing(self.path):
            os.fsync(self._file)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError into a StoreError that explains how to resume."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be written ({error.strerror or error}); what was stored before is kept, "
            f"and the same command resumes from there once the cause is fixed"
        ) from error


def read_lines(path: Path, start: int) -> Iterator[tuple[int, Row | None]]:
    """Yield the end and the content of each line from byte `start` on; None for one that is damaged or cut off."""
    if not path.exists():
        return
    end = start
    with path.open("rb") as file:
        file.seek(start)
        for line in file:
            end += len(line)
            yield end, parsed(line)


def checksum(data: bytes) -> str:
    """Return 8 hex digits by which a change of the data is noticed: CRC-32."""
    return f"{zlib.crc32(data):08x}"


def parsed(line: bytes) -> Row | None:
    """Return the content of a line, None if it is damaged or cut off."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not line.endswith(b"\n") or not isinstance(row, dict):
        return None
    content = line[: -len(_SUM % bytes(8))]
    if row.pop("sum", None) is None or line == content + _SUM % checksum(content).encode():
        return row  # lines of before there were checksums have none
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The outcome of one image under one method: a line of images.jsonl."""

    path: str  # absolute
    method: str  # its id in run.json
    size: int | None = None  # of the file as it was then, see FileState
    mtime_ns: int | None = None
    image: str | None = None  # digest of its pixels; None where it failed
    conditions: tuple[str, ...] = ()  # digests, in the order of the method's conditions in run.json
    similarity: tuple[float, ...] = ()  # what the method measured on the pixels, see Plan.similarity
    error: str | None = None  # why it failed

    @property
    def state(self) -> FileState:
        """The file as it was then."""
        return self.size, self.mtime_ns


def file_state(path: Path) -> FileState:
    """Return the present state of a file."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None, None
    return found.st_size, found.st_mtime_ns
