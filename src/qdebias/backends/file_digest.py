"""The SHA-256 of large files, noted down so that a file that has not changed is read once, and not at every start.

A note stands in the assets folder of the hub's cache (`HF_ASSETS_CACHE`) and counts while path, size, inode and both
times of the file are what they were. Where it cannot be written, nothing is lost but time.
"""

import hashlib
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from qdebias.system.output import write_file

SMALL = 64 << 20
"""Bytes below which reading a file again is quicker than to think about it."""

SETTLED = 2_000_000_000
"""Nanoseconds since the last change after which a further one shows in the times of a file, on any file system."""


def sha256_of(paths: Sequence[Path]) -> list[str]:
    """Return the SHA-256 of each file, in 64 hex digits: of all its bytes, now or when the note was taken."""
    with ThreadPoolExecutor(max_workers=4) as pool:
        return list(pool.map(_sha256, paths))


def _sha256(path: Path) -> str:
    state = path.stat()
    if state.st_size < SMALL:
        return _read(path)
    note = _note(path, state)
    known = _known(note)
    if known:
        return known
    began = time.time_ns()
    digest = _read(path)
    changed = max(state.st_mtime_ns, state.st_ctime_ns)
    if note is not None and began - changed > SETTLED and _note(path, path.stat()) == note:
        _write(note, digest)
    return digest


def _read(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _note(path: Path, state: os.stat_result) -> Path | None:
    """Return where the digest of a file in this state is noted; None where there is no such place."""
    said = (str(path.resolve()), state.st_size, state.st_ino, state.st_mtime_ns, state.st_ctime_ns)
    folder = _folder()
    return folder and folder / hashlib.sha256(repr(said).encode()).hexdigest()


def _folder() -> Path | None:
    from huggingface_hub import cached_assets_path

    try:
        return cached_assets_path("qdebias", "weights", "sha256")
    except (OSError, ValueError):  # ValueError: a file stands in its place
        return None


def _known(note: Path | None) -> str | None:
    try:
        text = note.read_text(encoding="ascii") if note else ""
    except (OSError, ValueError):
        return None
    return text if len(text) == 64 else None


def _write(note: Path, digest: str) -> None:
    """Write a note as a whole or not at all: others may be reading."""
    try:
        write_file(note, digest)
    except OSError:
        return
