"""The file of the index: opened by the writer, copied by readers, thrown away when it cannot be used."""

import sqlite3
from contextlib import closing
from pathlib import Path

from qdebias.errors import StoreError
from qdebias.runs.index import Index, IndexMismatchError, explained
from qdebias.runs.reading import read_on

INDEX = "index.sqlite"

_PATIENCE = 60
"""Seconds for which a writer waits until a reader has copied the index, and the other way round."""


def open_index(folder: Path) -> Index:
    """Open the index of a run, or begin it anew where its file is no index of this version."""
    try:
        return _index(_connect(folder / INDEX))
    except IndexMismatchError:
        discard_index(folder)
        return _index(_connect(folder / INDEX))


def discard_index(folder: Path) -> None:
    """Delete the index, and what SQLite may have left beside it to undo an unfinished change."""
    for name in (INDEX, f"{INDEX}-journal"):
        (folder / name).unlink(missing_ok=True)


def copy_index(folder: Path) -> Index:
    """Return the index in a temporary file of SQLite's own, brought up to date with the lines.

    Nothing is locked for longer than the copy takes, and nothing is written below the folder.
    """
    try:
        return _up_to_date(folder, _copied(folder))
    except StoreError:  # no index, or none that can be used: the lines have everything
        return _up_to_date(folder, sqlite3.connect(""))


def _copied(folder: Path) -> sqlite3.Connection:
    source = f"{(folder / INDEX).resolve().as_uri()}?mode=ro"
    copy = sqlite3.connect("")
    try:
        with explained(), closing(sqlite3.connect(source, uri=True, timeout=_PATIENCE)) as original:
            original.backup(copy)
    except StoreError:
        copy.close()
        raise
    return copy


def _up_to_date(folder: Path, connection: sqlite3.Connection) -> Index:
    index = _index(connection)
    try:
        read_on(folder, index)
    except StoreError:
        index.close()
        raise
    return index


def _connect(path: Path) -> sqlite3.Connection:
    with explained():
        return sqlite3.connect(path, timeout=_PATIENCE)


def _index(connection: sqlite3.Connection) -> Index:
    try:
        return Index(connection)
    except StoreError:
        connection.close()
        raise
