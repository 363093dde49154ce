"""`qdebias methods` and `qdebias models`: what there is to choose from."""

from dataclasses import fields, is_dataclass
from typing import Annotated

import typer
from rich.table import Column, Table

from qdebias import presets
from qdebias.backends.catalogue import KNOWN_MODELS
from qdebias.cli.console import results, user_errors
from qdebias.prompts import Question


def models() -> None:
    """List the models that can be named with `--model`."""
    table = Table(
        Column("model", no_wrap=True), "where it comes from", "pairs", "GiB", "licence of the weights", "note"
    )
    for model in KNOWN_MODELS:
        pairs = "yes" if model.pairs else "not trained on"
        table.add_row(
            model.name, model.hub_id or "in the package", pairs, f"{model.gibibytes:g}", model.licence, model.note
        )
    results.print(table)
    typer.echo("Any other checkpoint for images and text: hf:<hub id or folder>. Memory is that of bfloat16 weights.")


def methods(
    name: Annotated[str | None, typer.Argument(help="Print this method in full, with its questions.")] = None,
) -> None:
    """List the methods that can be named with `--method`, or print one in full."""
    with user_errors():
        if name is not None:
            recipe = presets.get(name)
            typer.echo(f"{recipe.name}: {recipe.summary}\n{_describe(recipe.method)}")
            return
    table = Table(Column("method", no_wrap=True), "what it is")
    for recipe in presets.RECIPES.values():
        table.add_row(recipe.name, recipe.summary)
    results.print(table)


def _describe(method: object) -> str:
    """Return one indented line a field of the method, questions in full."""
    if not is_dataclass(method):
        return f"  {method!r}"
    lines: list[str] = []
    for field in fields(method):
        lines += _describe_value(field.name, getattr(method, field.name))
    return "\n".join(f"  {line}" for line in lines)


def _describe_value(name: str, value: object) -> list[str]:
    if isinstance(value, Question):
        return [
            f"{name}:",
            f"  user: {value.text}",
            f"  assistant: {value.answer_prefix}[{' | '.join(map(repr, value.options))}]",
            f"  values: {', '.join(map(str, value.values))}",
        ]
    if isinstance(value, tuple):
        return [f"{name}:", *(f"  {item}" for item in value)]
    if callable(value) and hasattr(value, "__name__"):
        return [f"{name}: {value.__name__}"]
    return [f"{name}: {value}"]
