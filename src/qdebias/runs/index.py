"""The index of a run folder, an SQLite file that is made anew from the lines when it is absent, damaged or outdated.

A process that is killed while it writes leaves a torn last line, or the first lines of a call of the model without
the last; a loss of power may leave more. All of that lies at the end of the files, and is asked again.
"""

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from qdebias.equations import FloatArray
from qdebias.errors import StoreError
from qdebias.runs.lines import Lines, Outcome, Row, checksum, read_lines

ANSWERS = "answers.jsonl"
IMAGES = "images.jsonl"
INDEX = "index.sqlite"
VERSION = 5

_PATIENCE = 60  # seconds for which a writer waits until a reader has copied the index, and the other way round
_ANSWER: dict[str, type] = {"key": str, "logits": list, "more": int}
"""What a line of answers.jsonl has; `more` is how many lines of the same call of the model follow."""

_TABLES = f"""
BEGIN;
CREATE TABLE answers (key BLOB PRIMARY KEY, logits BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE images (
    path BLOB, method TEXT, failed INTEGER, digests BLOB, said TEXT, sum TEXT, PRIMARY KEY (path, method)
) WITHOUT ROWID;
CREATE TABLE extents (file TEXT PRIMARY KEY, size INTEGER NOT NULL, tail BLOB NOT NULL) WITHOUT ROWID;
PRAGMA user_version = {VERSION};
COMMIT;
"""


class IndexMismatchError(StoreError):
    """The index is not of these files, or is damaged; it has to be made anew."""

    def __init__(self) -> None:
        super().__init__(
            "index.sqlite does not fit the other files of the run, or is damaged; delete it, and it is rebuilt "
            "from them when the run is next used"
        )


