"""The application and its list of commands."""

from typing import Annotated

import typer

import qdebias
from qdebias.cli.bench import bench
from qdebias.cli.bias import bias
from qdebias.cli.calibrate import calibrate
from qdebias.cli.catalogue import methods, models
from qdebias.cli.degrade import degrade
from qdebias.cli.doctor import doctor
from qdebias.cli.evaluate import evaluate
from qdebias.cli.explain import explain
from qdebias.cli.reproduce import reproduce
from qdebias.cli.runs import export, retry, status
from qdebias.cli.score import score
from qdebias.cli.tables import tables
from qdebias.cli.verify import verify

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(qdebias.__version__)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """How good does an image look? Image quality assessment with large multimodal models, without training.

    Start with `qdebias score PHOTOS`, then see why with `qdebias explain PHOTO --out why.png`.

    Exit codes: 0 done; 1 done, but some images failed (each is named); 2 nothing could start, told in one line.
    """


app.command()(score)
app.command()(explain)
app.command()(degrade)
app.command()(evaluate)
app.command()(reproduce)
app.command()(tables)
app.command()(bias)
app.command()(calibrate)
app.command()(status)
app.command()(retry)
app.command()(export)
app.command()(bench)
app.command()(models)
app.command()(methods)
app.command()(verify)
app.command()(doctor)
