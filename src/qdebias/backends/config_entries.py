"""Reading the `config.json` of a model whose architecture is ours: nothing in it is passed over in silence."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from qdebias.backends.folder import Checkpoint
from qdebias.errors import BackendError

Config = TypeVar("Config")


def read_entries(checkpoint: Checkpoint, parse: Callable[[Mapping[str, Any]], Config]) -> Config:
    """Return what `parse` makes of a checkpoint's `config.json`.

    Args:
        checkpoint: A folder.
        parse: Raises KeyError for an entry that it misses, ValueError or TypeError for one that it does not like.

    Raises:
        BackendError: The file cannot be read, or `parse` refuses it; the message names the file.
    """
    path = checkpoint.folder / "config.json"
    try:
        return parse(checkpoint.read_json(path.name))
    except KeyError as error:
        raise BackendError(f"{path}: has no entry {error}; obtain it again") from error
    except (TypeError, ValueError) as error:
        raise BackendError(f"{path}: {error}") from error


def check_supported(entries: Mapping[str, Any], supported: Mapping[str, Any], where: str = "") -> None:
    """Refuse entries that are given and are not the one value that is computed.

    Args:
        entries: Of `config.json`, or of a part of it.
        supported: The value of each such entry.
        where: Begins the message.

    Raises:
        ValueError: An entry has another value.
    """
    for name, value in supported.items():
        if entries.get(name, value) != value:
            raise ValueError(f"{where}{name} is {entries[name]!r}; only {value!r} is supported")
