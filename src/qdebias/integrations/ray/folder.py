"""The folder of a run that many machines write into: on a disk they share, or behind an address.

Files are small, written as a whole and never changed: a reader sees all of a file or none of it. Both kinds of folder
are frozen dataclasses, so that they can be sent to the workers; what cannot be written raises a StoreError.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from qdebias.errors import StoreError
from qdebias.inputs.addresses import failures, is_address, open_filesystem, unsigned, words_of
from qdebias.system.output import locked, write_file


def open_folder(name: str) -> "Folder":
    """Return the folder of a path or of an address such as "s3://bucket/scores"; it need not exist yet."""
    return RemoteFolder(name.rstrip("/")) if is_address(name) else LocalFolder(Path(name).absolute())


@dataclass(frozen=True, slots=True)
class LocalFolder:
    """A folder on a disk; one that every machine of the cluster sees under this path."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def names(self, under: str) -> set[str]:
        """Return the names of its files; those that are being written are hidden and left out."""
        try:
            with os.scandir(self.path / under) as entries:
                return {entry.name for entry in entries if not entry.name.startswith(".")}
        except (FileNotFoundError, NotADirectoryError):
            return set()

    def read(self, name: str) -> bytes | None:
        """Return what a file holds."""
        try:
            return (self.path / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write(self, name: str, data: bytes) -> None:
        """Write under a hidden name of its own, and rename."""
        path = self.path / name
        with _told(str(path)):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, data)

    def remove(self, name: str) -> None:
        """Remove a file if it is there."""
        (self.path / name).unlink(missing_ok=True)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold a lock of the operating system, which goes away with this process."""
        with _told(str(self.path)):
            self.path.mkdir(parents=True, exist_ok=True)
        with locked(self.path):
            yield


@dataclass(frozen=True, slots=True)
class RemoteFolder:
    """A folder behind an address, through fsspec; object stores show an object when all of it has arrived."""

    address: str

    def __str__(self) -> str:
        return unsigned(self.address)

    def names(self, under: str) -> set[str]:
        """Return the names of its objects."""
        files, path = open_filesystem(f"{self.address}/{under}")
        with _told(self.address, done="listed"):
            try:
                return {PurePosixPath(name).name for name in files.ls(path, detail=False)}
            except FileNotFoundError:
                return set()

    def read(self, name: str) -> bytes | None:
        """Return what an object holds."""
        files, path = open_filesystem(f"{self.address}/{name}")
        with _told(self.address, done="read"):
            try:
                return bytes(files.cat_file(path))
            except FileNotFoundError:
                return None

    def write(self, name: str, data: bytes) -> None:
        """Put an object: one request, as chunks of scores are far below the size at which stores want several."""
        files, path = open_filesystem(f"{self.address}/{name}")
        with _told(f"{self.address}/{name}"):
            files.pipe_file(path, data)

    def remove(self, name: str) -> None:
        """Remove an object if it is there."""
        files, path = open_filesystem(f"{self.address}/{name}")
        with _told(self.address):
            try:
                files.rm_file(path)
            except FileNotFoundError:
                return

    def held(self) -> AbstractContextManager[None]:
        """Hold nothing: what lies behind addresses has no locks."""
        return nullcontext()


@contextmanager
def _told(name: str, *, done: str = "written") -> Iterator[None]:
    try:
        yield
    except failures() as error:
        raise StoreError(
            f"{unsigned(name)}: cannot be {done} ({words_of(error)}); every chunk that was written is kept, and the "
            f"same command resumes from there once the cause is fixed"
        ) from error


Folder: TypeAlias = LocalFolder | RemoteFolder
