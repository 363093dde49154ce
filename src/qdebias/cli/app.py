"""The application and its list of commands."""

from collections.abc import Callable
from functools import wraps
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import qdebias

HOMES = {
    "score": "score",
    "check": "check",
    "explain": "explain",
    "degrade": "degrade",
    "evaluate": "evaluate",
    "compare": "compare",
    "rank": "rank",
    "filter": "filter",
    "reproduce": "reproduce",
    "tables": "tables",
    "bias": "bias",
    "report": "report",
    "calibrate": "calibrate",
    "status": "runs",
    "retry": "runs",
    "export": "runs",
    "bench": "bench",
    "models": "catalogue",
    "methods": "catalogue",
    "datasets": "datasets",
    "verify": "verify",
    "serve": "serve",
    "doctor": "doctor",
}
"""Each command and the module that holds the function of its name."""

HELP = {"help_option_names": ["-h", "--help"]}


class Commands(TyperGroup):
    """Imports a command when it is asked for: `score` need not wait for what only `tables` uses."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401, ARG002  (typer's own kind of context)
        """Return every command, in the order of the help."""
        return list(HOMES)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401, ARG002
        """Return one command; None where there is none of that name."""
        if cmd_name not in HOMES:
            return None
        module = import_module(f"qdebias.cli.{HOMES[cmd_name]}")
        alone = typer.Typer(add_completion=False, rich_markup_mode="markdown", context_settings=HELP)
        alone.command(cmd_name)(_checked(cmd_name, getattr(module, cmd_name)))
        return typer.main.get_command(alone)


def _checked(name: str, command: Callable[..., None]) -> Callable[..., None]:
    """Return the command, which first checks that it does not write over what it reads."""

    @wraps(command)
    def run(**options: object) -> None:
        from qdebias.cli.console import user_errors
        from qdebias.cli.outputs import check_outputs

        with user_errors():
            check_outputs(options, name)
        command(**options)

    return run


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings=HELP,
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
