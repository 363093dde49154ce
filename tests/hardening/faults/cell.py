"""One cell of the matrix: a fault, a command, what is promised, and what tries it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What was seen; whatever is against the promise raises an AssertionError instead.

    Attributes:
        trials: How often the fault was brought about.
        words: What became of it.
    """

    trials: int
    words: str


Try = Callable[[Path, int], Observed]
"""Brings a fault about, as often as is said, in an empty folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell.

    Attributes:
        fault: What goes wrong.
        command: To whom.
        promised: What is promised; where the cell makes no sense, why.
        attempt: Tries it; None where the cell makes no sense.
        times: How often.
        quick: How often without `--hardening`; 0 leaves the cell out.
    """

    fault: str
    command: str
    promised: str
    attempt: Try | None = None
    times: int = 1
    quick: int = 0

    @property
    def name(self) -> str:
        """What the cell is called."""
        return f"{self.command}, {self.fault}"
