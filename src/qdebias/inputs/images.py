"""All images of a run, streamed: memory does not grow with their number, but for a hash of each name."""

import glob
import hashlib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from qdebias.errors import SettingError
from qdebias.inputs.addresses import is_address, is_folder, is_there, true_name, true_path, unsigned
from qdebias.inputs.folders import folder_names, is_remote_folder, pattern_names, remote_names
from qdebias.inputs.items import (
    Found,
    Image,
    LeftOut,
    NamedImages,
    Piece,
    Unreadable,
    add_left_out,
    container_kind,
    image_named,
    in_pieces,
    unreadable,
)
from qdebias.inputs.shards import Shard
from qdebias.inputs.tables import dataset_pieces, is_dataset, table_pieces
from qdebias.inputs.video import FRAMES, Video

if TYPE_CHECKING:
    from qdebias.methods.plan import Failure

_RANGE = re.compile(r"\{(\d{1,18})\.\.(\d{1,18})\}")
_MOST_NUMBERS = 1_000_000

_FIRST = 100  # images that are looked for before a run begins, to tell a mistyped command from a bad image


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """The images of a run, listed anew each time they are iterated over.

    `column` is that of the tables among them (None: the first that usually holds images), `frames` how many of each
    video are taken, `left_out` what the last iteration left out.
    """

    arguments: tuple[str, ...]
    column: str | None = None
    frames: int = FRAMES
    left_out: list[LeftOut] = field(default_factory=list, compare=False, repr=False)

    def __iter__(self) -> Iterator[Image]:
        """Yield each image in the order in which it was named, within a folder sorted by path."""
        for image in chain.from_iterable(self.pieces()):
            if isinstance(image, LeftOut):
                add_left_out(self.left_out, image)
            else:
                yield image

    def pieces(self) -> Iterator[Piece]:
        """Yield the images in pieces, each file and address once, also if links or several arguments lead to it.

        Each name is remembered by a hash, about 100 bytes, unless a single folder or file is named.
        """
        self.left_out.clear()
        alone = self.arguments[0] if len(self.arguments) == 1 else ""
        each_once = bool(alone) and not glob.has_magic(alone) and container_kind(alone) is None
        seen: set[bytes] = set()
        real_folder = lru_cache(maxsize=1024)(os.path.realpath)
        for piece in chain.from_iterable(in_pieces(self._named(argument)) for argument in self.arguments):
            if isinstance(piece, LeftOut):
                add_left_out(self.left_out, piece)
                continue
            fresh = []
            for name in () if each_once else piece.names:
                path = name if is_address(name) or not is_there(name) else true_path(name, real_folder)
                key = hashlib.blake2b(path.encode(errors="surrogateescape"), digest_size=16).digest()
                if key not in seen:
                    seen.add(key)
                    fresh.append(name)
            if each_once or len(fresh) == len(piece.names):
                yield piece
            elif fresh:
                yield NamedImages(tuple(fresh))

    def _named(self, name: str) -> Iterator[Found]:
        """Yield what one argument names: a file, folder, pattern, list, container, or an address of one."""
        remote = is_address(name)
        store = remote and not name.startswith(("http://", "https://"))  # has folders, and patterns
        if not remote:
            name = true_name(name)
        kind = container_kind(name)
        try:
            if not remote and is_folder(name):
                yield from dataset_pieces(name, self.column) if is_dataset(Path(name)) else folder_names(name)
            elif glob.has_magic(name) and (store or not (remote or is_there(name))):
                for found in remote_names(name, pattern=True) if store else pattern_names(name):
                    yield from self._opened(found)
            elif kind == "list":
                yield from table_pieces(name, self.column)
            elif store and kind is None and is_remote_folder(name):
                yield from remote_names(name, pattern=False)
            elif kind is None:
                yield name if remote else str(Path(name))
            else:
                yield from self._opened(name if remote else str(Path(name)))
        except SettingError as error:
            yield unreadable(name, str(error))

    def _opened(self, name: Found) -> Iterator[Found]:
        """Yield a name, or the pieces of the shard, table or video that it is."""
        kind = container_kind(name) if isinstance(name, str) else None
        if not isinstance(name, str) or kind in (None, "list"):
            yield name
        elif kind == "video":
            yield Video(name, self.frames)
        elif kind in ("zip", "tar"):
            yield Shard(name)
        else:
            try:
                yield from table_pieces(name, self.column)
            except SettingError as error:
                yield unreadable(name, str(error))

    def count(self) -> int | None:
        """Return the number of images; None where that takes reading whole shards."""
        total = 0
        for piece in self.pieces():
            if piece.count is None:
                return None
            total += piece.count
        return total


