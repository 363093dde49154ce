"""What many scores amount to, on a terminal: how they are spread, the best and the worst, and what to do next."""

import heapq
import shlex
from dataclasses import dataclass, field

from rich.table import Column, Table
from rich.text import Text

from qdebias.cli.console import one_line, say
from qdebias.cli.shown import show
from qdebias.runs.records import Record

MOST = 30
"""Images that are shown in full."""

ENDS = 5
"""Images that are shown of either end."""

_BINS = 10
_WIDEST = 40


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
        spread = Table("scores", Column("images", justify="right"), Column("", min_width=_WIDEST))
        for place, count in enumerate(self.counts):
            bar = Text("█" * round(_WIDEST * count / max(self.counts)), style="blue")
            spread.add_row(f"{place / _BINS:.1f} to {(place + 1) / _BINS:.1f}", f"{count:,}", bar)
        show(spread)
        for title, found in (("best", self.best), ("worst", self.worst)):
            ends = Table(title, Column("score", justify="right"))
            for score, path in found:
                ends.add_row(Text(one_line(path)), f"{score:.4f}")
            show(ends)
        say(f"--all prints every row. What lowers a score: qdebias explain {shlex.quote(self.worst[0][1])}")
