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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import IO, Any, NamedTuple, cast

from qdebias.errors import SettingError
from qdebias.inputs.addresses import MAX_BYTES, open_container
from qdebias.inputs.folders import begins_image, kind_of
from qdebias.inputs.items import WHY, Container, EncodedItem, Image, LeftOut, container_kind, member_name, unreadable

_DAMAGED = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
    *(EOFError, OSError, ValueError, NotImplementedError),
)
"""The exceptions of damaged shards; SettingError is a ValueError."""

_LONG_HEADERS = (
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
)
"""Members of a tar that describe the next one."""

MOST_HEADER = 1_000_000
"""Largest header of a member, in bytes: all of it, such as its name, is in memory at once."""


class _Entry(NamedTuple):
    """A file in a shard."""

    key: str  # its name
    offset: int
    size: int
    fault: str | None  # why it is not read
    open: Callable[[], Any]


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
    """The images of one tar or zip file; members with other suffixes, such as captions, are skipped."""

    count = None  # not known before it is read

    def __iter__(self) -> Iterator[Image | LeftOut]:
        """Yield the images in one pass from front to end, without writing a file, and what was left out."""
        seen: set[str] = set()
        try:
            with open_container(self.container) as stream:
                for entry in (_of_zip if container_kind(self.container) == "zip" else _of_tar)(stream):
                    kind, place = kind_of(entry.key), posixpath.normpath(entry.key)
                    name = member_name(self.container, entry.key)
                    if kind == "not decoded":
                        yield LeftOut(1, (name,), WHY[kind])
                    elif kind and place in seen:
                        why = "another member of this name came before; names are to be unique"
                        yield unreadable(f"{name}#{entry.offset}", why)
                    elif kind:
                        seen.add(place)
                        image = self._read(entry, name)
                        if kind == "no suffix" and isinstance(image, EncodedItem) and not begins_image(image.read()):
                            seen.discard(place)
                            yield LeftOut(1, (name,), WHY[kind])
                        else:
                            yield image
        except _DAMAGED as error:
            words = str(error) if isinstance(error, SettingError) else f"is damaged ({error})"
            after = f"; {len(seen)} images before that were read" if seen else ""
            yield unreadable(self.container, words + after)
            return
        if not seen:
            yield unreadable(self.container, "no image in this shard")

    def _read(self, entry: _Entry, name: str) -> Image:
        if entry.size > MAX_BYTES:
            return unreadable(name, f"more than {MAX_BYTES / 1e6:.0f} MB, the most that is read for one image")
        if entry.fault is not None:
            return unreadable(name, entry.fault)
        try:
            with entry.open() as data:
                return EncodedItem(name, self.container, data.read(MAX_BYTES + 1)[:MAX_BYTES])
        except (RuntimeError, zipfile.BadZipFile, zlib.error) as error:  # RuntimeError: a password, unknown compression
            return unreadable(name, f"cannot be unpacked ({error})")


def _of_tar(stream: IO[bytes]) -> Iterator[_Entry]:
    with io.BufferedReader(cast("io.RawIOBase", stream)) as peeked:  # any stream will do
        source = _unpacked(peeked)
        with tarfile.open(fileobj=source, mode="r|", tarinfo=_Header) as archive:
            for member in archive:
                archive.members = []  # type: ignore[attr-defined]  # else it remembers every member
                fault = None
                if not member.isfile():
                    what = f"a link to {member.linkname}" if member.islnk() or member.issym() else "no file"
                    fault = f"is {what}, and a shard is read from front to end; store the image itself"
                if not member.isdir():
                    extract = partial(archive.extractfile, member)
                    yield _Entry(member.name, member.offset, member.size, fault, extract)
        while rest := source.read(1 << 20):  # to the end, where packed data have their checksums
            if rest.strip(b"\0"):
                raise SettingError("holds more behind its end, such as another archive; pack it anew")


def _of_zip(stream: IO[bytes]) -> Iterator[_Entry]:
    with zipfile.ZipFile(stream) as archive:
        for member in archive.infolist():
            fault = None
            if member.compress_type in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
                fault = "is packed by bzip2 or LZMA; pack images into a zip as they are, or deflated"
            elif stat.S_ISLNK(member.external_attr >> 16):
                fault = "is a symbolic link; store the image itself"
            if not member.is_dir():
                extract = partial(archive.open, member)
                yield _Entry(member.filename, member.header_offset, member.file_size, fault, extract)


def _unpacked(peeked: Any) -> Any:  # noqa: ANN401 (pyarrow has no types)
    """Return the tar in a stream, packed or not, by its first bytes; several packed parts in a row are one."""
    start = peeked.peek(4)[:4]
    if start == b"\x28\xb5\x2f\xfd" or start[1:] == b"\x2a\x4d\x18":  # the latter is skipped
        import pyarrow as pa

        return pa.CompressedInputStream(pa.PythonFile(peeked, mode="r"), "zstd")
    opened: Any = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}.get(start[:2])
    return peeked if opened is None else opened(peeked)