def open_images(arguments: Sequence[str], *, column: str | None = None, frames: int = FRAMES) -> Images:
    """Return the images of the arguments of a command.

    These are any mixture of files, folders (searched recursively, without hidden ones), patterns such as "*.jpg", lists
    (.txt), tables (.parquet, .csv, .tsv), tar shards, data sets on disk, videos (`frames` of each), and addresses of
    all of these; "-" stands for the lines of stdin, and "{0000..0063}" for each of these numbers. A named file that
    does not exist remains, so that it fails with a row of its own like any other bad image. Raises `SettingError` if
    nothing at all was found.
    """
    names: list[str] = []
    for argument in arguments:
        lines = [argument]
        if argument == "-":
            lines = [os.fsdecode(line.rstrip(b"\r\n")) for line in sys.stdin.buffer if line.strip()]
            if not lines:
                raise SettingError("nothing to score: stdin, which - stands for, names nothing")
        elif _RANGE.search(argument):
            lines = list(_numbered(argument))
        names += lines
    images = Images(arguments=tuple(names), column=column, frames=frames)
    missing = []
    for image in islice(images, _FIRST):
        if isinstance(image, Unreadable):
            missing.append(image.error)
        elif isinstance(image, Path) and not is_there(image):
            missing.append(f"{image}: no such file")
        else:
            return images
    if len(missing) < _FIRST:
        raise SettingError("nothing to score: " + "; ".join([*missing[:10], *map(str, images.left_out)]))
    return images


def _numbered(name: str) -> Iterator[str]:
    """Yield a name for each number of the ranges in it; a file of this name stands for itself."""
    found = _RANGE.search(name)
    if found is None or is_there(name):
        yield name
        return
    first, last = map(int, found.groups())
    if last < first:
        raise SettingError(f"{unsigned(name)}: the range goes down; write the smaller number first")
    if last - first >= _MOST_NUMBERS:
        raise SettingError(f"{unsigned(name)}: {last - first + 1:,} numbers; a range has at most {_MOST_NUMBERS:,}")
    for number in range(first, last + 1):
        yield from _numbered(f"{name[: found.start()]}{number:0{len(found[1])}d}{name[found.end() :]}")


def names_one(argument: str) -> bool:
    """Whether an argument names a single local file, existing or not, and nothing that holds or names several."""
    if is_address(argument) or is_folder(argument) or container_kind(argument):
        return False
    return is_there(argument) or not (glob.has_magic(argument) or _RANGE.search(argument))


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """The images of a command: local files, each once and in the order named, and the arguments without any."""

    paths: tuple[Path, ...]
    images: Images
    failures: "tuple[Failure, ...]"


def find_inputs(arguments: Sequence[str], *, column: str | None = None) -> Inputs:
    """Return the images of files, folders, patterns such as "*.jpg", and lists of them.

    A named file that does not exist remains; shards, tables of images, videos and addresses are refused.
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


def find_image(name: str, *, column: str | None = None) -> Image:
    """Return the image that has this name in a result; one in a shard, table or data set is read."""
    if not is_address(name) and is_there(name):
        return Path(name)
    for mark in re.finditer("!", name):  # container and key may have it in their own names
        container = name[: mark.start()]
        of_rows = not is_address(container) and is_dataset(Path(container))
        if of_rows or container_kind(container) not in (None, "list"):
            images = Images(arguments=(container,), column=column)
            members = (image for image in images if not isinstance(image, Path) and image.name == name)
            return next(members, unreadable(name, "no longer exists"))
    return image_named(name)
