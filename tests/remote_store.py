"""Places behind an address, which tests fill."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Store:
    """A place behind an address, and what puts a file into it."""

    root: str
    put: Callable[[str, bytes], object]
