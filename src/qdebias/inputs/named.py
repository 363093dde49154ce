"""From the name of an image in a result back to the image, to try it again."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from qdebias.errors import ImageError
from qdebias.inputs.addresses import is_address
from qdebias.inputs.images import Images, holds_several
from qdebias.inputs.items import Image, RemoteImage, member_name
from qdebias.inputs.presence import is_there


@dataclass(frozen=True, slots=True)
class SoughtMember:
    """An image inside a shard, table or data set, looked for when it is needed.

    Attributes:
        container: Where it is.
        key: What it is called there.
        column: The column of images, where it is a table; None takes the usual one.
    """

    container: str
    key: str
    column: str | None = None

    @property
    def name(self) -> str:
        """What it is called in results."""
        return member_name(self.container, self.key)

    def read(self) -> bytes:
        """Go through the container up to the image.

        Raises:
            ImageError: It is not there any more, or still cannot be read.
        """
        for image in Images(arguments=(self.container,), column=self.column):
            if not isinstance(image, Path) and image.name == self.name:
                return image.read()
        raise ImageError(f"{self.name}: is not there any more")


def image_named(name: str, *, column: str | None = None) -> Image | SoughtMember:
    """Return the image that was called so in a result."""
    if is_address(name):
        return next((SoughtMember(*parts, column) for parts in _parts(name)), RemoteImage(name))
    path = Path(name)
    return path if is_there(path) else next((SoughtMember(*parts, column) for parts in _parts(name)), path)


def _parts(name: str) -> Iterator[tuple[str, str]]:
    """Yield the name cut into container and key wherever that makes sense; either may have the mark in its own name."""
    place = name.find("!")
    while place >= 0:
        if holds_several(name[:place]):
            yield name[:place], name[place + 1 :]
        place = name.find("!", place + 1)
