"""All images of a run, streamed: what is in memory at any time does not depend on how many there are."""

import glob
import hashlib
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from qdebias.errors import ImageError, SettingError
from qdebias.inputs import shards, tables
from qdebias.inputs.addresses import is_address, is_folder, is_there, on_disk, path_of, true_name, unsigned
from qdebias.inputs.folders import folder_names, is_remote_folder, pattern_names, remote_names
from qdebias.inputs.items import (
    Found,
    Image,
    LeftOut,
    NamedImages,
    Piece,
    RemoteImage,
    Unreadable,
    add_up,
    in_pieces,
    member_name,
    unreadable,
)
from qdebias.inputs.video import FRAMES, Video, is_video

if TYPE_CHECKING:
    from qdebias.methods.plan import Failure

_RANGE = re.compile(r"\{(\d{1,18})\.\.(\d{1,18})\}")
_MOST_NUMBERS = 1_000_000

_LOOK_AT = 100  # how many images are looked for before a run begins, to tell a mistyped command from a bad image


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
        for image in chain.from_iterable(self.pieces()):
            if isinstance(image, LeftOut):
                self.left_out.append(image)
            else:
                yield image

    def pieces(self) -> Iterator[Piece]:
        """Yield the images in pieces, each path and address once, by whatever way or link to it.

        Each name is remembered by a hash, about 100 bytes, unless a single folder is named, which has each once.
        """
        self.left_out.clear()
        first = self.arguments[0] if len(self.arguments) == 1 else ""
        listed = glob.has_magic(first) or path_of(first).lower().endswith(tables.LIST) or _is_container(first)
        each_once = bool(first) and (not listed if is_address(first) else is_folder(first))
        seen: set[bytes] = set()
        true_path = on_disk()
        for piece in (piece for argument in self.arguments for piece in self._named(argument)):
            if isinstance(piece, LeftOut):
                self.left_out.append(piece)
                continue
            fresh = []
            for name in () if each_once else piece.names:
                path = name if is_address(name) or not is_there(name) else true_path(name)
                key = hashlib.blake2b(path.encode(errors="surrogateescape"), digest_size=16).digest()
                if key not in seen:
                    seen.add(key)
                    fresh.append(name)
            if each_once or len(fresh) == len(piece.names):
                yield piece
            elif fresh:
                yield NamedImages(tuple(fresh))

    def _named(self, name: str) -> Iterator[Piece | LeftOut]:
        """Yield the pieces of one argument: a file, folder, pattern, list, table, shard, video, or address of one."""
        remote = is_address(name)
        store = remote and not name.startswith(("http://", "https://"))  # has folders, and patterns
        if not remote:
            name = true_name(name)
        try:
            if not remote and is_folder(name):
                data = tables.is_dataset(Path(name))
                yield from tables.dataset_pieces(name, self.column) if data else in_pieces(folder_names(name))
            elif glob.has_magic(name) and (store or not (remote or is_there(name))):
                names = remote_names(name, pattern=True) if store else pattern_names(name)
                yield from in_pieces(self._opened(names))
            elif path_of(name).lower().endswith(tables.LIST):
                yield from tables.table_pieces(name, self.column)
            elif store and not _is_container(name) and is_remote_folder(name):
                yield from in_pieces(remote_names(name, pattern=False))
            else:
                yield from in_pieces(self._opened([name if remote else str(Path(name))]))
        except SettingError as error:
            yield unreadable(name, str(error))

    def _opened(self, names: Iterable[Found]) -> Iterator[str | Piece | LeftOut]:
        """Yield names, and the pieces of those that are shards, tables and videos."""
        for name in names:
            if not isinstance(name, str) or not _is_container(name):
                yield name
            elif is_video(name):
                yield Video(name, self.frames)
            elif path_of(name).lower().endswith(tables.SUFFIXES):
                try:
                    yield from tables.table_pieces(name, self.column)
                except SettingError as error:
                    yield unreadable(name, str(error))
            else:
                yield shards.Shard(name)

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


def _is_container(name: str) -> bool:
    return path_of(name).lower().endswith((*shards.SUFFIXES, *tables.SUFFIXES)) or is_video(name)


def open_images(arguments: Sequence[str], *, column: str | None = None, frames: int = FRAMES) -> Images:
    """Return the images that are meant by what was typed.

    That is any mixture of files, folders (searched recursively, without hidden files), patterns such as "*.jpg", lists
    (.txt), tables (.parquet, .csv, .tsv), tar shards, data sets on disk, videos (`frames` of each), and addresses of
    all of these. A named file that does not exist stays among the images, so that it fails with a row of its own like
    any other bad image. A `SettingError` says that nothing at all was found.
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


def _spelled_out(arguments: Iterable[str]) -> Iterator[str]:
    """Yield the arguments; "-" stands for the lines of stdin, and "{0000..0063}" for each of these numbers."""
    for argument in arguments:
        found = _RANGE.search(argument)
        if argument == "-":
            names = [os.fsdecode(line.rstrip(b"\r\n")) for line in sys.stdin.buffer if line.strip()]
            if not names:
                raise SettingError("nothing to score: stdin, which - stands for, names nothing")
            yield from names
        elif found is None or is_there(argument):
            yield argument
        else:
            first, last = map(int, found.groups())
            if last < first:
                raise SettingError(f"{unsigned(argument)}: the range goes down; write the smaller number first")
            if last - first >= _MOST_NUMBERS:
                raise SettingError(
                    f"{unsigned(argument)}: {last - first + 1:,} numbers; a range has at most {_MOST_NUMBERS:,}"
                )
            before, digits, behind = argument[: found.start()], len(found[1]), argument[found.end() :]
            yield from _spelled_out(f"{before}{number:0{digits}d}{behind}" for number in range(first, last + 1))


def names_one(argument: str) -> bool:
    """Whether an argument names a single local file, there or not, and not what names or holds several."""
    several = is_address(argument) or is_folder(argument) or _is_container(argument)
    if several or argument.lower().endswith(tables.LIST):
        return False
    return is_there(argument) or not (glob.has_magic(argument) or _RANGE.search(argument))


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """The images of a command: local files, each once and in the order named, and what holds no image."""

    paths: tuple[Path, ...]
    images: Images
    failures: "tuple[Failure, ...]"


def find_inputs(arguments: Sequence[str], *, column: str | None = None) -> Inputs:
    """Return the images that are meant by paths of files, folders, patterns such as "*.jpg", and lists of them.

    A named file that does not exist stays among them; shards, tables of images, videos and addresses are refused.
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
        """Go through the container up to the image."""
        for image in Images(arguments=(self.container,), column=self.column):
            if not isinstance(image, Path) and image.name == self.name:
                return image.read()
        raise ImageError(f"{self.name}: no longer exists")


def find_image(name: str, *, column: str | None = None) -> Image | MemberByName:
    """Return the image that was called so in a result."""
    if not is_address(name) and is_there(name):
        return Path(name)
    for mark in re.finditer("!", name):  # container and key may have it in their own names
        container = name[: mark.start()]
        if _is_container(container) or (not is_address(container) and tables.is_dataset(Path(container))):
            return MemberByName(container, name[mark.end() :], column)
    return RemoteImage(name) if is_address(name) else Path(name)
