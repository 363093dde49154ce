"""Parts of the images of a run, each small enough to be one job and described by a few words.

A piece says where its images are and holds none of them, so it can be written down, sent to another machine, and read
there as often as needed.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from qdebias.inputs.addresses import is_address
from qdebias.inputs.items import Image, LeftOut, RemoteImage, Unreadable, unreadable

Other = TypeVar("Other", bound="Nothing | LeftOut")

SIZE = 500
"""Most images in a piece of those that are named one by one."""


class Piece(Protocol):
    """Some images of a run; a frozen dataclass of plain values."""

    @property
    def label(self) -> str:
        """What it is called in messages."""
        ...

    @property
    def count(self) -> int | None:
        """How many images it holds; None where that takes reading it."""
        ...

    def absolute(self) -> "Piece":
        """Return the same piece, named so that it is found from every folder."""
        ...

    def __iter__(self) -> Iterator[Image | LeftOut]:
        """Yield its images, in order. What cannot be read is `Unreadable`; nothing is raised about one image."""
        ...


@dataclass(frozen=True, slots=True)
class Named:
    """Images that have a path or address each.

    Attributes:
        names: Paths and addresses.
    """

    names: tuple[str, ...]

    @property
    def label(self) -> str:
        """The first of them."""
        return self.names[0]

    @property
    def count(self) -> int:
        """How many they are."""
        return len(self.names)

    def absolute(self) -> "Named":
        """Return them with absolute paths."""
        return Named(tuple(map(absolute_name, self.names)))

    def __iter__(self) -> Iterator[Image]:
        """Yield each as what its name says it is."""
        return (RemoteImage(name) if is_address(name) else Path(name) for name in self.names)


@dataclass(frozen=True, slots=True)
class Nothing:
    """Something that was named and holds no image.

    Attributes:
        name: What was named.
        error: Why it holds none, in one line that begins with the name.
    """

    name: str
    error: str

    @property
    def label(self) -> str:
        """What was named."""
        return self.name

    @property
    def count(self) -> int:
        """One failure."""
        return 1

    def absolute(self) -> "Nothing":
        """Return it with an absolute path."""
        return Nothing(absolute_name(self.name), self.error)

    def __iter__(self) -> Iterator[Image]:
        """Yield the failure."""
        yield Unreadable(self.name, self.error)


def nothing(name: str, why: str) -> Nothing:
    """Return what holds no image under its name without a signature; see `unreadable`."""
    found = unreadable(name, why)
    return Nothing(found.name, found.error)


def absolute_name(name: str) -> str:
    """Return the absolute form of a path, or of a member of a file with a path; an address stays what it is."""
    return name if is_address(name) else os.path.join(os.getcwd(), name)  # noqa: PTH109, PTH118 (a member is no path)


def named(found: Iterable[str | Other]) -> Iterator[Named | Other]:
    """Gather names into pieces of at most `SIZE`, in order; anything else is yielded as it is."""
    names: list[str] = []
    for one in found:
        if isinstance(one, str):
            names.append(one)
        if names and (len(names) == SIZE or not isinstance(one, str)):
            yield Named(tuple(names))
            names = []
        if not isinstance(one, str):
            yield one
    if names:
        yield Named(tuple(names))
