"""Writing files and folders: replaced when complete, and by one process at a time.

A new file is written under a random name in the same folder and renamed when it is complete, so after a crash or on a
full disk there is the old file or the new one, never a part. Locks are those of the operating system, which end with
the process that holds them.
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
    """Open a file that replaces `path` when the block ends without an error.

    A link stays a link: its target is replaced. A pipe or device, such as /dev/stdout, is written directly.
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
    """Write a file, replacing an older one."""
    with replacing(path) as file:
        file.write(data.encode("utf-8", "backslashreplace") if isinstance(data, str) else data)


def write_settings(path: Path, values: Mapping[str, Any], *, indent: int | None = None) -> None:
    """Write a JSON file."""
    with written(path):
        write_file(path, json.dumps(values, indent=indent, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def written(path: Path, refusal: type[QdebiasError] = SettingError) -> Iterator[None]:
    """Turn an OSError into a `refusal` that names the path; a broken pipe, which is that of stdout, passes."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise refusal(f"{path}: cannot be written ({error.strerror or error})") from error


def read_settings(path: Path, format: str, parse: Callable[[dict[str, Any]], Read], *, what: str, command: str) -> Read:  # noqa: A002
    """Return the parsed values of a JSON file; `what` it is and the `command` that makes one are for messages.

    `parse` is given all values but `format`, and raises ValueError, KeyError or TypeError for wrong ones.
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
    """Keep other commands from writing a file, by a lock on `.NAME.lock`.

    Nothing is locked on systems and file systems without such locks, nor for pipes and devices.
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
    with os.fdopen(handle, "rb") as file:  # whose end is that of the lock
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if isinstance(error, BlockingIOError | PermissionError):
                raise SettingError(
                    f"{path}: is being written by another command; wait for it, or choose another file"
                ) from error
        try:
            yield
        finally:
            with suppress(OSError):
                if os.fstat(handle).st_size == 0:  # else it is no lock of ours
                    lock.unlink()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder for writing, and write into lock.holder which process holds it."""
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
    """Whether a running process holds the folder."""
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
    """Return which process holds the folder, by its own note."""
    try:
        note = json.loads((folder / NOTE).read_text(encoding="utf-8"))
        return f"process {note['pid']} on {note['host']} since {note['since']} ({note['command']})"
    except (OSError, ValueError, KeyError):
        return "another process"


def _without_secrets(word: str) -> str:
    """Return an argument; an address without user, password and query, which may grant access to it."""
    scheme, mark, rest = word.partition("://")
    host, slash, path = rest.partition("?")[0].partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}" if mark else word
