"""The application and its list of commands."""

import inspect
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

import qdebias
from qdebias.cli.completion import Completed, command_of, indexed
from qdebias.errors import SettingError

GROUPS = {
    "Score": {
        "score": ("score", "Score images: 0 is the worst, 1 the best."),
        "explain": ("explain", "Draw how a score came about."),
        "check": ("filter", "Fail where an image is worse than a limit, for CI and hooks."),
        "filter": ("filter", "Keep the better images: print, copy or move them."),
        "burst": ("filter", "Keep the best of each group of similar photographs."),
        "rank": ("rank", "Rank images by asking which of two is better."),
        "frames": ("score", "Score videos by their frames, several in one prompt."),
        "degrade": ("explain", "Write the degraded copies that the model is shown."),
    },
    "Evaluate": {
        "evaluate": ("evaluate", "Score a dataset and correlate with human scores."),
        "compare": ("compare", "Compare methods on the same images, with intervals."),
        "bias": ("paper", "Measure the bias that the method mitigates."),
        "fit": ("evaluate", "Fit scores to your own labels, from about 50 images."),
        "calibrate": ("evaluate", "Map scores to the MOS scale of a labelled sample."),
    },
    "Paper": {
        "reproduce": ("paper", "Ask what a table or figure of the paper needs."),
        "tables": ("paper", "Print the paper's tables from run folders."),
        "verify": ("doctor", "Check published weights of mPLUG-Owl3."),
    },
    "Runs": {
        "status": ("runs", "Say how far a run is."),
        "retry": ("runs", "Try the images that failed again."),
        "export": ("runs", "Compute scores and logits from stored answers."),
        "report": ("runs", "Write a run as one HTML page."),
    },
    "Serve": {
        "serve": ("serve", "Serve scores over HTTP, and a page that explains them."),
    },
    "Look up": {
        "models": ("catalogue", "List the models for --model, or print one in full."),
        "methods": ("catalogue", "List the methods for --method, or print one in full."),
        "datasets": ("catalogue", "List the datasets, or print one in full."),
        "bench": ("bench", "Measure how fast scoring is on this machine."),
        "doctor": ("doctor", "Report what works on this machine."),
    },
}
"""The help: each command with the module that holds the function of its name, and a line about it."""

CAUTIOUS = ("score", "filter", "check", "evaluate", "rank", "burst")
"""The commands that end in a word about the embedded model, where that was used."""

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Omit the line about the embedded model.")]


class Listed(TyperCommand):
    """A line of the help: `module`, below `qdebias.cli`, is imported only when its function `name` is run."""

    def __init__(self, name: str, module: str, summary: str) -> None:
        super().__init__(name, short_help=summary)
        self._module = module

    def make_context(self, info_name: Any, args: Any, parent: Any = None, **extra: Any) -> Any:  # noqa: ANN401
        """Return the context of the command itself; its help ends the program without importing it."""
        name = str(self.name)
        if extra.get("resilient_parsing"):
            return indexed(name, whole=False).make_context(info_name, args, parent, **extra)
        if {"-h", "--help"} & {*args}:
            indexed(name).make_context(info_name, [*args], parent, **extra)
        return command_of(name, self.function()).make_context(info_name, args, parent, **extra)

    def function(self) -> Callable[..., None]:
        """Import the command, and return what it runs."""
        name = str(self.name)
        return _checked(name, getattr(import_module(f"qdebias.cli.{self._module}"), name))


class Commands(Completed, TyperGroup):
    """All commands, and `help COMMAND` instead of `COMMAND --help`."""

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401
        listed = [Listed(name, *line) for commands in GROUPS.values() for name, line in commands.items()]
        super().__init__(**attributes | {"commands": listed})

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401
        """Read the options before the command."""
        return super().parse_args(ctx, [*args[1:], "--help"] if args[:1] == ["help"] else args)

    def format_commands(self, _: Any, formatter: Any) -> None:  # noqa: ANN401
        """Write the commands of each group."""
        for group, commands in GROUPS.items():
            with formatter.section(group):
                formatter.write_dl([(f"{name:9}", summary) for name, (_, summary) in commands.items()])


def _checked(name: str, command: Callable[..., None]) -> Callable[..., None]:
    """Return the command with the options of its shared objects, which first checks that it overwrites no input.

    Values of `--template-arg` become part of the names of the models. One of `CAUTIOUS` ends in a word about the
    embedded model, but for `--quiet`.
    """
    from qdebias.backends.catalogue import caution
    from qdebias.backends.load import with_arguments
    from qdebias.cli.console import say, user_errors
    from qdebias.cli.options import expanded
    from qdebias.cli.outputs import check_outputs

    parameters, joined = expanded(command)

    @wraps(command)
    def run(*, template_arg: "list[str] | None" = None, quiet: bool = True, **values: Any) -> None:  # noqa: ANN401
        with user_errors():
            check_outputs(values, name)
            if template_arg:
                models = values.get("model")
                if not models:
                    raise SettingError("--template-arg is for a model; name it with --model")
                named = [with_arguments(one, template_arg) for one in ([models] if isinstance(models, str) else models)]
                values["model"] = named[0] if isinstance(models, str) else named
            words = None if quiet else caution(str(values.get("model")))
            asked = values.get("paths", True)  # without paths `filter` takes scores that are there
            try:
                command(**joined(values))
            except typer.Exit as end:
                if end.exit_code < 2 and words and asked:
                    say(words, style="dim")
                raise

    if name in CAUTIOUS:
        parameters.append(inspect.Parameter("quiet", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Quiet))
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    return run


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
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

    More about a command: `qdebias help COMMAND`.

    Exit codes: 0 done; 1 done, but some images failed (each is named); 2 nothing could start, with a one-line error.
    """
