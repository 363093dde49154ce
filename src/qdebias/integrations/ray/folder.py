"""The folder of a run that many machines write into: the plan, in which chunk an image is; manifest.json; scores.

A chunk is what one worker scores at a time and one file of results, so each image is in the results exactly once,
however often workers die. Files are written as a whole and never changed: a reader sees all of a file or none of it.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

from qdebias.errors import StoreError
from qdebias.inputs import Piece
from qdebias.inputs.addresses import failures, is_address, open_filesystem, unsigned, words_of
from qdebias.inputs.items import NamedImages, Unreadable
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
class _LocalFolder:
    """A folder on a disk; one that every machine of the cluster sees under this path."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def names(self, under: str) -> set[str]:
        """Return the names of the files in a folder below; those that are being written are hidden and left out."""
        with suppress(FileNotFoundError, NotADirectoryError):
            return {name for name in os.listdir(self.path / under) if not name.startswith(".")}  # noqa: PTH208 (names)
        return set()

    def read(self, name: str) -> bytes | None:
        """Return what a file holds, None where there is none."""
        with suppress(FileNotFoundError, NotADirectoryError):
            return (self.path / name).read_bytes()
        return None

    def write(self, name: str, data: bytes) -> None:
        """Write a file as a whole, or raise a StoreError."""
        path = self.path / name
        with _told(str(path)):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, data)

    def remove(self, name: str) -> None:
        """Remove a file if it is there."""
        (self.path / name).unlink(missing_ok=True)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold a lock of the operating system, which goes away with this process."""
        with _told(str(self.path)):
            self.path.mkdir(parents=True, exist_ok=True)
        with locked(self.path):
            yield


@dataclass(frozen=True, slots=True)
class _RemoteFolder:
    """The same behind an address, through fsspec; object stores show an object when all of it has arrived."""

    address: str

    def __str__(self) -> str:
        return unsigned(self.address)

    def names(self, under: str) -> set[str]:
        files, path = open_filesystem(f"{self.address}/{under}")
        with _told(self.address, done="listed"), suppress(FileNotFoundError):
            return {PurePosixPath(name).name for name in files.ls(path, detail=False)}
        return set()

    def read(self, name: str) -> bytes | None:
        files, path = open_filesystem(f"{self.address}/{name}")
        with _told(self.address, done="read"), suppress(FileNotFoundError):
            return bytes(files.cat_file(path))
        return None

    def write(self, name: str, data: bytes) -> None:
        files, path = open_filesystem(f"{self.address}/{name}")
        with _told(f"{self.address}/{name}"):
            files.pipe_file(path, data)  # one request: scores are far below the size at which stores want several

    def remove(self, name: str) -> None:
        files, path = open_filesystem(f"{self.address}/{name}")
        with _told(self.address), suppress(FileNotFoundError):
            files.rm_file(path)

    def held(self) -> AbstractContextManager[None]:
        return nullcontext()  # what lies behind addresses has no locks


Folder: TypeAlias = _LocalFolder | _RemoteFolder  # is sent to the workers


def open_folder(name: str) -> Folder:
    """Return the folder of a path or of an address such as "s3://bucket/scores"; it need not exist yet."""
    return _RemoteFolder(name.rstrip("/")) if is_address(name) else _LocalFolder(Path(name).absolute())


@contextmanager
def _told(name: str, *, done: str = "written") -> Iterator[None]:
    try:
        yield
    except failures() as error:
        raise StoreError(
            f"{unsigned(name)}: cannot be {done} ({words_of(error)}); every chunk that was written is kept, and the "
            f"same command resumes from there once the cause is fixed"
        ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """What a plan amounts to."""

    chunks: int
    images: int | None  # None where only reading shards would tell
    digest: str  # equal where the same images are listed in the same order

    def __str__(self) -> str:
        return ("" if self.images is None else f"{self.images:,} images in ") + f"{self.chunks:,} chunks"


def freeze(pieces: Iterable[Piece], folder: Folder | None, *, chunk: int) -> Extent:
    """Cut images into chunks and write the plan down: `PART` lines of JSON a file; without a folder only the extent.

    Images that are named one by one are cut into chunks of `chunk`; a shard or a row group is a chunk as it is.
    """
    hashed = hashlib.blake2b(digest_size=16)
    lines = _lines(pieces, chunk)
    chunks, images, part = 0, 0, 0
    unknown = False
    while batch := list(islice(lines, PART)):
        data = "".join(line for line, _ in batch).encode()
        hashed.update(data)
        if folder is not None:
            folder.write(_part_name(part), data)
        part, chunks = part + 1, chunks + len(batch)
        images += sum(count or 0 for _, count in batch)
        unknown = unknown or any(count is None for _, count in batch)
    return Extent(chunks=chunks, images=None if unknown else images, digest=hashed.hexdigest())


def _lines(pieces: Iterable[Piece], chunk: int) -> Iterator[tuple[str, int | None]]:
    """Yield each chunk as a line of JSON, and how many images it holds."""
    for piece in pieces:
        parts: list[Any] = [piece.absolute()]
        if isinstance(parts[0], NamedImages):
            names = parts[0].names
            parts = [NamedImages(names[start : start + chunk]) for start in range(0, len(names), chunk)]
        for part in parts:
            yield json.dumps([_NAMES[type(part)], asdict(part)]) + "\n", part.count


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
    """What manifest.json says; it is written once, when the plan is complete and the first worker is ready."""

    setting: Mapping[str, str]  # what decides the scores, see `Options.decisive`
    identity: Mapping[str, str]  # of the model
    chunk: int  # see `freeze`
    extent: Extent

    def write(self, folder: Folder) -> None:
        """Write manifest.json."""
        folder.write(MANIFEST, (json.dumps({"format": FORMAT} | asdict(self), indent=1) + "\n").encode())


def read_manifest(folder: Folder) -> Manifest | None:
    """Return what manifest.json says, None where there is neither it nor scores; raises StoreError for a wrong one."""
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
