"""`qdebias datasets`: the datasets that are known by name, and where to get them."""

from collections.abc import Iterator, Sequence
from typing import Annotated

import typer
from rich.table import Column, Table

from qdebias.cli.console import user_errors
from qdebias.cli.shown import show
from qdebias.inputs.datasets.dataset import CATALOGUE, Entry, entry


def datasets(
    name: Annotated[str | None, typer.Argument(help="Print all that is known about this dataset.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")] = False,
) -> None:
    """List the datasets that can be named to `evaluate`, `compare`, `reproduce` and others, or print one in full."""
    with user_errors():
        if name is not None:
            _print_dataset(entry(name))
            return
    if markdown:
        typer.echo(datasets_page())
        return
    table = Table(Column("dataset", no_wrap=True), "title", Column("images", justify="right"), "where to get it")
    for row in _rows():
        table.add_row(*row)
    show(table)
    typer.echo(
        "Licence, splits and citation of one: qdebias datasets NAME. A label file of one's own can stand instead."
    )


def datasets_page() -> str:
    """Return the table as Markdown."""
    rows = (("dataset", "title", "images", "where to get it"), ("---", "---", "---:", "---"))
    named = ((f"`{name}`", *others) for name, *others in _rows())
    return "\n".join(f"| {' | '.join(row)} |" for row in (*rows, *named))


def _rows() -> Iterator[Sequence[str]]:
    for one in CATALOGUE.values():
        yield one.name, one.title, _count(one), one.source


def _count(one: Entry) -> str:
    return "not known" if one.count is None else f"{one.count:,}"


def _print_dataset(one: Entry) -> None:
    lines = {
        "images with a score": _count(one),
        "splits and subsets": ", ".join(f"{part} ({count:,})" for part, count in one.parts.items()),
        "better are": f"{one.direction} scores",
        "where to get it": one.source,
        "licence": one.licence,
        "labels that are read": "; ".join(dict.fromkeys(labels.variant for labels in one.labels)),
        "citation": one.citation,
        "note": " ".join(one.notes),
    }
    typer.echo(f"{one.name}: {one.title}")
    for title, value in lines.items():
        if value:
            typer.echo(f"  {title}: {value}")
