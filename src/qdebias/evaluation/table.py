"""A table before it is Markdown, CSV, LaTeX or HTML."""

import csv
import html
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import StringIO
from itertools import groupby

from qdebias.errors import SettingError


@dataclass(frozen=True, slots=True)
class Number:
    """A number with its 95 % interval, if any; printed with three decimals, and with its sign if it is a difference."""

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


@dataclass(frozen=True, slots=True)
class Cell:
    """A text, a number, or None for an empty cell; with its footnotes in full."""

    content: str | Number | None = None
    notes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The content as it is printed, without its footnote marks."""
        return "-" if self.content is None else str(self.content)


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """SRCC and PLCC over `count` images, or the difference of two such; None where they are not known.

    `notes` are footnotes on them, or the reason why there are none.
    """

    srcc: Number | None = None
    plcc: Number | None = None
    count: int = 0
    notes: tuple[str, ...] = ()

    @property
    def cells(self) -> tuple[Cell, Cell]:
        """SRCC and PLCC as cells of a table."""
        if self.srcc is None:
            return (Cell("not run" if self.notes else None, self.notes),) * 2
        return Cell(self.srcc, self.notes), Cell(self.plcc, self.notes)


@dataclass(frozen=True, slots=True)
class Column:
    """The heading of a column, and the heading of the group of columns that it belongs to."""

    name: str
    group: str = ""

    @property
    def flat(self) -> str:
        """Group and name in one line."""
        return f"{self.group} {self.name}".strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Columns, rows of one cell a column, and notes on the whole table."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise SettingError(f"{self.title}: each row needs {len(self.columns)} cells")

    @property
    def footnotes(self) -> tuple[str, ...]:
        """The cells' footnotes, each once, in the order of the cells."""
        return tuple(dict.fromkeys(note for row in self.rows for cell in row for note in cell.notes))

    def marks(self, cell: Cell) -> tuple[int, ...]:
        """Return the numbers of a cell's footnotes, from 1."""
        return tuple(self.footnotes.index(note) + 1 for note in cell.notes)

    def groups(self) -> list[tuple[str, int]]:
        """Return each group of columns and how many it has; columns without a group stand alone."""
        runs = groupby(enumerate(self.columns), lambda one: one[1].group or one[0])
        return [(group if isinstance(group, str) else "", len(list(columns))) for group, columns in runs]


def render(table: Table, form: str) -> str:
    """Return the table as text of one of `FORMS`, with a line break at its end."""
    if form not in FORMS:
        raise SettingError(f"tables are written as {', '.join(FORMS)}, not as {form!r}")
    return FORMS[form](table)


def _markdown(table: Table) -> str:
    cells = [[column.flat for column in table.columns]]
    cells += [
        [" ".join([cell.text, *(f"({mark})" for mark in table.marks(cell))]) for cell in row] for row in table.rows
    ]
    cells = [[text.replace("|", "\\|") for text in row] for row in cells]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    cells.insert(1, ["-" * width for width in widths])
    lines = [f"**{table.title}**", ""]
    for row in cells:
        lines.append("| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |")
    notes = [f"({number}) {note}" for number, note in enumerate(table.footnotes, start=1)]
    return "\n".join([*lines, "", *(f"- {note}" for note in [*notes, *table.notes])]).rstrip() + "\n"


def _csv(table: Table) -> str:
    """Return numbers in full, the ends of intervals in columns of their own, and the footnotes in the last column.

    The title and the notes on the whole table are left out: they would not be rows.
    """
    lines: list[list[str]] = [[] for _ in range(1 + len(table.rows))]
    for column, *cells in zip(table.columns, *table.rows, strict=True):
        fields = [[column.flat, f"{column.flat} low", f"{column.flat} high"]]
        for cell in cells:
            ends = cell.content.ends if isinstance(cell.content, Number) else None
            fields.append(
                [cell.content or "", "", ""] if ends is None else ["" if end is None else repr(end) for end in ends]
            )
        width = 3 if any(low for _, low, _ in fields[1:]) else 1
        for line, field in zip(lines, fields, strict=True):
            line += field[:width]
    lines[0].append("notes")
    for line, row in zip(lines[1:], table.rows, strict=True):
        line.append(" ".join(dict.fromkeys(note for cell in row for note in cell.notes)))
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()


_LATEX = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "Δ": r"$\Delta$"}
)


def _latex(table: Table) -> str:
    """Return a table for the package booktabs, with the notes below it."""
    rules, heads, place = [], [], 1
    for group, count in table.groups():
        heads.append(rf"\multicolumn{{{count}}}{{c}}{{{group.translate(_LATEX)}}}" if group else "")
        if group:
            rules.append(rf"\cmidrule(lr){{{place}-{place + count - 1}}}")
        place += count
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{table.title.translate(_LATEX)}}}"]
    lines += [rf"\begin{{tabular}}{{{'l' * len(table.columns)}}}", r"\toprule"]
    lines += [" & ".join(heads) + r" \\", "".join(rules)] if rules else []
    lines += [" & ".join(column.name.translate(_LATEX) for column in table.columns) + r" \\", r"\midrule"]
    for row in table.rows:
        cells = (_marked(table, cell, cell.text.translate(_LATEX), r"\textsuperscript{{{}}}") for cell in row)
        lines.append(" & ".join(cells) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    for number, note in enumerate(table.footnotes, start=1):
        lines.append(rf"\par\footnotesize \textsuperscript{{{number}}} {note.translate(_LATEX)}")
    lines += [rf"\par\footnotesize {note.translate(_LATEX)}" for note in table.notes]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def _html(table: Table) -> str:
    """Return a table with its notes, to be put into a page."""
    lines = ["<table>", f"<caption>{html.escape(table.title)}</caption>", "<thead>"]
    if any(column.group for column in table.columns):
        heads = (f'<th colspan="{count}">{html.escape(group)}</th>' for group, count in table.groups())
        lines.append(f"<tr>{''.join(heads)}</tr>")
    lines.append("<tr>" + "".join(f"<th>{html.escape(column.name)}</th>" for column in table.columns) + "</tr>")
    lines += ["</thead>", "<tbody>"]
    for row in table.rows:
        cells = (_marked(table, cell, html.escape(cell.text), "<sup>{}</sup>") for cell in row)
        lines.append("<tr>" + "".join(f"<td>{text}</td>" for text in cells) + "</tr>")
    lines += ["</tbody>", "</table>"]
    if table.footnotes:
        lines += ["<ol>", *(f"<li>{html.escape(note)}</li>" for note in table.footnotes), "</ol>"]
    return "\n".join([*lines, *(f"<p>{html.escape(note)}</p>" for note in table.notes)]) + "\n"


def _marked(table: Table, cell: Cell, text: str, form: str) -> str:
    """Return the text of a cell and, where it has footnotes, their numbers in a form."""
    return text + (form.format(",".join(map(str, table.marks(cell)))) if cell.notes else "")


FORMS: Mapping[str, Callable[[Table], str]] = {"markdown": _markdown, "csv": _csv, "latex": _latex, "html": _html}
