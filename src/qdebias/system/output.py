"""Files and folders that are written: replaced when complete, and by one process at a time.

A file that is replaced is written beside its place, under a random name that nobody else has, and renamed when it is
complete. So readers, crashes and full disks see the old file or the new one, never a part. Locks are those of the
operating system, which go away with the process that holds them.
"""

import errno
import json
import os
import secrets
import shlex
import socket
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, TypeVar

from filelock import FileLock, Timeout

from qdebias.errors import QdebiasError, SettingError, StoreError

NOTE = "lock.holder"
Read = TypeVar("Read")


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that takes the place of `path` when the block ends without an error; else the older one stays.

    A link stays a link: the file behind it is replaced. What is no regular file, such as a pipe or /dev/stdout, is
    written as it is.
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
    """Open a new file in the folder of `path`, under a random name; it is removed unless the block renames it."""
    partial = path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}.partial")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file, partial
    finally:
        partial.unlink(missing_ok=True)


def write_file(path: Path, data: str | bytes) -> None:
    """Write a file instead of an older one, if there is one."""
    with replacing(path) as file:
        file.write(data.encode("utf-8", "backslashreplace") if isinstance(data, str) else data)


def write_settings(path: Path, values: Mapping[str, Any], *, indent: int | None = None) -> None:
    """Write JSON that a person can read."""
    with written(path):
        write_file(path, json.dumps(values, indent=indent, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def written(path: Path, refusal: type[QdebiasError] = SettingError) -> Iterator[None]:
    """Raise an error of ours where the system refuses to write a file; a broken pipe is one of stdout, and passes."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise refusal(f"{path}: cannot be written ({error.strerror or error})") from error


def read_settings(path: Path, format: str, parse: Callable[[dict[str, Any]], Read], *, what: str, command: str) -> Read:  # noqa: A002
    """Return what a file of JSON says, by its values but `format`; `what` it is, and the `command` that makes one.

    `parse` raises ValueError, KeyError or TypeError where the values mean nothing.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values.pop("format") != format:
            raise SettingError(f"is of another version; fit it again with {command}")
        return parse(values)
    except OSError as error:
        raise SettingError(f"{path}: cannot be read ({error.strerror or error})") from error
    except SettingError as error:
        raise SettingError(f"{path}: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SettingError(f"{path}: is no {what} ({error}); make one with {command}") from error


@contextmanager
def locked_output(path: Path) -> Iterator[None]:
    """Let no other command write a file meanwhile: a lock of the system on `.NAME.lock`, which goes with the process.

    Where the system or the file system has no such locks, and for what is no regular file, nothing is locked.
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
            raise SettingError(f"{lock}: is a link, so it is not our lock; remove it") from error
        raise
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
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


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder for writing, and note in lock.holder, for people, who does."""
    lock = FileLock(folder / "lock", timeout=0.3)  # seconds: `is_locked` holds it for a moment when it looks
    try:
        lock.acquire()
    except Timeout as error:
        raise StoreError(
            f"{folder} is being written by {holder(folder)}; wait for it, end it, or choose another folder"
        ) from error
    except (OSError, NotImplementedError) as error:
        raise StoreError(f"{folder}: cannot be locked for writing ({error})") from error
    note = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join([Path(sys.argv[0] or "python").name, *map(_without_secrets, sys.argv[1:])]),
    }
    try:
        with written(folder, StoreError), beside(folder / NOTE) as (file, partial):  # not through a link to elsewhere
            file.write(json.dumps(note).encode())
            file.close()
            partial.replace(folder / NOTE)
        yield
    finally:
        with suppress(OSError):
            (folder / NOTE).unlink(missing_ok=True)
        lock.release()


def is_locked(folder: Path) -> bool:
    """Whether a living process writes the folder."""
    if not (folder / "lock").exists():
        return False
    try:
        with FileLock(folder / "lock", timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return False


def holder(folder: Path) -> str:
    """Return who says to hold the folder, in words."""
    try:
        note = json.loads((folder / NOTE).read_text(encoding="utf-8"))
        return f"process {note['pid']} on {note['host']} since {note['since']} ({note['command']})"
    except (OSError, ValueError, KeyError):
        return "another process"


def _without_secrets(word: str) -> str:
    """Return an argument; of an address neither user, password nor query, which may grant access to it."""
    scheme, mark, rest = word.partition("://")
    host, slash, path = rest.partition("?")[0].partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}" if mark else word
