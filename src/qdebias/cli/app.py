"""The command line: its commands, their help and completion from an index, and how a command is run.

`--help` and completion read the index `completion.json`, so that neither imports a command.
"""

import inspect
import json
import os
import signal
import sys
import warnings
from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import partial
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from textwrap import TextWrapper
from types import FrameType
from typing import Annotated, Any, NamedTuple, cast, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup
from typer.models import OptionInfo

import qdebias
from qdebias.errors import QdebiasError

GROUPS = {
    "Score": {
        "score": ("score", "Score images: 0 is the worst, 1 the best."),
        "explain": ("explain", "Draw how a score is computed."),
        "check": ("filter", "Fail if an image is worse than a limit, for CI and hooks."),
        "filter": ("filter", "Keep the better images: print, copy or move them."),
        "burst": ("filter", "Keep the best of each group of similar photographs."),
        "rank": ("score", "Rank images by asking which of two is better."),
        "frames": ("score", "Score videos by their frames, several in one prompt."),
        "degrade": ("explain", "Write the degraded copies that the model sees."),
    },
    "Evaluate": {
        "evaluate": ("evaluate", "Score a dataset and correlate with human scores."),
        "compare": ("evaluate", "Compare methods on the same images, with intervals."),
        "bias": ("paper", "Measure the bias that the method mitigates."),
        "fit": ("evaluate", "Fit scores to your own labels, from about 50 images."),
        "calibrate": ("evaluate", "Map scores to the MOS scale of a labelled sample."),
    },
    "Paper": {
        "reproduce": ("paper", "Reproduce a table or figure of the paper."),
        "tables": ("paper", "Print the paper's tables from run folders."),
        "verify": ("lookup", "Check published weights of mPLUG-Owl3."),
    },
    "Runs": {
        "status": ("runs", "Show the progress of a run."),
        "retry": ("runs", "Retry the images that failed."),
        "export": ("runs", "Compute scores and logits from stored answers."),
        "report": ("runs", "Write a run as one HTML page."),
    },
    "Serve": {
        "serve": ("serve", "Serve scores over HTTP, and a page that explains them."),
    },
    "Look up": {
        "models": ("lookup", "List the models for --model, or print one in full."),
        "methods": ("lookup", "List the methods for --method, or print one in full."),
        "datasets": ("lookup", "List the datasets, or print one in full."),
        "bench": ("bench", "Measure how fast scoring is on this machine."),
        "doctor": ("lookup", "Report what works on this machine."),
    },
}
"""The commands by group: the module below `qdebias.cli` that defines each, and its line in the help."""

COMMANDS = {name: line for commands in GROUPS.values() for name, line in commands.items()}

CAUTIOUS = ("score", "filter", "check", "evaluate", "rank", "burst")
"""The commands that end with a note about the embedded model if they used it."""

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Omit the line about the embedded model.")]

INDEX = "completion.json"
"""Written by `python tools/commands.py` from the commands themselves; a test fails when it is out of date."""

NAMES = ("methods", "models", "datasets", "aspects")
"""Options and arguments with these names (or their singular) are completed, and `NAME` of a command so called."""

CONTEXT = {"help_option_names": ["-h", "--help"]}

_TYPES: dict[str, Any] = {
    str(hint): hint for one in (bool, int, float, str, Path, list[str], list[Path]) for hint in (one, one | None)
}
_SHOWN = ("min", "max", "metavar")  # what the help shows of a parameter besides its name, type, default and text

Parameters = Mapping[str, tuple[Any, Any]]
"""The parameters of a command by name: annotation and default."""


class Stopped(BaseException):
    """The process received the signal in `args`; no command has to catch it."""


class Completion(NamedTuple):
    """One way to complete a word."""

    value: str
    type: str = "plain"
    help: str | None = None


