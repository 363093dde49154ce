"""Files that hold several images: opened here or behind an address, with errors in one line."""

import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from qdebias.errors import SettingError
from qdebias.inputs.addresses import explained, is_address, open_address, path_of
from qdebias.inputs.presence import is_there


@contextmanager
def open_container(name: str) -> Iterator[IO[bytes]]:
    """Open a shard, table or list.

    Raises:
        SettingError: It cannot be read, now or while it is being read.
    """
    if is_address(name):
        with explained(name), open_address(name) as stream:
            yield stream
        return
    try:
        with Path(name).open("rb") as stream:
            yield stream
    except FileNotFoundError as error:
        raise SettingError(f"{name}: no such file") from error
    except OSError as error:
        raise SettingError(f"{name}: cannot be read ({error.strerror or error})") from error


def beside(container: str, name: str) -> str:
    """Return the path or address of what a list or table names.

    Relative names count from its own folder; where nothing is there, from the folder in which the command runs, as
    `datasets` writes them.
    """
    if is_address(name):
        return name
    if is_address(container):
        address, mark, query = container.partition("?") if path_of(container) != container else (container, "", "")
        return f"{address.rpartition('/')[0]}/{name.lstrip('/')}{mark}{query}"
    own = true_name(str(Path(container).parent / name))
    return own if is_there(own) or not is_there(true_name(name)) else true_name(name)


def true_name(path: str) -> str:
    """Return a path as the disk has it: with accents composed or apart, whichever is there."""
    if path.isascii() or is_there(path):
        return path
    return next((one for form in ("NFC", "NFD") if is_there(one := unicodedata.normalize(form, path))), path)
