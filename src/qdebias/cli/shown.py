"""Tables on stdout, with borders on a terminal and as plain columns in a pipe; and a summary of many scores."""

import heapq
import shlex
from dataclasses import dataclass, field
from io import StringIO
from typing import TYPE_CHECKING

import rich.table
import typer
from rich.console import Console
from rich.measure import Measurement
from rich.table import Column
from rich.text import Text

from qdebias.cli.console import one_line, results, say
from qdebias.runs.records import Record

if TYPE_CHECKING:
    from qdebias.evaluation.table import Table

MOST = 30
"""Images that are shown in full."""

ENDS = 5
"""Images that are shown of either end."""

_BINS = 10
_WIDEST = 40

_WIDE = 10_000
"""Columns: more than any line has."""


def show(table: rich.table.Table) -> None:
    """Print a table; in a pipe or a file without borders, and no line is broken to fit anything.

    On a terminal that is too narrow for its words the last columns are left out, and said to be.
    """
    if results.is_terminal:
        left_out = _leave_out(table)
        table.columns[0].overflow = "fold"
        results.print(table)
        _say_too_narrow(left_out)
        return
    table.box, table.pad_edge, table.padding = None, False, (0, 2, 0, 0)
    page = StringIO()
    Console(file=page, width=_WIDE, highlight=False).print(table)
    for line in page.getvalue().splitlines():
        typer.echo(line.rstrip())


def show_text(text: str) -> None:
    """Print sentences: on a terminal broken between words, else as they are."""
    if results.is_terminal:
        results.print(Text(text), soft_wrap=False)
    else:
        typer.echo(text)


def _leave_out(table: rich.table.Table) -> list[str]:
    """Take the last columns from a table that is wider than the terminal, down to two, and return their names."""
    names: list[str] = []
    while len(table.columns) > 2 and _least_width(table) > results.width:
        names.insert(0, str(table.columns.pop().header))
    return list(filter(None, names))


def _say_too_narrow(names: list[str]) -> None:
    if names:
        say(f"this terminal is too narrow for: {', '.join(names)}")


def _least_width(table: rich.table.Table) -> int:
    return Measurement.get(results, results.options.update(max_width=_WIDE), table).minimum


def show_measured(table: "Table") -> None:
    """Print a table on a terminal, with intervals below their numbers; as Markdown where two columns are too wide.

    Where the terminal is too narrow the last columns are left out, and named.
    """
    from qdebias.evaluation.table import Number, render

    drawn = rich.table.Table(
        title=Text(table.title), title_justify="left", show_lines=True, show_edge=False, pad_edge=False
    )
    for column, *cells in zip(table.columns, *table.rows, strict=True):
        numbers = any(isinstance(cell.content, Number) for cell in cells)
        head = f"{column.group}\n{column.name}" if column.group else column.name
        least = max(len(word) for text in (head, *(cell.text for cell in cells)) for word in text.split())
        drawn.add_column(Text(head), justify="right" if numbers else "left", min_width=least)
    for row in table.rows:
        texts = []
        for cell in row:
            number, _, interval = cell.text.partition(" [") if isinstance(cell.content, Number) else (cell.text, "", "")
            text = Text(number + "".join(f" ({mark})" for mark in table.marks(cell)))
            texts.append(text.append(f"\n[{interval}" if interval else "", style="dim"))
        drawn.add_row(*texts)
    left_out = _leave_out(drawn)
    if _least_width(drawn) > results.width:
        typer.echo(render(table, "markdown"), nl=False)
        return
    results.print(drawn)
    for place, note in enumerate(table.footnotes, start=1):
        results.print(Text(f"({place}) {note}"))
    for note in table.notes:
        results.print(Text(note, style="dim"))
    _say_too_narrow(left_out)


@dataclass(slots=True)
class Summary:
    """A count of scores by tenths, and those at both ends; it does not grow with the number of images."""

    counts: list[int] = field(default_factory=lambda: [0] * _BINS)
    best: list[tuple[float, str]] = field(default_factory=list)
    worst: list[tuple[float, str]] = field(default_factory=list)

    def add(self, row: Record) -> None:
        """Take a row into account; one without a score changes nothing."""
        if row.score is None:
            return
        self.counts[min(_BINS - 1, int(_BINS * row.score))] += 1
        self.best = heapq.nlargest(ENDS, [*self.best, (row.score, row.path)])
        self.worst = heapq.nsmallest(ENDS, [*self.worst, (row.score, row.path)])

    def show(self) -> None:
        """Print it."""
        if not self.best:
            return
        spread = rich.table.Table("scores", Column("images", justify="right"), Column("", min_width=_WIDEST))
        for place, count in enumerate(self.counts):
            bar = Text("█" * round(_WIDEST * count / max(self.counts)), style="blue")
            spread.add_row(f"{place / _BINS:.1f} to {(place + 1) / _BINS:.1f}", f"{count:,}", bar)
        show(spread)
        for title, found in (("best", self.best), ("worst", self.worst)):
            ends = rich.table.Table(title, Column("score", justify="right"))
            for score, path in found:
                ends.add_row(Text(one_line(path)), f"{score:.4f}")
            show(ends)
        say(f"--all prints every row. What lowers a score: qdebias explain {shlex.quote(self.worst[0][1])}")
