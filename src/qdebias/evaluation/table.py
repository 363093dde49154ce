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
        value, *ends = (f"{one:{'+' if self.signed else ''}.3f}" for one in self.ends if one is not None)
        return f"{value} [{', '.join(ends)}]" if ends else value

    @property
    def ends(self) -> tuple[float, float | None, float | None]:
        """The number and the ends of its interval."""
        return self.value, self.low, self.high


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


_LATEX = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "Δ": r"$\Delta$"}
)


def _latex(text: str) -> str:
    return text.translate(_LATEX)


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
    body = [[" ".join([cell.text, *(f"({mark})" for mark in table.marks(cell))]) for cell in row] for row in table.rows]
    cells = [[text.replace("|", "\\|") for text in row] for row in ([column.flat for column in table.columns], *body)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    cells.insert(1, ["-" * width for width in widths])
    lines = [f"**{table.title}**", ""]
    for row in cells:
        lines.append("| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |")
    notes = [f"({number}) {note}" for number, note in enumerate(table.footnotes, start=1)]
    return "\n".join([*lines, "", *(f"- {note}" for note in [*notes, *table.notes])]).rstrip() + "\n"


def to_csv(table: Table) -> str:
    """Return CSV for other programs: numbers in full, the ends of intervals in columns of their own, footnotes last.

    The title and the notes on the whole table are left out: they would not be rows.
    """
    heads = [[column.flat, f"{column.flat} low", f"{column.flat} high"] for column in table.columns]
    body = [list(map(_csv_fields, row)) for row in table.rows]
    widths = [3 if any(row[place][1] for row in body) else 1 for place in range(len(heads))]
    notes = [" ".join(dict.fromkeys(note for cell in row for note in cell.notes)) for row in table.rows]
    lines = [
        [*(field for fields, width in zip(row, widths, strict=True) for field in fields[:width]), note]
        for row, note in zip([heads, *body], ["notes", *notes], strict=True)
    ]
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
    script = r"\textsuperscript{{{}}}"
    body = [" & ".join(_marked(table, cell, _latex(cell.text), script) for cell in row) + r" \\" for row in table.rows]
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
    lines += ["</thead>", "<tbody>"]
    for row in table.rows:
        cells = (_marked(table, cell, html.escape(cell.text), "<sup>{}</sup>") for cell in row)
        lines.append("<tr>" + "".join(f"<td>{text}</td>" for text in cells) + "</tr>")
    lines += ["</tbody>", "</table>"]
    if table.footnotes:
        lines += ["<ol>", *(f"<li>{html.escape(note)}</li>" for note in table.footnotes), "</ol>"]
    lines += [f"<p>{html.escape(note)}</p>" for note in table.notes]
    return "\n".join(lines) + "\n"


def _csv_fields(cell: Cell) -> list[str]:
    """Return a text, or a number and the ends of its interval."""
    if isinstance(cell.content, Number):
        return ["" if value is None else repr(value) for value in cell.content.ends]
    return [cell.content or "", "", ""]


def _marked(table: Table, cell: Cell, text: str, form: str) -> str:
    """Return the text of a cell and, where it has footnotes, their numbers in a form."""
    marks = ",".join(map(str, table.marks(cell)))
    return text + (form.format(marks) if marks else "")


FORMS: Mapping[str, Callable[[Table], str]] = {
    "markdown": to_markdown,
    "csv": to_csv,
    "latex": to_latex,
    "html": to_html,
}
"""What tables can be written as."""
