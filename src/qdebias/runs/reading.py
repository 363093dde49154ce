"""Bringing an index up to date with the lines of a run, and finding where the lines stop being whole.

A process that is killed while it writes leaves a torn last line, or the first lines of a call of the model without
the last; a loss of power may leave more. All of that lies at the end, and what lies there is asked again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from qdebias.errors import StoreError
from qdebias.runs.index import Index
from qdebias.runs.lines import Row, read_lines
from qdebias.runs.outcome import Outcome, outcome_of

ANSWERS = "answers.jsonl"
IMAGES = "images.jsonl"

_AT_ONCE = 4096
"""Lines that are held before they go into the index."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extents:
    """Up to which byte each file of lines is whole."""

    answers: int
    images: int


def read_on(folder: Path, index: Index) -> Extents:
    """Read into the index what the files say beyond what it knows already.

    Raises:
        IndexMismatchError: The index is not of these files.
        StoreError: A line is damaged although lines after it are whole.
    """
    try:
        answers = _read_answers(folder / ANSWERS, index)
        return Extents(answers=answers, images=_read_images(folder / IMAGES, index, answers))
    except (ValueError, TypeError) as error:
        raise StoreError(
            f"{folder}: {ANSWERS} or {IMAGES} has a line that no run writes ({error}); put a sound copy back"
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


def _groups(path: Path, start: int) -> Iterator[tuple[int, list[Row]]]:
    """Yield the lines of one call of the model at a time, up to the first that is not whole."""
    group: list[Row] = []
    for end, row in read_lines(path, start):
        if row is None or not _continues(group, row):
            _refuse_if_in_the_middle(path, start, end)
            return
        group.append(row)
        if row["more"] == 0:
            yield end, group
            group = []


def _continues(group: list[Row], row: Row) -> bool:
    whole = isinstance(row.get("key"), str) and isinstance(row.get("logits"), list) and isinstance(row.get("more"), int)
    return whole and (not group or row["more"] == group[-1]["more"] - 1)


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
            f"{path}: line {number} is damaged although later ones are whole; put a sound copy back, or keep the "
            f"first {number - 1} lines (head -n {number - 1}), and what is gone is asked again"
        )
