"""One writer at a time: a lock of the operating system, which goes away with the process that holds it."""

import json
import os
import shlex
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from qdebias.errors import StoreError
from qdebias.system.output import beside

_PATIENCE = 0.3
"""Seconds for which a writer waits: `is_locked` holds the lock for a moment when it looks."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder for writing.

    Raises:
        StoreError: Another process holds it, or the folder cannot be written.
    """
    lock = FileLock(folder / "lock", timeout=_PATIENCE)
    try:
        lock.acquire()
    except Timeout as error:
        raise StoreError(
            f"{folder} is being written by {holder(folder)}; wait for it, end it, or choose another folder"
        ) from error
    except (OSError, NotImplementedError) as error:
        raise StoreError(f"{folder}: cannot be locked for writing ({error})") from error
    try:
        _sign(folder)
        yield
    finally:
        with suppress(OSError):
            _note(folder).unlink(missing_ok=True)
        lock.release()


def is_locked(folder: Path) -> bool:
    """Whether a living process writes the folder."""
    lock = FileLock(folder / "lock", timeout=0)
    if not (folder / "lock").exists():
        return False
    try:
        lock.acquire()
    except Timeout:
        return True
    except OSError:
        return False
    lock.release()
    return False


def holder(folder: Path) -> str:
    """Return who says to hold the folder, in words."""
    try:
        note = json.loads(_note(folder).read_text(encoding="utf-8"))
        return f"process {note['pid']} on {note['host']} since {note['since']} ({note['command']})"
    except (OSError, ValueError, KeyError):
        return "another process"


def _note(folder: Path) -> Path:
    return folder / "lock.holder"


def _sign(folder: Path) -> None:
    """Write down who holds the lock: for people, not for the lock itself."""
    note = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join([Path(sys.argv[0] or "python").name, *map(_without_secrets, sys.argv[1:])]),
    }
    try:
        with beside(_note(folder)) as (file, partial):  # not through a link that somebody may have put there
            file.write(json.dumps(note).encode())
            file.close()
            partial.replace(_note(folder))
    except OSError as error:
        raise StoreError(f"{folder}: cannot be written ({error.strerror or error})") from error


def _without_secrets(word: str) -> str:
    """Return an argument; of an address neither user, password nor query, which may grant access to it."""
    scheme, mark, rest = word.partition("://")
    host, slash, path = rest.partition("?")[0].partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}" if mark else word
