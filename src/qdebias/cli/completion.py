"""What a shell is told that a word may become, from an index, so that completing imports no command and no model."""

import inspect
import json
from collections.abc import Iterator
from functools import partial
from importlib.resources import files
from typing import Annotated, Any, NamedTuple, cast

import typer
from typer.core import TyperCommand

INDEX = "completion.json"
"""Made by `python tools/commands.py` from the commands themselves; a test says when it is out of date."""

NAMES = ("methods", "models", "datasets", "aspects")
"""What is completed: options and arguments of these names, in the singular too, and `NAME` of a command so called."""

_TYPES: dict[str, Any] = {"flag": bool, "one": str | None, "many": list[str] | None}


class Completion(NamedTuple):
    """One word that an incomplete one may become."""

    value: str
    type: str = "plain"
    help: str | None = None


class Completed:
    """Parameters whose values are completed, and help that says no type of an option that takes no value."""

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401  (typer's own kind of context)
        """Return the parameters."""
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for param in params:
            if getattr(param, "is_flag", False):
                param.metavar = ""
            what = ctx.info_name if param.name == "name" else param.name.removesuffix("s") + "s"
            if what in NAMES:
                param.shell_complete = partial(_values, what)
        return params


def indexed(name: str) -> TyperCommand:
    """Return a command with the options of `name`, which only a shell that completes them may ask for."""

    def nothing(**_: object) -> None:
        """Do nothing: while a line is completed no command runs."""

    nothing.__signature__ = inspect.Signature(list(_parameters(name)))  # type: ignore[attr-defined]
    nothing.__annotations__ = {one.name: one.annotation for one in _parameters(name)}
    return command_of(name, nothing)


def command_of(name: str, function: Any) -> TyperCommand:  # noqa: ANN401  (any signature)
    """Return the command that runs a function."""
    alone = typer.Typer(
        add_completion=False, rich_markup_mode="markdown", context_settings={"help_option_names": ["-h", "--help"]}
    )
    alone.command(name, cls=Command)(function)
    return cast(TyperCommand, typer.main.get_command(alone))


class Command(Completed, TyperCommand):
    """One command."""


def index_of(command: TyperCommand) -> list[dict[str, Any]]:
    """Return the parameters of a command as the index has them."""
    found = []
    for param in command.params:
        kind = "flag" if getattr(param, "is_flag", False) else "many" if param.multiple or param.nargs < 0 else "one"
        named = [*param.opts, *param.secondary_opts] if param.param_type_name == "option" else []
        found.append({"name": param.name, "options": named, "kind": kind, "help": _first_sentence(param)})
    return found


def _first_sentence(param: Any) -> str:  # noqa: ANN401  (typer's own kind)
    return str(getattr(param, "help", None) or "").partition(". ")[0].rstrip(".")


def _parameters(name: str) -> Iterator[inspect.Parameter]:
    for one in _index()["commands"][name]:
        said = typer.Option(*one["options"], help=one["help"]) if one["options"] else typer.Argument()
        yield inspect.Parameter(
            one["name"],
            inspect.Parameter.KEYWORD_ONLY,
            default=False if one["kind"] == "flag" else None,
            annotation=Annotated[_TYPES[one["kind"]], said],  # noqa: F821  ("kind" is no name of a type)
        )


def _values(what: str, _: Any, incomplete: str) -> list[Completion]:  # noqa: ANN401
    """Return what a value that was begun may become; behind a plus the parts of a method."""
    head, plus, word = incomplete.rpartition("+")
    known = _index()["names"]["parts" if plus else what]
    return [Completion(f"{head}{plus}{name}") for name in known if name.startswith(word)]


def _index() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(files("qdebias.cli").joinpath(INDEX).read_text(encoding="utf-8"))
    return found
