"""The folder of a run that many machines write into: the plan, manifest.json and scores.

A chunk of the plan is one file of results, so each image is in them exactly once, however often workers die.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from qdebias.errors import StoreError
from qdebias.inputs import Piece
from qdebias.inputs.addresses import absolute_name, failures, is_address, open_filesystem, unsigned, words_of
from qdebias.inputs.items import Container, NamedImages, Unreadable
from qdebias.inputs.shards import Shard
from qdebias.inputs.tables import DatasetRows, Rows
from qdebias.system.output import locked, write_file

PART = 100  # chunks in a file of the plan
FORMAT = 1
MANIFEST = "manifest.json"
SCORES = "scores"
_KINDS: dict[str, type[Any]] = {
    "Named": NamedImages,  # as the first plans were written
    "Nothing": Unreadable,
    "Shard": Shard,
    "Rows": Rows,
    "DatasetRows": DatasetRows,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder that every machine of the cluster sees: an absolute path, or an address for fsspec.

    Files are read and written as a whole; object stores show an object when all of it has arrived.
    """

    place: str
    remote: bool

    def __str__(self) -> str:
        return unsigned(self.place) if self.remote else self.place

    def names(self, under: str) -> set[str]:
        """Return the names of the files in a folder below; those that are being written are hidden and left out."""
        with self._failing("listed"), suppress(FileNotFoundError, NotADirectoryError):
            if not self.remote:
                return {name for name in os.listdir(f"{self.place}/{under}") if not name.startswith(".")}  # noqa: PTH208
            files, path = open_filesystem(f"{self.place}/{under}")
            return {PurePosixPath(name).name for name in files.ls(path, detail=False)}
        return set()

    def read(self, name: str) -> bytes | None:
        """Return the content of a file, None if there is no such file."""
        with self._failing("read"), suppress(FileNotFoundError, NotADirectoryError):
            if not self.remote:
                return Path(self.place, name).read_bytes()
            files, path = open_filesystem(f"{self.place}/{name}")
            return bytes(files.cat_file(path))
        return None

    def write(self, name: str, data: bytes) -> None:
        """Write a file as a whole, or raise a StoreError."""
        with self._failing("written", name):
            if self.remote:
                files, path = open_filesystem(f"{self.place}/{name}")
                files.pipe_file(path, data)  # one request: scores are far below the size at which stores want several
            else:
                Path(self.place, name).parent.mkdir(parents=True, exist_ok=True)
                write_file(Path(self.place, name), data)

    def remove(self, name: str) -> None:
        """Remove a file if it exists."""
        with self._failing("written"), suppress(FileNotFoundError):
            if self.remote:
                files, path = open_filesystem(f"{self.place}/{name}")
                files.rm_file(path)
            else:
                Path(self.place, name).unlink()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold a lock of the operating system, which goes away with this process; object stores have no locks."""
        if self.remote:
            yield
            return
        with self._failing("written"):
            Path(self.place).mkdir(parents=True, exist_ok=True)
        with locked(Path(self.place)):
            yield

    @contextmanager
    def _failing(self, done: str, name: str = "") -> Iterator[None]:
        try:
            yield
        except failures() as error:
            where = f"{self.place}/{name}" if name else self.place
            raise StoreError(
                f"{unsigned(where) if self.remote else where}: cannot be {done} ({words_of(error)}); every chunk that "
                f"was written is kept, and the same command resumes from there once the cause is fixed"
            ) from error


def open_folder(name: str) -> Folder:
    """Return the folder of a path or of an address such as "s3://bucket/scores"; it need not exist yet."""
    remote = is_address(name)
    return Folder(name.rstrip("/") if remote else str(Path(name).absolute()), remote)


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """What a plan amounts to."""

    chunks: int
    images: int | None  # None if only reading shards could count them
    digest: str  # equal where the same images are listed in the same order

    def __str__(self) -> str:
        return ("" if self.images is None else f"{self.images:,} images in ") + f"{self.chunks:,} chunks"


def freeze(pieces: Iterable[Piece], folder: Folder | None, *, chunk: int) -> Extent:
    """Cut images into chunks and write the plan down: `PART` lines of JSON a file; without a folder only the extent.

    Images that are named one by one are cut into chunks of `chunk`; a shard or a row group is a chunk as it is.
    """

    def chunked() -> Iterator[Any]:
        for piece in pieces:  # with absolute paths, as workers have other working folders
            if isinstance(piece, NamedImages):
                names = tuple(map(absolute_name, piece.names))
                yield from (NamedImages(names[start : start + chunk]) for start in range(0, len(names), chunk))
            elif isinstance(piece, Unreadable):
                yield replace(piece, name=absolute_name(piece.name))
            elif isinstance(piece, Container):
                yield replace(piece, container=absolute_name(piece.container))

    hashed, counts, chunks = hashlib.blake2b(digest_size=16), list[int | None](), chunked()
    while batch := list(islice(chunks, PART)):
        data = "".join(json.dumps([_NAMES[type(one)], asdict(one)]) + "\n" for one in batch).encode()
        hashed.update(data)
        if folder is not None:
            folder.write(_part_name(len(counts) // PART), data)
        counts += [one.count for one in batch]
    known = [count for count in counts if count is not None]
    images = sum(known) if len(known) == len(counts) else None
    return Extent(chunks=len(counts), images=images, digest=hashed.hexdigest())


def _part_name(part: int) -> str:
    return f"plan/{part:06}.jsonl"


class Plan:
    """Reads the chunks of a frozen plan, one file of it in memory."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._part: tuple[int, list[bytes]] = (-1, [])

    def piece(self, chunk: int) -> Piece:
        """Return the images of a chunk."""
        part, line = divmod(chunk, PART)
        if self._part[0] != part:
            self._part = (part, (self._folder.read(_part_name(part)) or b"").splitlines())
        try:
            kind, values = json.loads(self._part[1][line])
            if kind == "Named":
                return NamedImages(tuple(values["names"]))
            piece: Piece = _KINDS[kind](**values)
            return piece
        except (IndexError, ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{_part_name(part)}: has no chunk {chunk} ({error!r}); start again in another folder"
            ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The content of manifest.json, written once, when the plan is complete and the first worker is ready."""

    setting: Mapping[str, str]  # what decides the scores, see `Options.decisive`
    identity: Mapping[str, str]  # of the model
    chunk: int  # see `freeze`
    extent: Extent

    def write(self, folder: Folder) -> None:
        """Write manifest.json."""
        folder.write(MANIFEST, (json.dumps({"format": FORMAT} | asdict(self), indent=1) + "\n").encode())


def read_manifest(folder: Folder) -> Manifest | None:
    """Return manifest.json, None if there is neither it nor scores; raises StoreError for a wrong one."""
    data = folder.read(MANIFEST)
    if data is None:
        if folder.names(SCORES):
            raise StoreError(f"{folder}: has {SCORES} but no {MANIFEST}; choose another folder")
        return None
    try:
        values = json.loads(data)
        if values.pop("format") != FORMAT:
            raise StoreError(f"{MANIFEST}: was written by another version of qdebias; use that one, or another folder")
        return Manifest(**values | {"extent": Extent(**values["extent"])})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{MANIFEST}: does not describe a run ({error}); choose another folder") from error


def score_file(chunk: int) -> str:
    """Return the name of the file with the scores of a chunk."""
    return f"{SCORES}/{chunk:08}.parquet"
