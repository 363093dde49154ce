"""One table object, four forms."""

import csv
from html.parser import HTMLParser
from io import StringIO

import pytest

from qdebias.errors import SettingError
from qdebias.evaluation.table import FORMS, Cell, Column, Number, Table, render

TABLE = Table(
    title="A & B",
    columns=(Column(name="Method"), Column(name="SRCC", group="Set, m_1"), Column(name="PLCC", group="Set, m_1")),
    rows=(
        (
            Cell(content="a|b <i>"),
            Cell(content=Number(value=0.12345, low=0.1, high=0.2), notes=("first",)),
            Cell(content=Number(value=-0.5, signed=True), notes=("second 5 %", "first")),
        ),
        (Cell(content="c"), Cell(), Cell(content="not run", notes=("second 5 %",))),
    ),
    notes=("of all",),
)


def test_markdown() -> None:
    assert render(TABLE, "markdown") == (
        "**A & B**\n"
        "\n"
        "| Method   | Set, m_1 SRCC            | Set, m_1 PLCC  |\n"
        "| -------- | ------------------------ | -------------- |\n"
        "| a\\|b <i> | 0.123 [0.100, 0.200] (1) | -0.500 (2) (1) |\n"
        "| c        | -                        | not run (2)    |\n"
        "\n"
        "- (1) first\n"
        "- (2) second 5 %\n"
        "- of all\n"
    )


def test_csv_has_numbers_in_full_and_intervals_apart() -> None:
    rows = list(csv.DictReader(StringIO(render(TABLE, "csv"))))
    assert rows[0] == {
        "Method": "a|b <i>",
        "Set, m_1 SRCC": "0.12345",
        "Set, m_1 SRCC low": "0.1",
        "Set, m_1 SRCC high": "0.2",
        "Set, m_1 PLCC": "-0.5",
        "notes": "first second 5 %",
    }
    assert rows[1]["Set, m_1 SRCC"] == ""
    assert rows[1]["Set, m_1 PLCC"] == "not run"


def test_latex_escapes_what_latex_reads() -> None:
    text = render(TABLE, "latex")
    assert r"\caption{A \& B}" in text
    assert r" & \multicolumn{2}{c}{Set, m\_1} \\" in text
    assert r"\cmidrule(lr){2-3}" in text
    assert r"0.123 [0.100, 0.200]\textsuperscript{1} & -0.500\textsuperscript{2,1} \\" in text
    assert r"\textsuperscript{2} second 5 \%" in text
    assert text.count("{") == text.count("}")


def test_html_escapes_what_html_reads_and_is_balanced() -> None:
    text = render(TABLE, "html")
    assert "<td>a|b &lt;i&gt;</td>" in text
    assert '<th colspan="2">Set, m_1</th>' in text
    assert "<sup>2,1</sup>" in text
    opened: list[str] = []

    class Balance(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002
            opened.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert opened.pop() == tag

    Balance().feed(text)
    assert opened == []


def test_every_form_has_title_cells_and_footnotes() -> None:
    for form in set(FORMS) - {"csv"}:
        text = render(TABLE, form)
        assert all(part in text for part in ("0.123", "not run", "first", "of all")), form


def test_an_unknown_form_lists_the_known_ones() -> None:
    with pytest.raises(SettingError, match="written as markdown, csv, latex, html, not as 'word'"):
        render(TABLE, "word")


def test_a_row_of_another_length_is_an_error() -> None:
    with pytest.raises(SettingError, match="each row needs 1 cells"):
        Table(title="t", columns=(Column(name="a"),), rows=((Cell(), Cell()),))
