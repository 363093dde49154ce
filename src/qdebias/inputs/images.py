"""All images of a run, streamed: what is in memory at any time does not depend on how many there are."""

import glob
import hashlib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING

from qdebias.errors import ImageError, SettingError
from qdebias.inputs import shards
from qdebias.inputs.addresses import is_address, is_folder, is_there, on_disk, path_of, true_name, unsigned
from qdebias.inputs.folders import (
    folder_names,
    is_remote_folder,
    pattern_names,
    remote_folder_names,
    remote_pattern_names,
)
from qdebias.inputs.items import (
    Image,
    LeftOut,
    NamedImages,
    Piece,
    RemoteImage,
    Unreadable,
    add_up,
    in_pieces,
    member_name,
)
from qdebias.inputs.shards import Shard
from qdebias.inputs.tables import dataset_pieces, is_dataset, list_pieces, table_pieces
from qdebias.inputs.video import FRAMES, Video, is_video

if TYPE_CHECKING:
    from qdebias.methods.plan import Failure

_TABLES = (".parquet", ".csv", ".tsv")
_LIST = ".txt"

_RANGE = re.compile(r"\{(\d{1,18})\.\.(\d{1,18})\}")
_MOST_NUMBERS = 1_000_000

_LOOK_AT = 100
"""How many images are looked for before a run begins, to tell a mistyped command from a bad image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """The images of a run; can be gone through any number of times, and is found anew each time.

    `column` is that of the tables among them (None: the first that usually holds images), `frames` how many of each
    video are taken, `left_out` what was left out the last time that they were gone through.
    """

    arguments: tuple[str, ...]
    column: str | None = None
    frames: int = FRAMES
    left_out: list[LeftOut] = field(default_factory=list, compare=False, repr=False)

    def __iter__(self) -> Iterator[Image]:
        """Yield each image in the order in which it was named, within a folder sorted by path."""
        for piece in self.pieces():
            for image in piece:
                if isinstance(image, LeftOut):
                    self.left_out.append(image)
                else:
                    yield image

    def pieces(self) -> Iterator[Piece]:
        """Yield the images in pieces, each path and address once."""
        self.left_out.clear()
        found = self._found()
        return found if len(self.arguments) == 1 and _names_each_once(self.arguments[0]) else _unique(found)

    def _found(self) -> Iterator[Piece]:
        for argument in self.arguments:
            for piece in _pieces(argument, self.column, self.frames):
                if isinstance(piece, LeftOut):
                    self.left_out.append(piece)
                else:
                    yield piece

    def hold_videos(self) -> bool:
        """Whether a video is named, or a pattern with the suffix of one; no folder is searched for that."""
        return any(map(is_video, self.arguments))

    def count(self) -> int | None:
        """Return how many they are; None where that takes reading whole shards."""
        total = 0
        for piece in self.pieces():
            if piece.count is None:
                return None
            total += piece.count
        return total


def open_images(arguments: Sequence[str], *, column: str | None = None, frames: int = FRAMES) -> Images:
    """Return the images that are meant by what was typed.

    That is any mixture of files, folders (searched recursively, without hidden files), patterns such as "*.jpg", lists
    (.txt), tables (.parquet, .csv, .tsv), tar shards, data sets on disk, videos (`frames` of each), and addresses of
    all of these. A named file that does not exist stays among the images, so that it fails with a row of its own like
    any other bad image.

    Raises:
        SettingError: Nothing at all was found.
        MissingPackageError: An optional package is needed.
    """
    images = Images(arguments=tuple(_spelled_out(arguments)), column=column, frames=frames)
    missing = []
    for image in islice(images, _LOOK_AT):
        if isinstance(image, Unreadable):
            missing.append(image.error)
        elif isinstance(image, Path) and not is_there(image):
            missing.append(f"{image}: no such file")
        else:
            return images
    if len(missing) < _LOOK_AT:
        raise SettingError("nothing to score: " + "; ".join([*missing[:10], *map(str, add_up(images.left_out))]))
    return images


def _spelled_out(arguments: Sequence[str]) -> Iterator[str]:
    """Yield the arguments; "-" stands for the lines of stdin, and "{0000..0063}" for each of these numbers."""
    for argument in arguments:
        if argument == "-":
            names = [os.fsdecode(line.rstrip(b"\r\n")) for line in sys.stdin.buffer if line.strip()]
            if not names:
                raise SettingError("nothing to score: stdin, which - stands for, names nothing")
            yield from names
        else:
            yield from _numbered(argument)


def _numbered(argument: str) -> Iterator[str]:
    found = _RANGE.search(argument)
    if found is None or is_there(argument):
        yield argument
        return
    first, last = map(int, found.groups())
    if last < first:
        raise SettingError(f"{unsigned(argument)}: the range goes down; write the smaller number first")
    if last - first >= _MOST_NUMBERS:
        raise SettingError(f"{unsigned(argument)}: {last - first + 1:,} numbers; a range has at most {_MOST_NUMBERS:,}")
    for number in range(first, last + 1):
        yield from _numbered(f"{argument[: found.start()]}{number:0{len(found[1])}d}{argument[found.end() :]}")


def _pieces(argument: str, column: str | None, frames: int) -> Iterator[Piece | LeftOut]:
    if is_address(argument):
        return _remote_pieces(argument, column, frames)
    argument = true_name(argument)
    path = Path(argument)
    if is_folder(path):
        return dataset_pieces(argument, column) if is_dataset(path) else in_pieces(folder_names(argument))
    if not is_there(path) and glob.has_magic(argument):
        return _opened(pattern_names(argument), column, frames)
    if path.suffix.lower() == _LIST:
        return list_pieces(argument)
    return _opened(iter((str(path),)), column, frames)


def _remote_pieces(address: str, column: str | None, frames: int) -> Iterator[Piece | LeftOut]:
    if glob.has_magic(address) and not address.startswith(("http://", "https://")):
        return _opened(remote_pattern_names(address), column, frames)
    if path_of(address).lower().endswith(_LIST):
        return list_pieces(address)
    if not _is_container(address) and not address.startswith(("http://", "https://")) and is_remote_folder(address):
        return in_pieces(remote_folder_names(address))
    return _opened(iter((address,)), column, frames)


def _opened(names: Iterator[str | Unreadable], column: str | None, frames: int) -> Iterator[Piece | LeftOut]:
    """Yield the pieces of names, of which some may be shards, tables and videos."""
    for container, group in groupby(names, lambda name: isinstance(name, str) and _is_container(name)):
        if not container:
            yield from in_pieces(group)
            continue
        for name in map(str, group):
            if path_of(name).lower().endswith(_TABLES):
                yield from table_pieces(name, column)
            else:
                yield Video(name, frames) if is_video(name) else Shard(name)


def holds_several(name: str) -> bool:
    """Whether what is called so holds images that have names of their own."""
    return _is_container(name) or (not is_address(name) and is_dataset(Path(name)))


def names_one(argument: str) -> bool:
    """Whether an argument names a single local file, there or not, and not what names or holds several."""
    several = is_address(argument) or is_folder(argument) or argument.lower().endswith(_LIST) or _is_container(argument)
    return not several and (is_there(argument) or not (glob.has_magic(argument) or _RANGE.search(argument)))


def _names_each_once(argument: str) -> bool:
    """Whether an argument cannot name an image twice: a folder, here or behind an address, and not what lists names."""
    if not is_address(argument):
        return is_folder(argument)
    return not (glob.has_magic(argument) or path_of(argument).lower().endswith(_LIST) or _is_container(argument))


def _is_container(name: str) -> bool:
    return path_of(name).lower().endswith((*shards.SUFFIXES, *_TABLES)) or is_video(name)


def _unique(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """Leave out what was named before, by whatever way or link to it.

    Each name is remembered by a hash, which takes about 100 bytes.
    """
    seen: set[bytes] = set()
    true_path = on_disk()

    def key(name: str) -> str:
        return name if is_address(name) or not is_there(name) else true_path(name)

    for piece in pieces:
        names = piece.names if isinstance(piece, NamedImages) else (piece.label,)
        keys = [hashlib.blake2b(key(name).encode(errors="surrogateescape"), digest_size=16).digest() for name in names]
        fresh = [name for name, key in zip(names, keys, strict=True) if not (key in seen or seen.add(key))]  # type: ignore[func-returns-value]
        if len(fresh) == len(names):
            yield piece
        elif fresh:
            yield NamedImages(tuple(fresh))


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """The images of a command: local files, each once and in the order named, and what holds no image."""

    paths: tuple[Path, ...]
    images: Images
    failures: "tuple[Failure, ...]"


def find_inputs(arguments: Sequence[str], *, column: str | None = None) -> Inputs:
    """Return the images that are meant by paths of files, folders, patterns such as "*.jpg", and lists of them.

    A named file that does not exist stays among them, so that it fails with a row of its own like any other bad image.

    Raises:
        SettingError: Nothing at all was found, or something that is not a separate file.
    """
    from qdebias.methods.plan import Failure  # loads Pillow, which labels alone do not need

    paths: list[Path] = []
    failures: list[Failure] = []
    images = open_images(arguments, column=column)
    for image in images:
        if isinstance(image, Path):
            paths.append(image)
        elif isinstance(image, Unreadable):
            failures.append(Failure(name=image.name, error=image.error))
        else:
            raise SettingError(
                f"{image.name}: is not a separate file; only `score` and `check` take shards, videos and addresses"
            )
    return Inputs(paths=tuple(paths), images=images, failures=tuple(failures))


@dataclass(frozen=True, slots=True)
class MemberByName:
    """An image inside a shard, table or data set, looked for when it is needed."""

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
            ImageError: It no longer exists, or still cannot be read.
        """
        for image in Images(arguments=(self.container,), column=self.column):
            if not isinstance(image, Path) and image.name == self.name:
                return image.read()
        raise ImageError(f"{self.name}: no longer exists")


def find_image(name: str, *, column: str | None = None) -> Image | MemberByName:
    """Return the image that was called so in a result."""
    if is_address(name):
        return next((MemberByName(*parts, column) for parts in _parts(name)), RemoteImage(name))
    path = Path(name)
    return path if is_there(path) else next((MemberByName(*parts, column) for parts in _parts(name)), path)


def _parts(name: str) -> Iterator[tuple[str, str]]:
    """Yield the name cut into container and key wherever that makes sense; either may have the mark in its own name."""
    place = name.find("!")
    while place >= 0:
        if holds_several(name[:place]):
            yield name[:place], name[place + 1 :]
        place = name.find("!", place + 1)
