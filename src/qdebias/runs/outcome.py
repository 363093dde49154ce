"""What became of one image under one method: the lines of images.jsonl."""

from dataclasses import dataclass
from pathlib import Path

from qdebias.runs.lines import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class FileState:
    """By what an unchanged file is recognised without reading it; both are None where there is no file.

    Attributes:
        size: Bytes.
        mtime_ns: When it was last changed, in nanoseconds.
    """

    size: int | None = None
    mtime_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """An image was asked about under a method, or cannot be.

    Attributes:
        path: The image file, absolute.
        method: Id of the method in run.json.
        state: The file as it was then.
        image: Digest of its pixels; None where it failed.
        conditions: Digests of the conditional images, in the order of the method's conditions in run.json.
        similarity: What the method measured on the pixels in place of asking the model (`Plan.similarity`).
        error: Why it failed; None where it did not.
    """

    path: str
    method: str
    state: FileState
    image: str | None = None
    conditions: tuple[str, ...] = ()
    similarity: tuple[float, ...] = ()
    error: str | None = None


def file_state(path: Path) -> FileState:
    """Return the present state of a file."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return FileState()
    return FileState(size=found.st_size, mtime_ns=found.st_mtime_ns)


def row_of(outcome: Outcome, **more: float) -> Row:
    """Return the line of an outcome."""
    return {
        "path": outcome.path,
        "method": outcome.method,
        "image": outcome.image,
        "error": outcome.error,
        "size": outcome.state.size,
        "mtime_ns": outcome.state.mtime_ns,
        "conditions": outcome.conditions,
        "similarity": outcome.similarity,
    } | more


def outcome_of(row: Row) -> Outcome:
    """Return the outcome of a line; raises KeyError or TypeError where it is none."""
    return Outcome(
        path=row["path"],
        method=row["method"],
        state=FileState(size=row["size"], mtime_ns=row["mtime_ns"]),
        image=row["image"],
        conditions=tuple(row["conditions"]),
        similarity=tuple(row["similarity"]),
        error=row["error"],
    )
