"""A run folder as it stands at one moment, for reading: takes no lock and writes nothing."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from qdebias.errors import StoreError
from qdebias.runs.index import Index
from qdebias.runs.index_file import copy_index
from qdebias.runs.manifest import Manifest, read_manifest


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
    with closing(copy_index(path)) as index:
        yield Snapshot(folder=path, manifest=_manifest(path), index=index)


def _manifest(folder: Path) -> Manifest:
    manifest = read_manifest(folder)
    if manifest is None:
        raise StoreError(f"{folder} holds no run; name a folder that was given as --run")
    return manifest