class Helpful:
    """A command or group whose names are completed and whose help keeps lists."""

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401  (typer's own kind of context)
        """Return the parameters."""
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for param in params:
            param.process_value = partial(_value, param)
            if getattr(param, "is_flag", False):
                param.metavar = ""
            kind = ctx.info_name if param.name == "name" else param.name.removesuffix("s") + "s"
            if kind in NAMES:
                param.shell_complete = partial(_completions, kind)
        return params

    def format_help_text(self, _: Any, formatter: Any) -> None:  # noqa: ANN401
        """Write the docstring, each item of a list on lines of its own."""
        for paragraph in inspect.cleandoc(self.help or "").replace("`", "").split("\n\n"):  # type: ignore[attr-defined]
            formatter.write("\n")
            for item in paragraph.split("\n- "):
                mark = "- " if paragraph.startswith("- ") else ""
                text = " ".join(item.removeprefix("- ").split())
                wrap = TextWrapper(formatter.width, f"  {mark}", " " * (2 + len(mark)), break_on_hyphens=False)
                formatter.write(f"{wrap.fill(text)}\n")


class Command(Helpful, TyperCommand):
    """One command."""


class Commands(Helpful, TyperGroup):
    """All commands, each imported only when it runs; `help COMMAND` is `COMMAND --help`."""

    def list_commands(self, _: Any) -> list[str]:  # noqa: ANN401
        """Return the names of all commands."""
        return [*COMMANDS]

    def get_command(self, _: Any, name: str) -> Any:  # noqa: ANN401
        """Return the name and summary of a command for a list of commands, without importing it."""
        return TyperCommand(name, short_help=COMMANDS[name][1]) if name in COMMANDS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401
        """Return the name, the command and its arguments."""
        if args[0] == "help":
            args = [*args[1:], "--help"]
            if len(args) == 1:
                return super().resolve_command(ctx, args)
        name, *rest = args
        if name not in COMMANDS:
            self.commands = {known: self.get_command(ctx, known) for known in COMMANDS}
            return super().resolve_command(ctx, args)  # an error that suggests the most similar of them
        if ctx.resilient_parsing:
            return name, indexed(name, whole=False), rest
        if {"-h", "--help"} & {*rest}:
            indexed(name).make_context(name, [*rest], parent=ctx)  # prints the help and exits, unless it is a value
        return name, command_of(name, *loaded(name)), rest

    def format_commands(self, _: Any, formatter: Any) -> None:  # noqa: ANN401
        """Write the commands of each group."""
        for group, commands in GROUPS.items():
            with formatter.section(group):
                formatter.write_dl([(f"{name:9}", summary) for name, (_, summary) in commands.items()])


def loaded(name: str) -> tuple[Callable[..., None], Parameters]:
    """Import a command; return what runs it, and its parameters with those of each `Shared` object in its place."""
    from qdebias.cli.options import Shared

    command = getattr(import_module(f"qdebias.cli.{COMMANDS[name][0]}"), name)
    hints = get_type_hints(command, include_extras=True)
    shared: dict[str, Shared] = {}
    parameters: dict[str, tuple[Any, Any]] = {}
    for parameter in inspect.signature(command).parameters.values():
        mark = hints[parameter.name].__metadata__[0]
        if isinstance(mark, Shared):
            shared[parameter.name] = mark
            parameters |= mark.options
        else:
            parameters[parameter.name] = hints[parameter.name], parameter.default
    if name in CAUTIOUS:
        parameters["quiet"] = Quiet, False
    run = partial(_run, name, command, shared)
    run.__doc__ = command.__doc__
    return run, parameters


def _run(
    name: str,
    command: Callable[..., None],
    shared: Mapping[str, Any],
    /,
    *,
    template_arg: list[str] | None = None,
    quiet: bool = True,
    **values: Any,  # noqa: ANN401
) -> None:
    """Run a command, with what all have in common: outputs are checked, errors take one line, a note may follow.

    Where it is stopped by a signal, it names the folder from which the same command resumes.
    """
    from qdebias.backends.catalogue import CAUTIONS
    from qdebias.cli.console import say
    from qdebias.cli.options import check_outputs, with_template
    from qdebias.inputs.addresses import unsigned

    folder = values.get("out") if values.get("ray") else values.get("run")
    note = None if quiet or not values.get("paths", True) else CAUTIONS.get(str(values.get("model")))
    try:
        if values.get("out") or values.get("plot") or values.get("sheet"):
            check_outputs(values, name)
        if template_arg:
            values["model"] = with_template(values.get("model"), template_arg)
        for argument, one in shared.items():
            values[argument] = one.make(**{key: values.pop(key) for key in one.options if key in values})
        command(**values)
    except typer.Exit as end:
        if end.exit_code < 2 and note:
            say(note, style="dim")
        raise
    except Stopped:
        if isinstance(folder, str | Path):
            say(f"{unsigned(str(folder))} keeps what was done, and the same command resumes from there")
        raise
    except (QdebiasError, ImportError, MemoryError) as error:
        say(f"error: {_message(error)}", style="bold red")
        raise typer.Exit(2) from error


def _message(error: BaseException) -> str:
    from qdebias.cli.console import one_line

    if isinstance(error, MemoryError):
        return "there is not enough memory; a smaller --batch or --max-side takes less"
    if isinstance(error, ImportError):  # such as a library for which there is not enough memory
        return f"a library cannot be loaded: {one_line(str(error))}"
    return one_line(str(error))


def command_of(name: str, run: Callable[..., None], parameters: Parameters) -> TyperCommand:
    """Return the command that runs a function with these parameters; its docstring is the help."""
    kind = inspect.Parameter.KEYWORD_ONLY
    signature = [
        inspect.Parameter(key, kind, default=default, annotation=hint) for key, (hint, default) in parameters.items()
    ]
    run.__signature__ = inspect.Signature(signature)  # type: ignore[attr-defined]
    run.__annotations__ = {key: hint for key, (hint, _) in parameters.items()}
    alone = typer.Typer(add_completion=False, rich_markup_mode=None, context_settings=CONTEXT)
    alone.command(name, cls=Command)(run)
    return cast(TyperCommand, typer.main.get_command(alone))


def indexed(name: str, *, whole: bool = True) -> TyperCommand:
    """Return a command that does nothing but has the options and the help of another, from the index.

    Without `whole` an option's help is its first sentence, as shells show it.
    """
    entry, parameters = _index()["commands"][name], {}
    for one in entry["parameters"]:
        kind = StrEnum("Choice", one["type"]) if isinstance(one["type"], list) else _TYPES[one["type"]]
        default = one.get("default", inspect.Parameter.empty)
        text = one["help"] if whole else (one["help"] or "").partition(". ")[0].rstrip(".")
        settings = {"help": text, **{shown: one[shown] for shown in _SHOWN if shown in one}}
        info = typer.Option(*one["options"], **settings) if "options" in one else typer.Argument(**settings)
        default = Path(default) if kind is Path and isinstance(default, str) else default
        parameters[one["name"]] = Annotated[kind, info], default

    def nothing(**_: object) -> None: ...

    nothing.__doc__ = entry["help"]
    return command_of(name, nothing, parameters)


def index_of(function: Callable[..., None], parameters: Parameters) -> dict[str, Any]:
    """Return the entry of a command in the index: its help and its parameters."""
    entries = []
    for name, (annotation, default) in parameters.items():
        info, hint = annotation.__metadata__[0], annotation.__origin__
        choices = isinstance(hint, type) and issubclass(hint, StrEnum)
        entry = {"name": name, "help": info.help, "type": list(hint) if choices else str(hint)}
        if isinstance(info, OptionInfo):
            entry["options"] = [text for text in (info.default, *(info.param_decls or ())) if isinstance(text, str)]
        if default is not inspect.Parameter.empty:
            entry["default"] = str(default) if isinstance(default, Path) else default
        shown = {key: getattr(info, key) for key in _SHOWN}
        entries.append(entry | {key: value for key, value in shown.items() if value is not None})
    return {"help": inspect.getdoc(function), "parameters": entries}


def _value(param: Any, ctx: Any, value: Any) -> Any:  # noqa: ANN401
    """Convert a value to its type; skipped where nobody reads it, because typer imports pydantic for that."""
    unread = ctx.resilient_parsing or (value is None and not param.required)
    return value if unread else type(param).process_value(param, ctx, value)


def _completions(kind: str, _: Any, incomplete: str) -> list[Completion]:  # noqa: ANN401
    """Return the names that begin with what was typed; after a plus the parts of a method."""
    head, plus, word = incomplete.rpartition("+")
    known = _index()["names"]["parts" if plus else kind]
    return [Completion(f"{head}{plus}{name}") for name in known if name.startswith(word)]


def _index() -> dict[str, Any]:
    return cast(dict[str, Any], json.loads(files("qdebias.cli").joinpath(INDEX).read_text(encoding="utf-8")))


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings=CONTEXT,
)


