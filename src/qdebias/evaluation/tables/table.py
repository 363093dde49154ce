"""A table before it is Markdown, CSV, LaTeX or HTML."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from qdebias.errors import SettingError


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A number as it is printed, with three decimals.

    Attributes:
        value: The number.
        low: Lower end of its 95 % interval; None where it has none.
        high: Upper end.
        signed: Whether it is a difference, printed with its sign.
    """

    value: float
    low: float | None = None
    high: float | None = None
    signed: bool = False

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return self.digits(self.value)
        return f"{self.digits(self.value)} [{self.digits(self.low)}, {self.digits(self.high)}]"

    def digits(self, value: float) -> str:
        """Return a value with the decimals and the sign of this number."""
        return f"{value:+.3f}" if self.signed else f"{value:.3f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What stands in one place.

    Attributes:
        content: A text, a number, or None where there is nothing to say.
        notes: Footnotes that belong here, in full.
    """

    content: str | Number | None = None
    notes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The content as it is printed, without its footnote marks."""
        return "-" if self.content is None else str(self.content)


Row: TypeAlias = tuple[Cell, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """The head of a column.

    Attributes:
        name: Its own name.
        group: What it shares with its neighbours, printed above them; empty where it stands alone.
    """

    name: str
    group: str = ""

    @property
    def flat(self) -> str:
        """Group and name in one line."""
        return f"{self.group} {self.name}".strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Columns, rows and notes.

    Attributes:
        title: What the table shows.
        columns: The heads.
        rows: One cell a column.
        notes: What holds for the whole table.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise SettingError(f"{self.title}: each row needs {len(self.columns)} cells")

    @property
    def footnotes(self) -> tuple[str, ...]:
        """The cells' footnotes, each once, in the order in which they are met."""
        return tuple(dict.fromkeys(note for row in self.rows for cell in row for note in cell.notes))

    def marks(self, cell: Cell) -> tuple[int, ...]:
        """Return the numbers of a cell's footnotes, from 1."""
        numbers = {note: number for number, note in enumerate(self.footnotes, start=1)}
        return tuple(numbers[note] for note in cell.notes)


def grouped(columns: Iterable[Column]) -> list[tuple[str, int]]:
    """Return each run of columns of one group as the group's name and the number of columns."""
    runs: list[tuple[str, int]] = []
    for column in columns:
        if runs and runs[-1][0] == column.group and column.group:
            runs[-1] = column.group, runs[-1][1] + 1
        else:
            runs.append((column.group, 1))
    return runs
