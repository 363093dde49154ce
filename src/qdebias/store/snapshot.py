"""A run folder as it stands at one moment, for reading: takes no lock and writes nothing."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from qdebias.errors import StoreError
from qdebias.store.index import Index, IndexMismatchError, explained
from qdebias.store.manifest import Manifest, read_manifest
from qdebias.store.reading import read_on
from qdebias.store.run import INDEX


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What a run holds.

    Attributes:
        folder: Where it is kept.
        manifest: What run.json says.
        index: What the lines say.
    """

    folder: Path
    manifest: Manifest
    index: Index


@contextmanager
def open_snapshot(folder: str | os.PathLike[str]) -> Iterator[Snapshot]:
    """Read a run folder, also while another process writes it.

    Raises:
        StoreError: It holds no run, or a damaged one.
    """
    path = Path(folder)
    _manifest(path)
    with closing(_copied(path)) as index:
        yield Snapshot(folder=path, manifest=_manifest(path), index=index)


def _manifest(folder: Path) -> Manifest:
    manifest = read_manifest(folder)
    if manifest is None:
        raise StoreError(f"{folder} holds no run; name a folder that was given as --run")
    return manifest


def _copied(folder: Path) -> Index:
    """Return a copy of the index in a temporary file of SQLite's own, brought up to date with the lines."""
    try:
        with explained():
            copy = sqlite3.connect("")
            source = f"{(folder / INDEX).resolve().as_uri()}?mode=ro"
            with closing(sqlite3.connect(source, uri=True, timeout=60)) as original:
                original.backup(copy)
        index = Index(copy)
        read_on(folder, index)
    except (IndexMismatchError, StoreError):
        index = Index(sqlite3.connect(""))
        read_on(folder, index)
    return index
