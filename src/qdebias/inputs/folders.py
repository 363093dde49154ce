"""Images in folders and matching patterns, local and remote, listed one folder at a time."""

import glob
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from qdebias.inputs.addresses import explained, is_folder, is_there, open_filesystem
from qdebias.inputs.items import LINKS, WHY, Found, LeftOut, or_nothing, unreadable

SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .mpo .png .apng .webp .bmp .tif .tiff .gif .ppm .pgm .pbm .pnm .avif .heic .heif .hif "  # noqa: SIM905
    ".jxl".split()
)
"""Suffixes by which a search recognises an image; a file that is named itself is tried whatever its suffix."""

NOT_DECODED_SUFFIXES = frozenset(
    ".jp2 .j2k .jpf .jpx .jxr .wdp .hdp .dng .cr2 .cr3 .crw .nef .nrw .arw .sr2 .srf .raf .orf .rw2 .pef .srw .x3f "  # noqa: SIM905
    ".3fr .iiq .exr .hdr .pfm .psd .psb .tga .pcx .dds .sgi .dcm .qoi .bpg .flif".split()
)
"""Suffixes of pictures that a search reports and leaves out: camera raw, JPEG 2000 and XR, HDR, and others."""


def kind_of(name: str) -> Literal["image", "not decoded", "no suffix"] | None:
    """Return the kind of a file by its suffix; None for a hidden one and any other."""
    stem, dot, suffix = name.rpartition("/")[2].rpartition(".")
    if not dot:
        return "no suffix"
    if stem.startswith(".") or not stem:
        return None
    suffix = dot + suffix.lower()
    return "image" if suffix in SUFFIXES else "not decoded" if suffix in NOT_DECODED_SUFFIXES else None


def begins_image(prefix: bytes) -> bool:
    """Whether a file that begins with these bytes, 16 or more, is of a format that is decoded."""
    from qdebias.image import decoding  # loads Pillow, which labels alone do not need

    return decoding.begins_image(prefix)


def folder_names(folder: str) -> Iterator[Found]:
    """Yield the images below a folder, sorted by path, and what was left out; nothing hidden, no links to folders."""
    return or_nothing(folder, _walk(str(Path(folder))), "no image in this folder")


def _walk(folder: str) -> Iterator[Found]:
    """Walk with a list, not recursion, as folders may be nested deeper than calls can be.

    Paths are strings, because for 100,000 files `Path` takes longer than all the rest.
    """
    waiting: list[tuple[str, bool, bool]] = [(folder, True, False)]
    root, seen = os.path.join(os.path.realpath(folder), ""), set[bytes]()  # noqa: PTH118
    while waiting:
        path, inside, link = waiting.pop()
        if inside:
            try:
                with os.scandir(path) as entries:
                    found = [(entry.name, entry.is_dir(follow_symlinks=False), entry.is_symlink()) for entry in entries]
            except OSError as error:
                yield unreadable(path, str(error.strerror))
                continue
            start = "" if path == "." else os.path.join(path, "")  # noqa: PTH118
            found.sort(reverse=True)
            waiting += [(start + name, more, link) for name, more, link in found if not name.startswith(".")]
        elif link and _leads_to_known(path, root, seen):
            continue
        elif link and is_folder(path):
            if not os.path.join(os.path.realpath(path), "").startswith(root):  # noqa: PTH118
                yield LeftOut(1, (path,), LINKS)
        elif _is_image(path):
            yield path
        elif kind := kind_of(path):
            yield LeftOut(1, (path,), WHY[kind])


def _leads_to_known(link: str, root: str, seen: set[bytes]) -> bool:
    """Whether a link leads to an image that the search of `root` finds itself, or to what another link led to."""
    if not is_there(link):
        return False
    target = os.path.realpath(link)
    if target.startswith(root) and f"{os.sep}." not in target[len(root) - 1 :]:
        return _is_image(target)
    count = len(seen)
    seen.add(hashlib.blake2b(os.fsencode(target), digest_size=16).digest())
    return len(seen) == count


def _is_image(path: str) -> bool:
    """Whether a search takes a local file: by its suffix, or without one by its first bytes, if it is a regular file.

    Nothing else is opened: a pipe would keep the reader waiting.
    """
    kind = kind_of(path)
    if kind == "no suffix":
        with suppress(OSError):
            if stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116
                with open(path, "rb") as file:  # noqa: PTH123
                    return begins_image(file.read(16))
    return kind == "image"


def pattern_names(pattern: str) -> Iterator[Found]:
    """Yield the files that match a pattern, sorted."""
    matches = (str(match) for match in sorted(set(_matching(Path(pattern).parts))) if not is_folder(match))
    return or_nothing(pattern, matches, "no file matches this pattern")


def _matching(parts: tuple[str, ...]) -> Iterator[Path]:
    """Yield the matches of a pattern; unlike in `glob`, `**` does not follow links to folders.

    With two links to their own folder, `glob` would list the same images for ever. Unreadable folders are skipped.
    """
    if "**" not in parts:
        yield from map(Path, glob.iglob(str(Path(*parts))))  # noqa: PTH207 (it may be absolute)
        return
    place = parts.index("**")
    waiting = list(_matching(parts[:place])) if place else [Path()]
    while waiting:
        folder = waiting.pop()
        yield from _matching((*map(glob.escape, folder.parts), *(parts[place + 1 :] or "*")))
        with suppress(OSError), os.scandir(folder) as entries:
            below = [one.name for one in entries if one.is_dir(follow_symlinks=False) and not one.name.startswith(".")]
            waiting += [folder / name for name in below]


def remote_names(address: str, *, pattern: bool) -> Iterator[Found]:
    """Yield the images below a remote folder, or those that match a pattern there, and what was left out."""
    with explained(address):
        files, path = open_filesystem(address)
        if pattern:
            matches = (str(files.unstrip_protocol(match)) for match in sorted(files.glob(path)))
            yield from or_nothing(address, matches, "nothing matches this pattern")
        else:
            yield from or_nothing(address, _walk_remote(files, path.rstrip("/")), "no image in this folder")


def _walk_remote(files: Any, folder: str) -> Iterator[Found]:  # noqa: ANN401 (fsspec has no types)
    found = sorted((entry["name"].rstrip("/"), entry["type"] == "directory") for entry in files.ls(folder, detail=True))
    for path, is_directory in found:
        name, kind = str(files.unstrip_protocol(path)), kind_of(path)
        if path == folder or path.rpartition("/")[2].startswith("."):
            continue
        if is_directory:
            yield from _walk_remote(files, path)
        elif kind == "image" or (kind == "no suffix" and begins_image(files.cat_file(path, start=0, end=16))):
            yield name
        elif kind:
            yield LeftOut(1, (name,), WHY[kind])


def is_remote_folder(address: str) -> bool:
    """Whether an address is that of a folder: it ends with a slash, or its store lists it as one."""
    if address.endswith("/"):
        return True
    with explained(address):
        files, path = open_filesystem(address)
        return bool(files.isdir(path))
