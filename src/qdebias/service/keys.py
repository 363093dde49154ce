"""API keys: where they come from, and how a request shows one."""

import base64
import binascii
import hmac
import os
from collections.abc import Mapping
from functools import partial
from hashlib import sha256
from pathlib import Path

from qdebias.errors import SettingError

VARIABLE = "QDEBIAS_SERVE_KEYS"
"""Environment variable with the keys, separated by commas or white space."""

SHORTEST = 16
"""Shortest key, in characters: a key that can be guessed is none."""


class Keys:
    """The keys of a server; only their digests are kept.

    Args:
        keys: The keys; none leaves every route open.
    """

    def __init__(self, keys: tuple[str, ...] = ()) -> None:
        self._digests = tuple(_digest(key) for key in keys)

    def __bool__(self) -> bool:
        return bool(self._digests)

    def accept(self, authorization: str) -> bool:
        """Say whether an Authorization header shows a key: `Bearer <key>`, or `Basic` with the key as password.

        The time does not tell how much of a key was right, nor which one.
        """
        shown = _digest(_shown(authorization))
        return any(list(map(partial(hmac.compare_digest, shown), self._digests)))


def load_keys(path: Path | None, environment: Mapping[str, str] = os.environ) -> Keys:
    """Return the keys of a file with one key a line, or of the environment variable.

    Raises:
        SettingError: The file cannot be read, holds no key, or a key is too short.
    """
    if path is None:
        keys = environment.get(VARIABLE, "").replace(",", " ").split()
        source = VARIABLE
    else:
        keys, source = _read(path), str(path)
        if not keys:
            raise SettingError(f"{path}: holds no key; write one a line")
    if any(len(key) < SHORTEST or not key.isascii() or not key.isprintable() for key in keys):
        raise SettingError(
            f"{source}: a key is shorter than {SHORTEST} characters, or not plain ASCII; make a longer one"
        )
    return Keys(tuple(keys))


def _read(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        raise SettingError(f"{path}: the keys cannot be read ({error})") from error
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _shown(authorization: str) -> str:
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2]
        except (binascii.Error, ValueError):
            return ""
    return ""


def _digest(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogatepass")).digest()
