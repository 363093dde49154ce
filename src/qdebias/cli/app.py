"""The application and its list of commands."""

import inspect
from collections.abc import Callable, Mapping
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
        "check": ("check", "Fail where an image is worse than a limit, for CI and hooks."),
        "filter": ("filter", "Keep the better images: print, copy or move them."),
        "rank": ("rank", "Rank images by asking which of two is better."),
        "frames": ("frames", "Score videos by their frames, several in one prompt."),
        "degrade": ("degrade", "Write the degraded copies that the model is shown."),
    },
    "Evaluate": {
        "evaluate": ("evaluate", "Score a dataset and correlate with human scores."),
        "compare": ("compare", "Compare methods on the same images, with intervals."),
        "bias": ("bias", "Measure the bias that the method mitigates."),
        "fit": ("fit", "Fit scores to labels of your own, from about 50 images on."),
        "calibrate": ("calibrate", "Map scores to the MOS scale of a labelled sample."),
    },
    "Paper": {
        "reproduce": ("reproduce", "Ask what a table or figure of the paper needs."),
        "tables": ("tables", "Print the paper's tables from run folders."),
        "verify": ("verify", "Check published weights of mPLUG-Owl3."),
    },
    "Runs": {
        "status": ("runs", "Say how far a run is."),
        "retry": ("runs", "Try the images that failed again."),
        "export": ("runs", "Compute scores and logits from stored answers."),
        "report": ("report", "Write a run as one HTML page."),
    },
    "Serve": {
        "serve": ("serve", "Serve scores over HTTP, and a page that explains them."),
    },
    "Look up": {
        "models": ("catalogue", "List the models for --model, or print one in full."),
        "methods": ("catalogue", "List the methods for --method, or print one in full."),
        "datasets": ("datasets", "List the datasets, or print one in full."),
        "bench": ("bench", "Measure how fast scoring is on this machine."),
        "doctor": ("doctor", "Say what works on this machine."),
    },
}
"""The help: each command with the module that holds the function of its name, and a line about it."""

CAUTIOUS = ("score", "filter", "check", "evaluate", "rank")
"""The commands that end in a word about the embedded model, where that was used."""

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing about the embedded model.")]

HELP = {"help_option_names": ["-h", "--help"]}


TemplateArgs = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE",
        help="An argument of the model's chat template, such as reasoning_effort=low. Default: enable_thinking=false "
        "where the template has it. May be given several times.",
    ),
]


class Listed(TyperCommand):
    """A line of the help, which imports its command only when that is run or completed.

    Args:
        name: Of the command.
        module: Below `qdebias.cli`; holds a function of this name.
        group: The heading that it stands under.
        summary: What the help says.
    """

    def __init__(self, name: str, module: str, group: str, summary: str) -> None:
        super().__init__(name, short_help=summary, rich_help_panel=group)
        self._module = module

    def make_context(self, info_name: Any, args: Any, parent: Any = None, **extra: Any) -> Any:  # noqa: ANN401
        """Return the context of the command itself."""
        command = indexed(str(self.name)) if extra.get("resilient_parsing") else self.load()
        return command.make_context(info_name, args, parent, **extra)

    def load(self) -> TyperCommand:
        """Import the command."""
        function = getattr(import_module(f"qdebias.cli.{self._module}"), str(self.name))
        return command_of(str(self.name), _checked(str(self.name), function))


class Commands(Completed, TyperGroup):
    """All commands, and `help COMMAND` in the place of `COMMAND --help`."""

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401
        listed = [
            Listed(name, module, group, summary)
            for group, commands in GROUPS.items()
            for name, (module, summary) in commands.items()
        ]
        super().__init__(**attributes | {"commands": listed})

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401
        """Read the options before the command."""
        return super().parse_args(ctx, [*args[1:], "--help"] if args[:1] == ["help"] else args)


def _checked(name: str, command: Callable[..., None]) -> Callable[..., None]:
    """Return the command, which first checks that it does not write over what it reads.

    A command that loads models takes `--template-arg` too, whose values become part of the names of the models; one of
    `CAUTIOUS` ends in a word about the embedded model, but for `--quiet`.
    """

    @wraps(command)
    def run(*, template_arg: "list[str] | None" = None, quiet: bool = True, **options: Any) -> None:  # noqa: ANN401
        from qdebias.backends.load import with_arguments
        from qdebias.cli.console import user_errors
        from qdebias.cli.outputs import check_outputs

        with user_errors():
            check_outputs(options, name)
            if template_arg:
                named = options["model"]
                if not named:
                    raise SettingError("--template-arg is for a model; name it with --model")
                full = [with_arguments(one, template_arg) for one in ([named] if isinstance(named, str) else named)]
                options["model"] = full[0] if isinstance(named, str) else full
        try:
            command(**options)
        except typer.Exit as end:
            if end.exit_code < 2 and not quiet:
                _warn_of(options)
            raise

    signature = inspect.signature(command)
    more: dict[str, tuple[Any, Any]] = (
        {"template_arg": (TemplateArgs, None)} if {"model", "dtype"} <= {*signature.parameters} else {}
    )
    more |= {"quiet": (Quiet, False)} if name in CAUTIOUS else {}
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in more.items()
    ]
    run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), *added])  # type: ignore[attr-defined]
    run.__annotations__ = {**command.__annotations__, **{one.name: one.annotation for one in added}}
    return run


def _warn_of(options: Mapping[str, object]) -> None:
    """Say what the model is that was used, where that is to be said of it."""
    from qdebias.backends.catalogue import caution
    from qdebias.cli.console import say

    words = caution(str(options.get("model")))
    if words and options.get("paths", True):  # without paths `filter` takes scores that are there
        say(words, style="dim")


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

    More about a command: `qdebias help COMMAND`.

    Exit codes: 0 done; 1 done, but some images failed (each is named); 2 nothing could start, told in one line.
    """