@contextmanager
def _explained() -> Iterator[None]:
    """Turn what SQLite raises into our errors."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise StoreError(
            f"index.sqlite: {error}; nothing of the run is lost, as the index is made from the other files: "
            f"check the disk, then run the same command again"
        ) from error
    except sqlite3.DatabaseError as error:
        raise IndexMismatchError from error


class Index:
    """Answers by key and outcomes by path; reads the lines that were added since the last time when it is made.

    The database is new and empty, or of an earlier `Index`; else it is closed, and an IndexMismatchError raised. A line
    that is damaged although lines after it are whole is a StoreError. `whole` is up to which byte answers.jsonl and
    images.jsonl are whole; what follows was left unfinished.
    """

    def __init__(self, connection: sqlite3.Connection, folder: Path) -> None:
        self._database = connection
        try:
            with _explained():
                connection.execute("PRAGMA cache_size = -65536")  # 64 MiB
                version = connection.execute("PRAGMA user_version").fetchone()[0]
                if version == 0:
                    connection.executescript(_TABLES)
            if version not in (0, VERSION):
                raise IndexMismatchError
            answers = self._read_answers(folder / ANSWERS)
            self.whole = answers, self._read_images(folder / IMAGES, answers)
        except StoreError:
            connection.close()
            raise
        except (ValueError, TypeError) as error:
            connection.close()
            raise StoreError(
                f"{folder}: {ANSWERS} or {IMAGES} has a line that no run writes ({error}); restore an intact copy"
            ) from error

    def logits(self, key: str) -> FloatArray | None:
        """Return the stored logits (K,) of an answer, None if there are none."""
        name = bytes.fromhex(key)
        found = next(self._select("SELECT logits FROM answers WHERE key = ?", name), None)
        if found is None:
            return None
        packed = found[0][:-8]
        if found[0][-8:] != checksum(packed + name).encode():
            raise IndexMismatchError
        return np.frombuffer(packed, dtype="<f8").astype(np.float64)

    @_explained()
    def add_answers(self, rows: Iterable[Row]) -> None:
        """Remember logits by their keys, with a checksum: SQLite would not notice another number in its file."""
        packed = ((bytes.fromhex(row["key"]), np.array(row["logits"], dtype="<f8").tobytes()) for row in rows)
        sealed = ((key, logits + checksum(logits + key).encode()) for key, logits in packed)
        self._database.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?)", sealed)

    @_explained()
    def add_outcome(self, one: Outcome) -> None:
        """Add the outcome of an image, in place of an earlier one."""
        digests = b"".join(map(bytes.fromhex, [one.image or "", *one.conditions]))
        said = json.dumps([one.size, one.mtime_ns, one.error, one.similarity])
        values = (_encoded(one.path), one.method, int(one.error is not None), digests, said)
        seal = checksum(repr(values).encode())
        self._database.execute("INSERT OR REPLACE INTO images VALUES (?, ?, ?, ?, ?, ?)", (*values, seal))

    def outcome(self, path: str, method: str) -> Outcome | None:
        """Return the outcome of an image under a method, None if there is none."""
        return next(self._outcomes("path = ? AND method = ?", _encoded(path), method), None)

    def outcomes_of(self, path: str) -> Iterator[Outcome]:
        """Yield the outcomes of an image under every method so far."""
        return self._outcomes("path = ?", _encoded(path))

    def outcomes_under(self, method: str) -> Iterator[Outcome]:
        """Yield the outcomes of all images under a method, by path."""
        return self._outcomes("method = ? ORDER BY path", method)

    def _outcomes(self, where: str, *values: object) -> Iterator[Outcome]:
        for *row, seal in self._select(f"SELECT * FROM images WHERE {where}", *values):  # noqa: S608 (constants)
            if seal != checksum(repr(tuple(row)).encode()):
                raise IndexMismatchError
            path, method, _, packed, said = row
            size, mtime_ns, error, similarity = json.loads(said)
            image, *conditions = [packed[at : at + 16].hex() for at in range(0, len(packed), 16)] or [None]
            yield Outcome(
                path=path.decode("utf-8", "surrogatepass"),
                method=method,
                size=size,
                mtime_ns=mtime_ns,
                image=image,
                conditions=tuple(conditions),
                similarity=tuple(similarity),
                error=error,
            )

    def paths(self) -> Iterator[str]:
        """Yield every image once, sorted."""
        for (path,) in self._select("SELECT DISTINCT path FROM images ORDER BY path"):
            yield path.decode("utf-8", "surrogatepass")

    def counts(self) -> dict[str, tuple[int, int]]:
        """Return for each method how many images are done and how many failed."""
        rows = self._select("SELECT method, sum(NOT failed), sum(failed) FROM images GROUP BY method")
        return {method: (done, failed) for method, done, failed in rows}

    def answer_count(self) -> int:
        """Return how many answers are stored."""
        return int(next(self._select("SELECT count(*) FROM answers"))[0])

    @_explained()
    def commit(self, *files: Lines) -> None:
        """Write the index to its file, together with up to which byte it knows each file of lines."""
        rows = [(file.path.name, file.size, _tail(file.path, file.size)) for file in files]
        self._database.executemany("INSERT OR REPLACE INTO extents VALUES (?, ?, ?)", rows)
        self._database.commit()

    def close(self) -> None:
        """Close the database; what was not committed is read from the lines again."""
        self._database.close()

    def _select(self, query: str, *values: object) -> Iterator[tuple[Any, ...]]:
        with _explained():
            yield from self._database.execute(query, values)

    def _extent(self, path: Path) -> int:
        """Return up to which byte of a file of lines this index has read."""
        size, tail = next(self._select("SELECT size, tail FROM extents WHERE file = ?", path.name), (0, b""))
        if _tail(path, size) != tail:
            raise IndexMismatchError
        return int(size)

    def _read_answers(self, path: Path) -> int:
        """Read on, one call of the model at a time, up to the first that is not whole; return where that begins."""
        start = end = self._extent(path)
        call: list[Row] = []
        for line_end, row in read_lines(path, start):
            whole = row is not None and all(isinstance(row.get(name), kind) for name, kind in _ANSWER.items())
            if row is None or not whole or (call and row["more"] != call[-1]["more"] - 1):
                _refuse_if_in_the_middle(path, start, line_end)
                break
            call.append(row)
            if row["more"] == 0:
                self.add_answers(call)
                call, end = [], line_end
        return end

    def _read_images(self, path: Path, answers: int) -> int:
        """Read the outcomes whose answers are all stored; as both files only grow, the others are the last ones."""
        start = end = self._extent(path)
        for line_end, row in read_lines(path, start):
            try:
                values = {field.name: (row or {})[field.name] for field in fields(Outcome)}
                values |= {name: tuple(values[name]) for name in ("conditions", "similarity")}
                needed = int((row or {})["answers_end"])
            except (KeyError, TypeError, ValueError):
                _refuse_if_in_the_middle(path, start, line_end)
                break
            if needed > answers:
                break
            self.add_outcome(Outcome(**values))
            end = line_end
        return end


def _encoded(text: str) -> bytes:
    """Encode a path, which may be no text."""
    return text.encode("utf-8", "surrogatepass")


def _tail(path: Path, size: int) -> bytes | None:
    """Return a hash of the last bytes before byte `size`, None where the file is shorter."""
    if size == 0:
        return b""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size < size:
                return None
            file.seek(max(0, size - 4096))
            return hashlib.blake2b(file.read(size - file.tell()), digest_size=16).digest()
    except FileNotFoundError:
        return None


def _refuse_if_in_the_middle(path: Path, start: int, end: int) -> None:
    """Damage behind what the index has read is the end of a run that was cut off; elsewhere somebody has to look."""
    if start == 0 and any(row is not None for _, row in read_lines(path, end)):
        with path.open("rb") as file:
            number = file.read(end).count(b"\n")
        raise StoreError(
            f"{path}: line {number} is damaged although later ones are intact; restore an intact copy, or keep the "
            f"first {number - 1} lines (head -n {number - 1}), and what is lost is asked again"
        )


def open_index(folder: Path) -> Index:
    """Open the index of a run, or make it anew where its file is no index of this version or not of these lines."""
    try:
        return Index(_connect(folder), folder)
    except IndexMismatchError:
        for name in (INDEX, f"{INDEX}-journal"):  # the latter is what SQLite may have left to undo a change
            (folder / name).unlink(missing_ok=True)
        return Index(_connect(folder), folder)


def copy_index(folder: Path) -> Index:
    """Return a copy in a temporary file of SQLite's own: nothing is locked for long, or written below the folder."""
    source = f"{(folder / INDEX).resolve().as_uri()}?mode=ro"
    copy = sqlite3.connect("")
    try:
        with _explained(), closing(sqlite3.connect(source, uri=True, timeout=_PATIENCE)) as original:
            original.backup(copy)
        return Index(copy, folder)
    except StoreError:  # no index, or none that can be used: the lines have everything
        copy.close()
        return Index(sqlite3.connect(""), folder)


def _connect(folder: Path) -> sqlite3.Connection:
    with _explained():
        return sqlite3.connect(folder / INDEX, timeout=_PATIENCE)
