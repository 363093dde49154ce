"""A table before it is Markdown, CSV, LaTeX or HTML."""

import csv
import html
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from io import StringIO
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


NOTHING = Cell()
Cells: TypeAlias = tuple[Cell, ...]


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
    rows: tuple[Cells, ...]
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


_LATEX = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "Δ": r"$\Delta$",
}


def render(table: Table, form: str) -> str:
    """Return the table as text of a form, with a line break at its end.

    Raises:
        SettingError: There is no such form.
    """
    if form not in FORMS:
        raise SettingError(f"tables are written as {', '.join(FORMS)}, not as {form!r}")
    return FORMS[form](table)


def to_markdown(table: Table) -> str:
    """Return a Markdown table whose columns are lined up; footnotes are numbered in brackets below it."""
    head = [_pipes(column.flat) for column in table.columns]
    body = [[_pipes(_marked(table, cell, "({})")) for cell in row] for row in table.rows]
    widths = [max(len(line[place]) for line in [head, *body]) for place in range(len(head))]
    lines = [f"**{table.title}**", "", _line(head, widths), _line(["-" * width for width in widths], widths)]
    lines += [_line(row, widths) for row in body]
    notes = [f"({number}) {note}" for number, note in enumerate(table.footnotes, start=1)]
    return "\n".join([*lines, "", *(f"- {note}" for note in [*notes, *table.notes])]).rstrip() + "\n"


def to_csv(table: Table) -> str:
    """Return CSV for other programs: numbers in full, the ends of intervals in columns of their own, footnotes last.

    The title and the notes on the whole table are left out: they would not be rows.
    """
    spread = [any(_has_interval(row[place]) for row in table.rows) for place in range(len(table.columns))]
    heads: list[str] = []
    for column, wide in zip(table.columns, spread, strict=True):
        heads += [column.flat, f"{column.flat} low", f"{column.flat} high"] if wide else [column.flat]
    lines = [[*heads, "notes"]]
    for row in table.rows:
        cells = [field for cell, wide in zip(row, spread, strict=True) for field in _csv_fields(cell, wide=wide)]
        lines.append([*cells, " ".join(dict.fromkeys(note for cell in row for note in cell.notes))])
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()


def to_latex(table: Table) -> str:
    """Return a LaTeX table for the package booktabs, with the notes below it."""
    rules, heads, place = [], [], 1
    for group, count in grouped(table.columns):
        heads.append(rf"\multicolumn{{{count}}}{{c}}{{{_latex(group)}}}" if group else "")
        if group:
            rules.append(rf"\cmidrule(lr){{{place}-{place + count - 1}}}")
        place += count
    head = [*([" & ".join(heads) + r" \\", "".join(rules)] if rules else [])]
    head.append(" & ".join(_latex(column.name) for column in table.columns) + r" \\")
    body = [" & ".join(_latex_cell(table, cell) for cell in row) + r" \\" for row in table.rows]
    notes = [rf"\textsuperscript{{{number}}} {_latex(note)}" for number, note in enumerate(table.footnotes, start=1)]
    below = [rf"\par\footnotesize {note}" for note in [*notes, *map(_latex, table.notes)]]
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{_latex(table.title)}}}"]
    lines += [rf"\begin{{tabular}}{{{'l' * len(table.columns)}}}", r"\toprule", *head, r"\midrule", *body]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", *below, r"\end{table}"]) + "\n"


def to_html(table: Table) -> str:
    """Return an HTML table with its notes, to be put into a page."""
    lines = ["<table>", f"<caption>{html.escape(table.title)}</caption>", "<thead>"]
    groups = grouped(table.columns)
    if any(group for group, _ in groups):
        heads = "".join(f'<th colspan="{count}">{html.escape(group)}</th>' for group, count in groups)
        lines.append(f"<tr>{heads}</tr>")
    lines.append("<tr>" + "".join(f"<th>{html.escape(column.name)}</th>" for column in table.columns) + "</tr>")
    lines += ["</thead>", "<tbody>", *(_html_row(table, row) for row in table.rows), "</tbody>", "</table>"]
    if table.footnotes:
        lines += ["<ol>", *(f"<li>{html.escape(note)}</li>" for note in table.footnotes), "</ol>"]
    lines += [f"<p>{html.escape(note)}</p>" for note in table.notes]
    return "\n".join(lines) + "\n"


def _marked(table: Table, cell: Cell, form: str) -> str:
    return " ".join([cell.text, *(form.format(mark) for mark in table.marks(cell))])


def _pipes(text: str) -> str:
    return text.replace("|", "\\|")


def _line(cells: list[str], widths: list[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"


def _has_interval(cell: Cell) -> bool:
    return isinstance(cell.content, Number) and cell.content.low is not None


def _csv_fields(cell: Cell, *, wide: bool) -> list[str]:
    if isinstance(cell.content, Number):
        number = cell.content
        values = [number.value, number.low, number.high] if wide else [number.value]
        return ["" if value is None else repr(value) for value in values]
    return [cell.content or "", *([""] * 2 if wide else [])]


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


def _latex_cell(table: Table, cell: Cell) -> str:
    marks = ",".join(map(str, table.marks(cell)))
    return _latex(cell.text) + (rf"\textsuperscript{{{marks}}}" if marks else "")


def _html_row(table: Table, row: Cells) -> str:
    cells = []
    for cell in row:
        marks = ",".join(map(str, table.marks(cell)))
        cells.append(f"<td>{html.escape(cell.text)}{f'<sup>{marks}</sup>' if marks else ''}</td>")
    return f"<tr>{''.join(cells)}</tr>"


FORMS: Mapping[str, Callable[[Table], str]] = {
    "markdown": to_markdown,
    "csv": to_csv,
    "latex": to_latex,
    "html": to_html,
}
"""What tables can be written as."""
