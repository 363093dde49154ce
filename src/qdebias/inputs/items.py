"""The images of a run that are no local files, and pieces of a run, each small enough to be one job.

A piece says where its images are and holds none of them, so it can be written down, sent to another machine, and read
there as often as needed.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, Self, TypeAlias

from qdebias.errors import ImageError
from qdebias.inputs.addresses import absolute_name, is_address, read_address, unsigned

NO_IMAGE, NOT_DECODED, LINKS = "without a suffix and no image", "of formats that are not decoded", "links to folders"
"""Why something is left out."""

SIZE = 500  # most images in a piece of those that are named one by one


@dataclass(frozen=True, slots=True)
class RemoteImage:
    """An image behind an address such as "s3://bucket/a.jpg", fetched when it is needed."""

    address: str

    @property
    def name(self) -> str:
        """The address without any signature."""
        return unsigned(self.address)

    def read(self) -> bytes:
        """Fetch it."""
        return read_address(self.address)


@dataclass(frozen=True, slots=True)
class Member:
    """An image read out of a shard or a table, where it is called `key`: a name, or the number of a row."""

    container: str
    key: str
    data: bytes

    @property
    def name(self) -> str:
        """The container and the key, such as "shard-0001.tar!00042.jpg"."""
        return member_name(self.container, self.key)

    def read(self) -> bytes:
        """Return what would stand in its file."""
        return self.data


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A failure instead of an image or a piece: what was named, and why in one line that begins with it."""

    name: str
    error: str
    count = 1

    @property
    def names(self) -> tuple[str]:
        """What was named."""
        return (self.name,)

    def absolute(self) -> Self:
        """Return it with an absolute path."""
        return replace(self, name=absolute_name(self.name))

    def __iter__(self) -> Iterator["Unreadable"]:
        yield self

    def read(self) -> bytes:
        """Fail."""
        raise ImageError(self.error)


def unreadable(name: str, why: str) -> Unreadable:
    """Return a failure under the name without a signature; the reason may begin with the name or not."""
    shown = unsigned(name)
    return Unreadable(shown, f"{shown}: {why.removeprefix(f'{shown}: ')}")


def member_name(container: str, key: str) -> str:
    """Return what an image inside a container is called."""
    return f"{unsigned(container)}!{key}"


Image: TypeAlias = Path | RemoteImage | Member | Unreadable


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Files or members that a search leaves out of a run: how many, the first names, and why."""

    count: int = 0
    names: tuple[str, ...] = ()
    why: str = NO_IMAGE

    def __str__(self) -> str:
        files = "1 file" if self.count == 1 else f"{self.count:,} files"
        more = ", ..." if self.count > len(self.names) else ""
        return f"left out, {self.why}: {files} ({', '.join(map(unsigned, self.names))}{more})"


def add_up(parts: Iterable[LeftOut]) -> list[LeftOut]:
    """Return the sum for each reason."""
    sums: dict[str, LeftOut] = {}
    for part in parts:
        before = sums.get(part.why, LeftOut())
        sums[part.why] = LeftOut(before.count + part.count, (before.names + part.names)[:3], part.why)
    return list(sums.values())


class Piece(Protocol):
    """Some images of a run; a frozen dataclass of plain values."""

    @property
    def names(self) -> tuple[str, ...]:
        """What its images are called, or what it is called where it holds them."""

    @property
    def count(self) -> int | None:
        """How many images it holds; None where that takes reading it."""

    def absolute(self) -> "Piece":
        """Return the same piece, named so that it is found from every folder."""

    def __iter__(self) -> Iterator[Image | LeftOut]:
        """Yield its images, in order. What cannot be read is `Unreadable`; nothing is raised about one image."""


@dataclass(frozen=True, slots=True)
class NamedImages:
    """Images that have a path or address each."""

    names: tuple[str, ...]

    @property
    def count(self) -> int:
        """How many they are."""
        return len(self.names)

    def absolute(self) -> Self:
        """Return them with absolute paths."""
        return replace(self, names=tuple(map(absolute_name, self.names)))

    def __iter__(self) -> Iterator[Image]:
        return (RemoteImage(name) if is_address(name) else Path(name) for name in self.names)


@dataclass(frozen=True, slots=True)
class Container:
    """What the pieces that lie in one file or folder have in common."""

    container: str

    @property
    def names(self) -> tuple[str, ...]:
        """Its path or address."""
        return (self.container,)

    def absolute(self) -> Self:
        """Return it with an absolute path."""
        return replace(self, container=absolute_name(self.container))


Found: TypeAlias = str | Unreadable | LeftOut


def or_nothing(name: str, found: Iterable[Found], why: str) -> Iterator[Found]:
    """Yield what was found, or a failure where nothing was; then what was left out, added up."""
    empty, left = True, list[LeftOut]()
    for one in found:
        if isinstance(one, LeftOut):
            left = add_up([*left, one])
        else:
            empty = False
            yield one
    if empty:
        yield unreadable(name, why)
    yield from left


def in_pieces(found: Iterable[str | Piece | LeftOut]) -> Iterator[Piece | LeftOut]:
    """Gather names into pieces of at most `SIZE`, in order; anything else is yielded as it is."""
    names: list[str] = []
    for one in found:
        if isinstance(one, str):
            names.append(one)
        if names and (len(names) == SIZE or not isinstance(one, str)):
            yield NamedImages(tuple(names))
            names = []
        if not isinstance(one, str):
            yield one
    if names:
        yield NamedImages(tuple(names))
