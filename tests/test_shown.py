"""Tables on stdout: drawn on a terminal, plain in a pipe."""

import re
from io import StringIO

import pytest
import rich.table
from rich.console import Console

from qdebias.backends.catalogue import KNOWN_MODELS
from qdebias.cli import console as shown
from qdebias.cli import paper
from qdebias.cli import score as score_module
from qdebias.cli.console import ENDS, MOST, Summary, show, show_measured, show_text
from qdebias.cli.paper import form_of, write_tables
from qdebias.evaluation.table import Cell, Column, Number, Table, render
from qdebias.runs.records import Record
from test_cli import run

BORDERS = re.compile("[\u2500-\u257f]")

TABLE = Table(
    title="Three methods",
    columns=(Column(name="Method"), Column(name="SRCC", group="LIVE"), Column(name="Images")),
    rows=(
        (Cell(content="paper"), Cell(content=Number(value=0.5, low=0.25, high=0.75)), Cell(content="12")),
        (Cell(content="a longer name"), Cell(content=None, notes=("it was not asked",)), Cell(content="12")),
    ),
    notes=("Of [bold]twelve[/bold] images.",),
)


@pytest.fixture
def terminal(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> StringIO:
    """A terminal so many columns wide, instead of stdout."""
    screen = StringIO()
    drawn = Console(file=screen, force_terminal=True, width=request.param, soft_wrap=True, color_system=None)
    monkeypatch.setattr(shown, "results", drawn)
    monkeypatch.setattr(paper, "results", drawn)
    return screen


@pytest.mark.parametrize("command", ["models", "methods", "datasets"])
def test_a_pipe_gets_columns_without_borders(command: str) -> None:
    got = run(command)
    assert got.returncode == 0
    assert not BORDERS.search(got.stdout)
    assert not re.search(r" $", got.stdout, re.MULTILINE)


def test_no_name_is_broken_in_a_pipe() -> None:
    lines = run("models").stdout.splitlines()
    for model in KNOWN_MODELS:
        assert sum(line.split()[0] == model.name for line in lines) == 1
    assert any("mPLUG/mPLUG-Owl3-7B-240728" in line for line in lines)


@pytest.mark.parametrize("terminal", [28], indirect=True)
def test_a_terminal_gets_a_drawn_table_that_fits(terminal: StringIO) -> None:
    write_tables([TABLE], form_of(None, None), None)
    lines = terminal.getvalue().splitlines()
    assert lines[0].rstrip() == "Three methods"
    drawn = [line for line in lines if BORDERS.search(line)]
    assert max(map(len, drawn)) <= 28
    text = "\n".join(drawn)
    assert re.search(r"paper +│ +0\.500", text)
    assert "- (1)" in text
    assert lines[-2:] == ["(1) it was not asked", "Of [bold]twelve[/bold] images."]


@pytest.mark.parametrize("terminal", [60], indirect=True)
def test_an_interval_stands_below_its_number(terminal: StringIO) -> None:
    show_measured(TABLE)
    assert re.search(r"paper +│ +0\.500 │ 12 *\n +│ \[0\.250, 0\.750\] │", terminal.getvalue())


@pytest.mark.parametrize("terminal", [10], indirect=True)
def test_a_terminal_that_is_too_narrow_gets_markdown(terminal: StringIO, capsys: pytest.CaptureFixture[str]) -> None:
    show_measured(TABLE)
    assert (capsys.readouterr().out, terminal.getvalue()) == (render(TABLE, "markdown"), "")


@pytest.mark.parametrize("terminal", [24], indirect=True)
def test_the_last_columns_are_left_out_where_they_do_not_fit(
    terminal: StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    show_measured(TABLE)
    assert "0.500" in terminal.getvalue()
    assert capsys.readouterr() == ("", f"this terminal is too narrow for: {TABLE.columns[-1].name}\n")


@pytest.mark.parametrize("terminal", [60], indirect=True)
def test_a_form_that_is_named_counts_on_a_terminal_too(terminal: StringIO, capsys: pytest.CaptureFixture[str]) -> None:
    write_tables([TABLE], form_of("csv", None), None)
    assert capsys.readouterr().out == render(TABLE, "csv")
    assert terminal.getvalue() == ""


@pytest.mark.parametrize("terminal", [40], indirect=True)
def test_no_word_is_broken_where_a_column_can_be_left_out(
    terminal: StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    table = rich.table.Table("name", "count", "address")
    table.add_row("mountain", "12", "https://example.org/a/long/address/of/a/page")
    show(table)
    lines = terminal.getvalue().splitlines()
    assert max(map(len, lines)) <= 40
    assert "mountain │ 12" in lines[3]
    assert capsys.readouterr().err == "this terminal is too narrow for: address\n"


def row(number: int, score: float | None) -> Record:
    return Record(path=f"{number}.png", score=score, error=None, model="fake", method="vanilla", seed=0)


@pytest.mark.parametrize("terminal", [80], indirect=True)
@pytest.mark.parametrize(("count", "every"), [(MOST, False), (MOST + 1, False), (MOST + 1, True)])
def test_many_images_end_in_a_summary(
    terminal: StringIO, monkeypatch: pytest.MonkeyPatch, count: int, every: bool
) -> None:
    monkeypatch.setattr(score_module, "results", shown.results)
    rows = [row(number, number / count) for number in range(count)]
    score_module._print_rows(rows, None, Record, json=False, every=every)
    names = {number for number in range(count) if re.search(rf" {number}\.png ", terminal.getvalue())}
    ends = {*range(ENDS), *range(count - ENDS, count)}
    assert names == ({*range(count)} if every or count == MOST else ends)


@pytest.mark.parametrize("terminal", [80], indirect=True)
def test_a_summary_counts_tenths_and_passes_over_failures(
    terminal: StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = Summary()
    for number, score in enumerate((0.0, 0.09, 0.1, 1.0, None)):
        summary.add(row(number, score))
    assert summary.counts == [2, 1, 0, 0, 0, 0, 0, 0, 0, 1]
    summary.show()
    assert re.search(r"0\.9 to 1\.0 +│ +1 │ █+ ", terminal.getvalue())
    assert "qdebias explain 0.png" in capsys.readouterr().err


@pytest.mark.parametrize("terminal", [30], indirect=True)
def test_sentences_break_between_words_on_a_terminal(terminal: StringIO) -> None:
    sentence = "Licence, splits and citation of one: qdebias datasets NAME."
    show_text(sentence)
    lines = terminal.getvalue().splitlines()
    assert len(lines) > 1
    assert max(map(len, lines)) <= 30
    assert " ".join(line.strip() for line in lines) == sentence
