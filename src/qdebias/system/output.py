"""Files that a command writes: never one that it reads, never emptied before there is something to put in.

A file that is replaced is written beside its place, under a random name that nobody else has, and renamed when it is
complete. So readers, crashes and full disks see the old file or the new one, never a part.
"""

import errno
import os
import secrets
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from qdebias.errors import SettingError

_LOCKED = (errno.EACCES, errno.EAGAIN)


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that takes the place of `path` when the block ends without an error.

    A link stays a link: the file behind it is replaced. What is no regular file, such as a pipe or /dev/stdout, is
    written as it is.

    Yields:
        The file, open for writing bytes.

    Raises:
        OSError: The system refuses; the older file is as it was.
    """
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            yield file
        return
    path = path.resolve()
    with beside(path) as (file, partial):
        yield file
        file.flush()
        os.fsync(file.fileno())
        if path.exists():
            partial.chmod(stat.S_IMODE(path.stat().st_mode))
        partial.replace(path)


@contextmanager
def beside(path: Path) -> Iterator[tuple[IO[bytes], Path]]:
    """Open a new file in the folder of `path`, under a random name; it is removed unless the block renames it.

    Yields:
        The file, open for writing bytes, and its path.

    Raises:
        OSError: The system refuses.
    """
    partial = path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}.partial")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file, partial
    finally:
        partial.unlink(missing_ok=True)


def write_file(path: Path, data: str | bytes) -> None:
    """Write a file in the place of an older one, if there is one; raises as `replacing` does."""
    with replacing(path) as file:
        file.write(data.encode("utf-8", "backslashreplace") if isinstance(data, str) else data)


@contextmanager
def locked_output(path: Path) -> Iterator[None]:
    """Let no other command write a file meanwhile: a lock of the system on `.NAME.lock`, which goes with the process.

    Where the system or the file system has no such locks, and for what is no regular file, nothing is locked.

    Raises:
        SettingError: Another command writes the file.
        OSError: Its folder is absent or cannot be written.
    """
    if sys.platform == "win32" or (path.exists() and not path.is_file()):
        yield
        return
    import fcntl

    path = path.resolve()
    lock = path.with_name(f".{path.name[:100]}.lock")
    try:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise SettingError(f"{lock}: is a link, so no lock of ours; remove it") from error
        raise
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _LOCKED:
                raise SettingError(
                    f"{path}: is being written by another command; wait for it, or choose another file"
                ) from error
        try:
            yield
        finally:
            with suppress(OSError):
                if os.fstat(handle).st_size == 0:  # else it is no lock of ours
                    lock.unlink()
    finally:
        os.close(handle)
