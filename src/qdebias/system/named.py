"""Objects of other packages by name ("package.module:name"), and suggestions for mistyped names."""

import importlib
from collections.abc import Iterable
from difflib import get_close_matches

from qdebias.errors import SettingError


def is_import(name: str) -> bool:
    """Whether a name has the form "package.module:name"."""
    module, colon, rest = name.partition(":")
    return bool(colon) and rest.isidentifier() and all(part.isidentifier() for part in module.split("."))


def nearest(name: str, known: Iterable[str]) -> str:
    """Return " (did you mean ...?)" with the known name that a mistyped one resembles, or an empty text."""
    found = get_close_matches(name.lower(), known, n=1)
    return f" (did you mean {found[0]}?)" if found else ""


def import_named(name: str, *, what: str) -> object:
    """Return the object called "package.module:name"; `what`, such as "backend", is its role in messages."""
    module, _, rest = name.partition(":")
    try:
        return getattr(importlib.import_module(module), rest)
    except (ImportError, AttributeError) as error:
        raise SettingError(
            f"{what} {name} cannot be imported: {error}; install its package, or name its folder in PYTHONPATH"
        ) from error
