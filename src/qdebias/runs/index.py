"""The index of a run folder: where to find what the lines say, without reading them all again.

It is an SQLite file that holds nothing of its own: it remembers up to which byte it has read each file of lines, reads
on from there when it is opened, and is made anew when it is absent, damaged, or not of these files. It keeps the
memory of a run bounded, however many images there are.

A process that is killed while it writes leaves a torn last line, or the first lines of a call of the model without
the last; a loss of power may leave more. All of that lies at the end, and what lies there is asked again.
"""

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

from qdebias.equations import FloatArray
from qdebias.errors import StoreError
from qdebias.runs.lines import FileState, Outcome, Row, checksum, outcome_of, read_lines

VERSION = 5

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


class Index:
    """What the lines of one run say, by key and by path.

    Args:
        connection: An SQLite database, either new and empty or made by this class; closed where it is neither.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._database = connection
        try:
            with explained():
                connection.execute("PRAGMA cache_size = -65536")  # 64 MiB
                version = connection.execute("PRAGMA user_version").fetchone()[0]
                if version == 0:
                    connection.executescript(_TABLES)
            if version not in (0, VERSION):
                raise IndexMismatchError
        except StoreError:
            connection.close()
            raise

    def logits(self, key: str) -> FloatArray | None:
        """Return the stored logits (K,) of an answer, None where there is none."""
        name = bytes.fromhex(key)
        with explained():
            found = self._database.execute("SELECT logits FROM answers WHERE key = ?", (name,)).fetchone()
        if found is None:
            return None
        packed = found[0][:-8]
        if found[0][-8:] != checksum(packed + name).encode():
            raise IndexMismatchError
        return np.frombuffer(packed, dtype="<f8").astype(np.float64)

    def add_answers(self, answers: Iterable[tuple[str, Iterable[float]]]) -> None:
        """Remember logits by their keys, with a checksum: SQLite would not notice another number in its file."""
        rows = ((bytes.fromhex(key), np.array(list(logits), dtype="<f8").tobytes()) for key, logits in answers)
        sealed = ((key, packed + checksum(packed + key).encode()) for key, packed in rows)
        with explained():
            self._database.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?)", sealed)

    def outcome(self, path: str, method: str) -> Outcome | None:
        """Return what became of an image under a method, None where nothing did."""
        return next(self._outcomes("WHERE path = ? AND method = ?", _text(path), method), None)

    def outcomes_of(self, path: str) -> Iterator[Outcome]:
        """Yield what became of an image under every method so far."""
        return self._outcomes("WHERE path = ?", _text(path))

    def outcomes_under(self, method: str) -> Iterator[Outcome]:
        """Yield what became of every image under a method, by path."""
        return self._outcomes("WHERE method = ? ORDER BY path", method)

    def paths(self) -> Iterator[str]:
        """Yield every image once, sorted."""
        with explained():
            for row in self._database.execute("SELECT DISTINCT path FROM images ORDER BY path"):
                yield row[0].decode("utf-8", "surrogatepass")

    def add_outcomes(self, outcomes: Iterable[Outcome]) -> None:
        """Remember what became of images; a later outcome of an image takes the place of an earlier one."""
        rows = []
        for one in outcomes:
            digests = b"".join(map(bytes.fromhex, [one.image or "", *one.conditions]))
            said = json.dumps([one.state.size, one.state.mtime_ns, one.error, one.similarity])
            values = (_text(one.path), one.method, int(one.error is not None), digests, said)
            rows.append((*values, checksum(repr(values).encode())))
        with explained():
            self._database.executemany("INSERT OR REPLACE INTO images VALUES (?, ?, ?, ?, ?, ?)", rows)

    def counts(self) -> dict[str, tuple[int, int]]:
        """Return for each method how many images are done and how many failed."""
        with explained():
            rows = self._database.execute("SELECT method, sum(NOT failed), sum(failed) FROM images GROUP BY method")
            return {method: (done, failed) for method, done, failed in rows}

    def answer_count(self) -> int:
        """Return how many answers are stored."""
        with explained():
            return int(self._database.execute("SELECT count(*) FROM answers").fetchone()[0])

    def extent(self, path: Path) -> int:
        """Return up to which byte of a file of lines this index has read."""
        with explained():
            found = self._database.execute("SELECT size, tail FROM extents WHERE file = ?", (path.name,)).fetchone()
        if found is None:
            return 0
        if _tail(path, found[0]) != found[1]:
            raise IndexMismatchError
        return int(found[0])

    def commit(self, extents: Iterable[tuple[Path, int]] = ()) -> None:
        """Write the index to its file, together with up to which byte each file of lines has been read."""
        rows = [(path.name, size, _tail(path, size)) for path, size in extents]
        with explained():
            self._database.executemany("INSERT OR REPLACE INTO extents VALUES (?, ?, ?)", rows)
            self._database.commit()

    def close(self) -> None:
        """Close the database; what was not committed is read from the lines again."""
        self._database.close()

    def _outcomes(self, where: str, *values: object) -> Iterator[Outcome]:
        with explained():
            for *row, seal in self._database.execute(f"SELECT * FROM images {where}", values):  # noqa: S608 (constants)
                if seal != checksum(repr(tuple(row)).encode()):
                    raise IndexMismatchError
                path, method, _, packed, said = row
                size, mtime_ns, error, similarity = json.loads(said)
                digests = [packed[start : start + 16].hex() for start in range(0, len(packed), 16)]
                yield Outcome(
                    path=path.decode("utf-8", "surrogatepass"),
                    method=method,
                    state=FileState(size=size, mtime_ns=mtime_ns),
                    image=digests[0] if digests else None,
                    conditions=tuple(digests[1:]),
                    similarity=tuple(similarity),
                    error=error,
                )


class IndexMismatchError(StoreError):
    """The index is not of these files, or is damaged; it has to be made anew."""

    def __init__(self) -> None:
        super().__init__(
            "index.sqlite does not fit the other files of the run, or is damaged; delete it, and it is rebuilt "
            "from them when the run is next used"
        )


@contextmanager
def explained() -> Iterator[None]:
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


def _text(text: str) -> bytes:
    """Encode a path, which may be no text, or a message that names one."""
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


ANSWERS = "answers.jsonl"
IMAGES = "images.jsonl"

_AT_ONCE = 4096
"""Lines that are held before they go into the index."""


def read_on(folder: Path, index: Index) -> tuple[int, int]:
    """Read into the index what the files say beyond what it knows already.

    Returns:
        Up to which byte the answers, and up to which the images, are whole.

    Raises:
        IndexMismatchError: The index is not of these files.
        StoreError: A line is damaged although lines after it are whole.
    """
    try:
        answers = _read_answers(folder / ANSWERS, index)
        return answers, _read_images(folder / IMAGES, index, answers)
    except (ValueError, TypeError) as error:
        raise StoreError(
            f"{folder}: {ANSWERS} or {IMAGES} has a line that no run writes ({error}); restore an intact copy"
        ) from error


def _read_answers(path: Path, index: Index) -> int:
    end = index.extent(path)
    held: list[tuple[str, list[float]]] = []
    for group_end, group in _groups(path, end):
        held += [(row["key"], row["logits"]) for row in group]
        end = group_end
        if len(held) >= _AT_ONCE:
            index.add_answers(held)
            held.clear()
    index.add_answers(held)
    return end


_ANSWER: dict[str, type] = {"key": str, "logits": list, "more": int}


def _groups(path: Path, start: int) -> Iterator[tuple[int, list[Row]]]:
    """Yield the lines of one call of the model at a time, up to the first that is not whole."""
    group: list[Row] = []
    for end, row in read_lines(path, start):
        whole = row is not None and all(isinstance(row.get(name), kind) for name, kind in _ANSWER.items())
        if row is None or not whole or (group and row["more"] != group[-1]["more"] - 1):
            _refuse_if_in_the_middle(path, start, end)
            return
        group.append(row)
        if row["more"] == 0:
            yield end, group
            group = []


def _read_images(path: Path, index: Index, answers: int) -> int:
    """Read the outcomes whose answers are all there; as both files only grow, the others are the last ones."""
    end = start = index.extent(path)
    held: list[Outcome] = []
    for line_end, row in read_lines(path, start):
        try:
            outcome = outcome_of(row or {})
            stands_on = int(row["answers_end"] if row else 0)
        except (KeyError, TypeError, ValueError):
            _refuse_if_in_the_middle(path, start, line_end)
            break
        if stands_on > answers:
            break
        held.append(outcome)
        end = line_end
        if len(held) >= _AT_ONCE:
            index.add_outcomes(held)
            held.clear()
    index.add_outcomes(held)
    return end


def _refuse_if_in_the_middle(path: Path, start: int, end: int) -> None:
    """Damage behind what the index has read is the end of a run that was cut off; elsewhere somebody has to look."""
    if start == 0 and any(row is not None for _, row in read_lines(path, end)):
        with path.open("rb") as file:
            number = file.read(end).count(b"\n")
        raise StoreError(
            f"{path}: line {number} is damaged although later ones are intact; restore an intact copy, or keep the "
            f"first {number - 1} lines (head -n {number - 1}), and what is lost is asked again"
        )


INDEX = "index.sqlite"

_PATIENCE = 60
"""Seconds for which a writer waits until a reader has copied the index, and the other way round."""


def open_index(folder: Path) -> Index:
    """Open the index of a run, or begin it anew where its file is no index of this version."""
    try:
        return Index(_connect(folder / INDEX))
    except IndexMismatchError:
        discard_index(folder)
        return Index(_connect(folder / INDEX))


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
    index = Index(connection)
    try:
        read_on(folder, index)
    except StoreError:
        index.close()
        raise
    return index


def _connect(path: Path) -> sqlite3.Connection:
    with explained():
        return sqlite3.connect(path, timeout=_PATIENCE)
