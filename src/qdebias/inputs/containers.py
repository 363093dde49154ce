"""Files that hold several images: opened here or behind an address, with errors in one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from qdebias.errors import SettingError
from qdebias.inputs.addresses import explained, is_address, open_address


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
    """Return the path or address of what a list or table names: relative names count from its own folder."""
    if is_address(name):
        return name
    if is_address(container):
        return f"{container.rpartition('/')[0]}/{name.lstrip('/')}"
    return str(Path(container).parent / name)
