"""The images of a run that are no local files."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from qdebias.errors import ImageError
from qdebias.inputs.addresses import read_address, unsigned


@dataclass(frozen=True, slots=True)
class RemoteImage:
    """An image behind an address, fetched when it is needed.

    Attributes:
        address: Such as "s3://bucket/a.jpg".
    """

    address: str

    @property
    def name(self) -> str:
        """The address without any signature."""
        return unsigned(self.address)

    def read(self) -> bytes:
        """Fetch it.

        Raises:
            ImageError: It cannot be had in time, or is larger than what is fetched.
        """
        return read_address(self.address)


@dataclass(frozen=True, slots=True)
class Member:
    """An image that was read out of a shard or a table.

    Attributes:
        container: The shard or table, a path or an address.
        key: What it is called there: the name of a member, the number of a row.
        data: What would stand in its file.
    """

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
    """Something that was named and holds no image, or of which the image cannot be had: a failure in its place.

    Attributes:
        name: What was named.
        error: Why, and what to do about it, in one line that begins with the name.
    """

    name: str
    error: str

    def read(self) -> bytes:
        """Fail.

        Raises:
            ImageError: Always.
        """
        raise ImageError(self.error)


def unreadable(name: str, why: str) -> Unreadable:
    """Return a failure under the name without a signature, of which the reason does not begin with the name."""
    shown = unsigned(name)
    return Unreadable(shown, f"{shown}: {why.removeprefix(f'{shown}: ')}")


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Files or members without a suffix whose bytes are no image: told at the end, and no images of the run.

    Attributes:
        count: How many there are in one folder, shard or run.
        names: The first of them.
    """

    count: int = 0
    names: tuple[str, ...] = ()

    def __add__(self, name: "str | LeftOut") -> "LeftOut":
        other = LeftOut(1, (name,)) if isinstance(name, str) else name
        return LeftOut(self.count + other.count, (self.names + other.names)[:3])

    def __str__(self) -> str:
        files = "1 file" if self.count == 1 else f"{self.count:,} files"
        more = ", ..." if self.count > len(self.names) else ""
        return f"left out, without a suffix and no image: {files} ({', '.join(map(unsigned, self.names))}{more})"


Image: TypeAlias = Path | RemoteImage | Member | Unreadable
"""One image of a run."""


def member_name(container: str, key: str) -> str:
    """Return what an image inside a container is called."""
    return f"{unsigned(container)}!{key}"