@app.callback(invoke_without_command=True)
def root(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """How good does an image look? Image quality assessment with large multimodal models, without training.

    Start with `qdebias score PHOTOS`, then see why with `qdebias explain PHOTO --out why.png`.

    More about a command: `qdebias help COMMAND`.

    Exit codes: 0 done; 1 done, but some images failed (each is named); 2 could not start, with a one-line error.
    """
    if version:
        typer.echo(qdebias.__version__)
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        ctx.fail("Missing command.")


def _stop(number: int, _: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)  # a second signal ends the process at once
    raise Stopped(number)


def main() -> None:
    """Run the command line: results go to stdout, messages to stderr.

    SIGTERM and Ctrl-C unwind what is running, once a call of the model returns. The process then dies of that signal,
    so that shells and supervisors see it (130, 143).
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # else idle threads of torch spin, and starve those that load
    # damaged metadata, many pixels: anything that matters raises an error of its own
    warnings.filterwarnings("ignore", module="PIL")
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # names of files may be no text
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:  # as for jobs in the background of a script
            signal.signal(number, _stop)
    try:
        app(prog_name="qdebias")
    except Stopped as stop:
        from qdebias.cli.console import say

        number = signal.Signals(stop.args[0])
        say(f"stopped by {number.name}")
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
