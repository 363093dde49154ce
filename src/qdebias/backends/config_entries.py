"""Reading the `config.json` of a model whose architecture is ours: nothing in it is ignored silently."""

from collections.abc import Iterable, Mapping
from typing import Any


def check_entries(
    entries: Mapping[str, Any], *, required: Iterable[str] = (), supported: Mapping[str, Any], where: str = ""
) -> None:
    """Refuse entries that are missing or not numbers, or that ask for what is not implemented.

    Args:
        entries: Of `config.json`, or of a part of it.
        required: Entries that have to be there, and to be numbers or booleans.
        supported: Entries that may be absent, and the only value that each may have.
        where: Begins the message.

    Raises:
        ValueError: The message names the entry.
    """
    for name in required:
        if name not in entries:
            raise ValueError(f"{where}has no entry {name!r}")
        if not isinstance(entries[name], int | float):
            raise ValueError(f"{where}{name} is {entries[name]!r}, not a number")
    for name, value in supported.items():
        if entries.get(name, value) != value:
            raise ValueError(f"{where}{name} is {entries[name]!r}; only {value!r} is supported")
