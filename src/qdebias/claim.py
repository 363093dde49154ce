"""Files that one process writes at a time: a lock of the operating system, which goes away with the process."""

import errno
import os
import stat
import sys
from pathlib import Path

from qdebias.errors import SettingError

_HELD = (errno.EACCES, errno.EAGAIN)


def claim(path: str, flags: int) -> int:
    """Open a file that nobody else writes, and only then empty it: the `opener` of `open`.

    Where the system or the file system has no such locks, nothing is held.

    Raises:
        SettingError: Another process writes it.
        OSError: It cannot be opened.
    """
    while True:
        file = os.open(path, flags & ~os.O_TRUNC, 0o666)
        try:
            _hold(file, path)
            state = os.fstat(file)
            if _is_at(path, state):
                if flags & os.O_TRUNC and stat.S_ISREG(state.st_mode):
                    os.ftruncate(file, 0)
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)  # it was renamed by whoever wrote it before


def _hold(file: int, path: str) -> None:
    if sys.platform == "win32":
        return
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            raise SettingError(
                f"{path}: is being written by another command; wait for it, or choose another file"
            ) from error


def _is_at(path: str, state: os.stat_result) -> bool:
    try:
        return os.path.samestat(Path(path).stat(), state)
    except FileNotFoundError:
        return False
