"""Shards: tar files as WebDataset writes them, plain or compressed, and zip files; members are images and notes."""

import bz2
import gzip
import io
import lzma
import posixpath
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, cast

from qdebias.errors import SettingError
from qdebias.inputs.addresses import MAX_BYTES, open_container, path_of
from qdebias.inputs.folders import begins_image, kind_of
from qdebias.inputs.items import NOT_DECODED, Container, Image, LeftOut, Member, add_up, member_name, unreadable

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".zip")

_DAMAGED = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
    *(EOFError, OSError, ValueError, NotImplementedError),
)
"""What damaged shards raise; ValueError: SettingError among them."""

_LONG_HEADERS = (
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
)
"""Members of a tar that say something about the next one."""

MOST_HEADER = 1_000_000
"""Largest header of a member, in bytes: its name and what else is said about it are in memory at once."""


class _Header(tarfile.TarInfo):
    """A header whose names and remarks have a limit."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Header":
        found = super().frombuf(buf, encoding, errors)
        if found.type in _LONG_HEADERS and found.size > MOST_HEADER:
            raise tarfile.ReadError(f"a header of {found.size:,} bytes, of at most {MOST_HEADER:,}")
        if found.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError("a member with holes, which are not read")
        return found

    def _proc_gnusparse_10(self, *_: object) -> None:  # of the base; its list of holes has no limit
        raise tarfile.ReadError("a member with holes, which are not read")


@dataclass(frozen=True, slots=True)
class Shard(Container):
    """The images of one tar or zip file; members with other suffixes belong to them and are passed over."""

    count = None  # not known before it is read

    def __iter__(self) -> Iterator[Image | LeftOut]:
        """Yield the images in one pass from front to end, without writing a file, and what was left out."""
        seen: set[str] = set()
        left: list[LeftOut] = []
        try:
            with open_container(self.container) as stream:
                zipped = path_of(self.container).lower().endswith(".zip")
                for image in self._zip_members(stream, seen) if zipped else self._tar_members(stream, seen):
                    if isinstance(image, LeftOut):
                        left = add_up([*left, image])
                    elif isinstance(image, Member) and kind_of(image.key) != "image" and not begins_image(image.data):
                        left = add_up([*left, LeftOut(1, (image.name,))])
                        seen.discard(posixpath.normpath(image.key))
                    else:
                        yield image
        except _DAMAGED as error:
            words = str(error) if isinstance(error, SettingError) else f"is damaged ({error})"
            after = f"; {len(seen)} images before that were read" if seen else ""
            yield unreadable(self.container, words + after)
            return
        if not seen:
            yield unreadable(self.container, "no image in this shard")
        yield from left

    def _tar_members(self, stream: IO[bytes], seen: set[str]) -> Iterator[Image | LeftOut]:
        with io.BufferedReader(cast("io.RawIOBase", stream)) as peeked:  # any stream will do
            source = _unpacked(peeked)
            with tarfile.open(fileobj=source, mode="r|", tarinfo=_Header) as archive:
                for member in archive:
                    archive.members = []  # type: ignore[attr-defined]  # else it remembers every member
                    if not member.isdir() and kind_of(member.name):
                        fault = None
                        if not member.isfile():
                            what = f"a link to {member.linkname}" if member.islnk() or member.issym() else "no file"
                            fault = f"is {what}, and a shard is read from front to end; store the image itself"
                        opened = (archive.extractfile, member, member.size)
                        yield self._image(member.name, member.offset, opened, fault, seen)
            while rest := source.read(1 << 20):  # to the end, where packed data have their checksums
                if rest.strip(b"\0"):
                    raise SettingError("holds more behind its end, such as another archive; pack it anew")

    def _zip_members(self, stream: IO[bytes], seen: set[str]) -> Iterator[Image | LeftOut]:
        with zipfile.ZipFile(stream) as archive:
            for member in archive.infolist():
                if not member.is_dir() and kind_of(member.filename):
                    fault = None
                    if member.compress_type in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
                        fault = "is packed by bzip2 or LZMA; pack images into a zip as they are, or deflated"
                    elif stat.S_ISLNK(member.external_attr >> 16):
                        fault = "is a symbolic link; store the image itself"
                    opened = (archive.open, member, member.file_size)
                    yield self._image(member.filename, member.header_offset, opened, fault, seen)

    def _image(
        self, key: str, offset: int, opened: tuple[Any, Any, int], fault: str | None, seen: set[str]
    ) -> Image | LeftOut:
        """Return a member; `opened` is how it is opened, what for, and its size, `fault` why it is not read."""
        name = member_name(self.container, key)
        if kind_of(key) == "not decoded":
            return LeftOut(1, (name,), NOT_DECODED)
        if (place := posixpath.normpath(key)) in seen:
            return unreadable(f"{name}#{offset}", "another member of this name came before; names are to be unique")
        seen.add(place)
        extract, member, size = opened
        if size > MAX_BYTES:
            return unreadable(name, f"more than {MAX_BYTES / 1e6:.0f} MB, the most that is read for one image")
        if fault is not None:
            return unreadable(name, fault)
        try:
            with extract(member) as data:
                return Member(self.container, key, data.read(MAX_BYTES + 1)[:MAX_BYTES])
        except (RuntimeError, zipfile.BadZipFile, zlib.error) as error:  # RuntimeError: a password, unknown compression
            return unreadable(name, f"cannot be unpacked ({error})")


def _unpacked(peeked: Any) -> Any:  # noqa: ANN401 (pyarrow has no types)
    """Return the tar in a stream, packed or not, by its first bytes; several packed parts in a row are one."""
    start = peeked.peek(4)[:4]
    if start == b"\x28\xb5\x2f\xfd" or start[1:] == b"\x2a\x4d\x18":  # the latter is skipped
        import pyarrow as pa

        return pa.CompressedInputStream(pa.PythonFile(peeked, mode="r"), "zstd")
    opened: Any = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}.get(start[:2])
    return peeked if opened is None else opened(peeked)
