"""The images of a run that are not local files, and pieces of a run, each small enough to be one job.

A piece names its images and holds none of them, so it can be written down, sent to another machine and read there.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from qdebias.errors import ImageError
from qdebias.inputs.addresses import is_address, read_address, unsigned

NOT_DECODED, LINKS = "of formats that are not decoded", "links to folders"
WHY = {"no suffix": "without a suffix and no image", "not decoded": NOT_DECODED}
"""Why something is left out; of files, by `kind_of`."""

SIZE = 500  # most images in a piece of those that are named one by one

ContainerKind: TypeAlias = Literal["video", "parquet", "csv", "tsv", "zip", "tar", "list"]
CONTAINERS: dict[ContainerKind, tuple[str, ...]] = {
    "video": tuple(".mp4 .m4v .mov .mkv .webm .avi .flv .mpg .mpeg .ts .wmv .3gp .y4m".split()),  # noqa: SIM905
    "parquet": (".parquet",),
    "csv": (".csv",),
    "tsv": (".tsv",),
    "zip": (".zip",),
    "tar": (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst"),
    "list": (".txt",),
}
"""The suffixes of files that hold or name several images."""


def container_kind(name: str) -> ContainerKind | None:
    """Return by its suffix the kind of a file that holds or names several images; None for any other file."""
    if name.startswith(("http://", "https://")):
        name = name.partition("?")[0].partition("#")[0]
    path = name.lower()
    return next((kind for kind, suffixes in CONTAINERS.items() if path.endswith(suffixes)), None)


@dataclass(frozen=True, slots=True)
class EncodedItem:
    """An image that is not a local file: behind an address, fetched when needed, or read from a container."""

    name: str  # in results, such as "shard-0001.tar!00042.jpg"; without any signature
    source: str  # its address, or the container that it was read from
    data: bytes | None = None  # the encoded image; None where it is yet to be fetched

    def read(self) -> bytes:
        """Return the encoded image."""
        return read_address(self.source) if self.data is None else self.data


def image_named(name: str) -> "Path | EncodedItem":
    """Return the image at a path or address."""
    return EncodedItem(unsigned(name), name) if is_address(name) else Path(name)


def member_name(container: str, key: str) -> str:
    """Return the name, in results, of an image inside a container."""
    return f"{unsigned(container)}!{key}"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A failure in place of an image or a piece; the error is one line that begins with the name."""

    name: str
    error: str
    count = 1

    @property
    def names(self) -> tuple[str]:
        """The name, as a piece has it."""
        return (self.name,)

    def __iter__(self) -> Iterator["Unreadable"]:
        yield self

    def read(self) -> bytes:
        """Fail."""
        raise ImageError(self.error)


def unreadable(name: str, why: str) -> Unreadable:
    """Return a failure under the name without a signature; the reason may begin with the name or not."""
    shown = unsigned(name)
    return Unreadable(shown, f"{shown}: {why.removeprefix(f'{shown}: ')}")


Image: TypeAlias = Path | EncodedItem | Unreadable


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Files or members that a search leaves out of a run: how many, the first names, and why."""

    count: int
    names: tuple[str, ...]
    why: str

    def __str__(self) -> str:
        files = "1 file" if self.count == 1 else f"{self.count:,} files"
        more = ", ..." if self.count > len(self.names) else ""
        return f"left out, {self.why}: {files} ({', '.join(map(unsigned, self.names))}{more})"


def add_left_out(sums: list[LeftOut], part: LeftOut) -> None:
    """Add a part to the sum for its reason."""
    for place, known in enumerate(sums):
        if known.why == part.why:
            sums[place] = LeftOut(known.count + part.count, (known.names + part.names)[:3], part.why)
            return
    sums.append(part)


@dataclass(frozen=True, slots=True)
class NamedImages:
    """Images that have a path or address each."""

    names: tuple[str, ...]

    @property
    def count(self) -> int:
        """The number of images."""
        return len(self.names)

    def __iter__(self) -> Iterator[Image]:
        return map(image_named, self.names)


@dataclass(frozen=True, slots=True)
class Container:
    """The images in one file or folder, or a part of them."""

    container: str

    @property
    def names(self) -> tuple[str, ...]:
        """The path or address, and the place of a part in it."""
        return (self.container,)


class Piece(Protocol):
    """Some images of a run; a frozen dataclass of plain values."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its images, or its own name where it is a container."""

    @property
    def count(self) -> int | None:
        """The number of its images; None where it is not known without reading them."""

    def __iter__(self) -> Iterator[Image | LeftOut]:
        """Yield its images, in order, `Unreadable` for one that cannot be read."""


Found: TypeAlias = str | Piece | LeftOut


def or_nothing(name: str, found: Iterable[Found], why: str) -> Iterator[Found]:
    """Yield the items, or a failure if there is none but what was left out."""
    empty = True
    for item in found:
        empty = empty and isinstance(item, LeftOut)
        yield item
    if empty:
        yield unreadable(name, why)


def in_pieces(found: Iterable[Found]) -> Iterator[Piece | LeftOut]:
    """Gather names into pieces of at most `SIZE`, in order; anything else is yielded as it is."""
    names: list[str] = []
    for item in found:
        if isinstance(item, str):
            names.append(item)
        if names and (len(names) == SIZE or not isinstance(item, str | LeftOut)):
            yield NamedImages(tuple(names))
            names = []
        if not isinstance(item, str):
            yield item
    if names:
        yield NamedImages(tuple(names))
