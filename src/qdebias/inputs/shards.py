"""Tar shards as WebDataset writes them: a plain or compressed tar file whose members are images and notes."""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

from qdebias.errors import SettingError
from qdebias.inputs.addresses import MAX_BYTES
from qdebias.inputs.containers import open_container
from qdebias.inputs.folders import looks_like_image
from qdebias.inputs.items import Image, Member, Unreadable, member_name
from qdebias.inputs.pieces import absolute_name

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


@dataclass(frozen=True, slots=True)
class Shard:
    """The images of one tar file; members with other suffixes belong to them and are passed over.

    Attributes:
        container: Its path or address.
    """

    container: str

    @property
    def label(self) -> str:
        """Its path or address."""
        return self.container

    @property
    def count(self) -> None:
        """Not known before it is read."""
        return

    def absolute(self) -> "Shard":
        """Return it with an absolute path."""
        return Shard(absolute_name(self.container))

    def __iter__(self) -> Iterator[Image]:
        """Yield the images in one pass from front to end, without writing a file."""
        seen: set[str] = set()
        try:
            with open_container(self.container) as stream, tarfile.open(fileobj=stream, mode="r|*") as archive:
                for member in archive:
                    archive.members = []  # type: ignore[attr-defined]  # else it remembers every member
                    if member.isfile() and looks_like_image(member.name):
                        yield self._image(archive, member, seen)
        except (tarfile.TarError, EOFError, OSError, ValueError) as error:  # ValueError: SettingError among them
            words = str(error) if isinstance(error, SettingError) else f"{self.container}: is damaged ({error})"
            after = f"; {len(seen)} images before that were read" if seen else ""
            yield Unreadable(self.container, words + after)
            return
        if not seen:
            yield Unreadable(self.container, f"{self.container}: no image in this shard")

    def _image(self, archive: tarfile.TarFile, member: tarfile.TarInfo, seen: set[str]) -> Image:
        name = member_name(self.container, member.name)
        if member.name in seen:
            number = f"{name}#{member.offset}"
            return Unreadable(number, f"{number}: another member of this name came before; names are to be unique")
        seen.add(member.name)
        if member.size > MAX_BYTES:
            return Unreadable(name, f"{name}: more than {MAX_BYTES / 1e6:.0f} MB, the most that is read for one image")
        stream = archive.extractfile(member)
        if stream is None:
            return Unreadable(name, f"{name}: is no file")
        return Member(self.container, member.name, stream.read())
