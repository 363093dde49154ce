"""A table as Markdown, CSV, LaTeX or HTML.

No library is used: those that write all four forms either need pandas, or know neither grouped heads nor footnotes.
"""

import csv
import html
from collections.abc import Callable, Mapping
from io import StringIO

from qdebias.errors import SettingError
from qdebias.evaluation.tables.table import Cell, Number, Row, Table, grouped

_LATEX = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "Δ": r"$\Delta$",
}


def render(table: Table, form: str) -> str:
    """Return the table as text of a form, with a line break at its end.

    Args:
        table: What to print.
        form: One of `FORMS`.

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


def _html_row(table: Table, row: Row) -> str:
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
