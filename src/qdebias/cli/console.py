"""Output of the commands: tables, messages, errors in one line, progress, and a summary of many scores."""

import heapq
import shlex
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from io import StringIO
from typing import TYPE_CHECKING, TypeVar

import rich.table
import typer
from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Column
from rich.text import Text

if TYPE_CHECKING:
    from qdebias.evaluation.table import Table
    from qdebias.runs.records import Record

Item = TypeVar("Item")

MOST, ENDS = 30, 5
"""How many images are shown in full, and of either end of more than that."""

_BINS, _WIDEST = 10, 40
_WIDE = 10_000
"""Columns: more than any line has."""

results = Console(soft_wrap=True, highlight=False)
words = Console(stderr=True, soft_wrap=True, highlight=False)


def say(message: str, *, style: str = "") -> None:
    """Print a message on stderr; square brackets in file names are no markup."""
    words.print(Text(message, style=style))


def say_note(note: str) -> None:
    """Print a note about a run folder."""
    say(one_line(note), style="yellow")


def say_failed(errors: Iterable[str | None]) -> int:
    """Print each error, and return their number."""
    failures = list(filter(None, errors))
    for error in failures:
        say(f"failed: {one_line(error)}", style="red")
    return len(failures)


def put(line: str) -> None:
    """Print a result while others are still computed: on a terminal above the progress bar."""
    if results.is_terminal and words.is_terminal:
        words.print(Text(line))
    else:
        typer.echo(line)


def one_line(message: str) -> str:
    """Return the message with line breaks and other control characters written out."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in message)


def pace(times: Sequence[float], left: int | None, unit: str = "images") -> str:
    """Return the rate from the times at which images were answered, and the time that `left` images take at it."""
    spent = times[-1] - times[0]
    if spent <= 0:
        return ""
    rate = (len(times) - 1) / spent
    words = f"{rate:.2f} {unit}/s"
    return words if left is None else f"{words}, {timedelta(seconds=round(left / rate))} left"


@contextmanager
def progress(*, total: int | None, action: str = "scoring", unit: str = "images") -> Iterator[Callable[..., None]]:
    """Show a progress bar with rate and time left if stderr is a terminal; `total` is None where it is not known.

    It yields a function to call after each answered image with the number of images done, and the total if that is
    known only now. Images that were done before count as done, not as answered.
    """
    if not words.is_terminal:
        yield lambda *_: None
        return
    columns = (
        SpinnerColumn(),
        TextColumn(action),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[pace]}"),
    )
    times = deque([time.monotonic()], maxlen=200)
    with Progress(*columns, console=words, transient=True) as bar:
        task = bar.add_task(action, total=total, pace="")

        def show(count: int, of: int | None = total) -> None:
            times.append(time.monotonic())
            bar.update(task, completed=count, total=of, pace=pace(times, None if of is None else of - count, unit))

        yield show


def track(items: Iterable[Item], *, total: int | None) -> Iterator[Item]:
    """Yield the items under a progress bar."""
    with progress(total=total) as show:
        for count, item in enumerate(items, start=1):
            yield item
            show(count)


def show(table: rich.table.Table) -> None:
    """Print a table; in a pipe or a file without borders, and without breaking lines.

    On a terminal that is too narrow, the last columns are left out and named.
    """
    if results.is_terminal:
        left_out = _leave_out(table)
        table.columns[0].overflow = "fold"
        results.print(table)
        if left_out:
            say(left_out)
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


def _leave_out(table: rich.table.Table) -> str:
    """Remove the last columns of a table that is wider than the terminal, down to two; return a message about them."""
    names: list[str] = []
    while len(table.columns) > 2 and _least_width(table) > results.width:
        names.insert(0, str(table.columns.pop().header))
    return f"this terminal is too narrow for: {', '.join(filter(None, names))}" if any(names) else ""


def _least_width(table: rich.table.Table) -> int:
    return Measurement.get(results, results.options.update(max_width=_WIDE), table).minimum


def show_measured(table: "Table") -> None:
    """Print a table on a terminal, with intervals below their numbers; as Markdown if two columns are too wide.

    If the terminal is too narrow, the last columns are left out and named.
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
    if left_out:
        say(left_out)


@dataclass(slots=True)
class Summary:
    """A histogram of scores by tenths, and the best and worst images; its size does not depend on their number."""

    counts: list[int] = field(default_factory=lambda: [0] * _BINS)
    best: list[tuple[float, str]] = field(default_factory=list)
    worst: list[tuple[float, str]] = field(default_factory=list)

    def add(self, row: "Record") -> None:
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
