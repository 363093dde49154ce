"""What a shell is told that a word may become, and what `--help` prints, from an index: neither imports a command."""

import inspect
import json
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from importlib.resources import files
from pathlib import Path
from textwrap import TextWrapper
from typing import Annotated, Any, NamedTuple, cast

import typer
from typer.core import TyperCommand
from typer.models import OptionInfo

INDEX = "completion.json"
"""Made by `python tools/commands.py` from the commands themselves; a test says when it is out of date."""

NAMES = ("methods", "models", "datasets", "aspects")
"""What is completed: options and arguments of these names, in the singular too, and `NAME` of a command so called."""

_TYPES: dict[str, Any] = {
    str(hint): hint for one in (bool, int, float, str, Path, list[str], list[Path]) for hint in (one, one | None)
}
_SHOWN = ("min", "max", "metavar")
"""What the help says of a parameter beside its name, type, default and text."""


class Completion(NamedTuple):
    """One word that an incomplete one may become."""

    value: str
    type: str = "plain"
    help: str | None = None


class Completed:
    """Parameters whose values are completed, and help that keeps lists and names no type for a flag."""

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401  (typer's own kind of context)
        """Return the parameters."""
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for param in params:
            param.process_value = partial(_value, param)
            if getattr(param, "is_flag", False):
                param.metavar = ""
            what = ctx.info_name if param.name == "name" else param.name.removesuffix("s") + "s"
            if what in NAMES:
                param.shell_complete = partial(_completions, what)
        return params

    def format_help_text(self, _: Any, formatter: Any) -> None:  # noqa: ANN401
        """Write the docstring, each entry of a list on lines of its own."""
        for paragraph in inspect.cleandoc(self.help or "").replace("`", "").split("\n\n"):  # type: ignore[attr-defined]
            formatter.write("\n")
            for entry in paragraph.split("\n- "):
                mark = "- " if paragraph.startswith("- ") else ""
                text = " ".join(entry.removeprefix("- ").split())
                wrap = TextWrapper(formatter.width, f"  {mark}", " " * (2 + len(mark)), break_on_hyphens=False)
                formatter.write(f"{wrap.fill(text)}\n")


def _value(param: Any, ctx: Any, value: Any) -> Any:  # noqa: ANN401
    """Return a value as its type has it; typer imports pydantic for that, so not what nobody reads or gave."""
    unread = ctx.resilient_parsing or (value is None and not param.required)
    return value if unread else type(param).process_value(param, ctx, value)


def indexed(name: str, *, whole: bool = True) -> TyperCommand:
    """Return a command that does nothing and has the options and the help of `name`.

    Without `whole` an option's help is its first sentence, as shells show it.
    """
    entry, parameters = _index()["commands"][name], []
    for one in entry["parameters"]:
        kind = StrEnum("Choice", one["type"]) if isinstance(one["type"], list) else _TYPES[one["type"]]
        default = one.get("default", inspect.Parameter.empty)
        text = one["help"] if whole else (one["help"] or "").partition(". ")[0].rstrip(".")
        settings = {"help": text, **{shown: one[shown] for shown in _SHOWN if shown in one}}
        info = typer.Option(*one["options"], **settings) if "options" in one else typer.Argument(**settings)
        kept = Path(default) if kind is Path and isinstance(default, str) else default
        parameters.append(
            inspect.Parameter(
                one["name"], inspect.Parameter.KEYWORD_ONLY, default=kept, annotation=Annotated[kind, info]
            )
        )

    def nothing(**_: object) -> None: ...

    nothing.__doc__ = entry["help"]
    nothing.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    nothing.__annotations__ = {one.name: one.annotation for one in parameters}
    return command_of(name, nothing)


def command_of(name: str, function: Any) -> TyperCommand:  # noqa: ANN401  (any signature)
    """Return the command that runs a function."""
    alone = typer.Typer(
        add_completion=False, rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]}
    )
    alone.command(name, cls=Command)(function)
    return cast(TyperCommand, typer.main.get_command(alone))


class Command(Completed, TyperCommand):
    """One command."""


def index_of(function: Callable[..., None]) -> dict[str, Any]:
    """Return the help of a command and its parameters as the index has them."""
    found = []
    for one in inspect.signature(function).parameters.values():
        info = one.annotation.__metadata__[0]
        hint = one.annotation.__origin__
        choices = isinstance(hint, type) and issubclass(hint, StrEnum)
        entry = {"name": one.name, "help": info.help, "type": list(hint) if choices else str(hint)}
        if isinstance(info, OptionInfo):
            entry["options"] = [name for name in (info.default, *(info.param_decls or ())) if isinstance(name, str)]
        if one.default is not one.empty:
            entry["default"] = str(one.default) if isinstance(one.default, Path) else one.default
        shown = {name: getattr(info, name) for name in _SHOWN}
        found.append(entry | {name: value for name, value in shown.items() if value is not None})
    return {"help": inspect.getdoc(function), "parameters": found}


def _completions(what: str, _: Any, incomplete: str) -> list[Completion]:  # noqa: ANN401
    """Return what the beginning of a value may become; after a plus the parts of a method."""
    head, plus, word = incomplete.rpartition("+")
    known = _index()["names"]["parts" if plus else what]
    return [Completion(f"{head}{plus}{name}") for name in known if name.startswith(word)]


def _index() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(files("qdebias.cli").joinpath(INDEX).read_text(encoding="utf-8"))
    return found
