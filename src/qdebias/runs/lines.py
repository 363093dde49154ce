"""An append-only file of JSON lines: whole groups of lines or nothing."""

import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

from qdebias.errors import StoreError

Row: TypeAlias = Mapping[str, Any]

_SUM = b',"sum":"%s"}\n'
"""How a line ends: with its checksum."""


class Lines:
    """A file that lines are appended to; its folder is locked by this process.

    Args:
        path: The file; made where there is none.

    Raises:
        StoreError: It cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        except OSError as error:
            raise cannot_write(path, error) from error
        self.size = os.fstat(self._file).st_size

    def append(self, rows: Iterable[Row]) -> None:
        """Write the rows so that they outlive this process; all of them, or none where the disk refuses.

        Raises:
            StoreError: The disk is full, or refuses otherwise. The file is as it was.
        """
        data = b"".join(map(_line, rows))
        written = 0
        try:
            while written < len(data):
                written += os.write(self._file, data[written:])
        except OSError as error:
            with suppress(OSError):  # else the torn line is cut off when the run is next opened
                os.ftruncate(self._file, self.size)
            raise cannot_write(self.path, error) from error
        self.size += len(data)

    def cut(self, size: int) -> None:
        """Drop everything behind the first `size` bytes."""
        try:
            os.ftruncate(self._file, size)
        except OSError as error:
            raise cannot_write(self.path, error) from error
        self.size = size

    def sync(self) -> None:
        """Make what was written outlive the machine's loss of power."""
        try:
            os.fsync(self._file)
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


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
        f"and the same command goes on from there once the cause is mended"
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
