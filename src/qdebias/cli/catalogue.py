"""`qdebias methods` and `qdebias models`: what there is to choose from."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table

from qdebias.backends.catalogue import KNOWN_MODELS, KnownModel, known_model
from qdebias.backends.checked import CHECKED
from qdebias.cli.console import user_errors
from qdebias.cli.methods_page import counted, every_part, methods_page
from qdebias.cli.shown import show
from qdebias.degrade import DEGRADATIONS
from qdebias.errors import SettingError
from qdebias.image import load_image
from qdebias.methods import presets
from qdebias.methods.cost import cost_of, token_cost
from qdebias.methods.described import described
from qdebias.methods.recipe import Recipe

PAIRS = {True: "yes", False: "not trained on", None: "not said"}
_TOKEN_COLUMNS = ("forwards", "images a prompt", "longest prompt", "tokens", "of images")


def models(
    name: Annotated[str | None, typer.Argument(help="Print all that is known about this model.")] = None,
    tokens: Annotated[
        Path | None,
        typer.Option(
            metavar="IMAGE",
            help="Count the tokens that this image becomes for the model NAME or hf:<folder>, by its processor alone; "
            "nothing is downloaded.",
        ),
    ] = None,
) -> None:
    """List the models that can be named with `--model`, or print one in full."""
    with user_errors():
        if tokens is not None:
            _print_tokens(name, tokens)
            return
        if name is not None:
            _print_model(known_model(name))
            return
    titles = ("GiB", "pairs", "licence", "where it comes from")
    table = Table(Column("model", no_wrap=True), *titles)
    for model in KNOWN_MODELS:
        pairs = "baseline" if model.baseline else PAIRS[model.pairs]
        table.add_row(model.name, _memory(model), pairs, model.licence, model.hub_id or "in the package")
    show(table)
    typer.echo(
        "Pairs: trained on several images in a prompt; a baseline is a measure of pixels to compare models with, by "
        "--method vanilla. GiB and licence: of the weights, in bfloat16. More about one: qdebias models NAME.\n"
        "Any other checkpoint for images and text: hf:<hub id or folder>. Any no-reference metric of the package "
        "pyiqa, where installed, as a baseline: pyiqa:<metric>."
    )


def _memory(model: KnownModel) -> str:
    return "?" if model.gibibytes is None else f"{model.gibibytes:g}"


def _print_model(model: KnownModel) -> None:
    lines = {
        "where it comes from": model.hub_id or "in the package",
        "licence of the weights": model.licence,
        "several images in a prompt": PAIRS[model.pairs],
        "memory in bfloat16": f"{_memory(model)} GiB",
        "a question": model.form,
        "an image": model.pixels,
    }
    if model.name in CHECKED:
        lines["checked"] = CHECKED[model.name]
    typer.echo(f"{model.name}: {model.note}" if model.note else model.name)
    for title, value in lines.items():
        typer.echo(f"  {title}: {value}")


def _print_tokens(model: str | None, path: Path) -> None:
    if model is None:
        raise SettingError("--tokens needs a model: qdebias models NAME --tokens IMAGE, or hf:<folder> as NAME")
    image = load_image(path)
    table = Table("method", *(Column(title, justify="right") for title in _TOKEN_COLUMNS))
    for name in ("vanilla", "paper"):
        cost = token_cost(presets.get(name).method, model, image)
        numbers = (cost.forwards, cost.images, cost.longest, cost.tokens, cost.of_images)
        table.add_row(name, *(f"{number:,}" for number in numbers))
    show(table)
    typer.echo(
        f"{path}: {image.shape[1]} x {image.shape[0]}. Tokens of all forwards of one image, each counted in full; what "
        f"forwards have in common is computed once where the model can share it."
    )


def methods(
    name: Annotated[str | None, typer.Argument(help="Print this method in full, with its questions.")] = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print everything as Markdown, with sources and questions in full.")
    ] = False,
) -> None:
    """List the methods that can be named with `--method`, or print one in full.

    A method can also be put together: a name from the first table and parts from the second, such as
    `paper+levels5+logodds`.
    """
    with user_errors():
        if name is not None:
            _print_method(presets.get(name))
            return
    if markdown:
        typer.echo(methods_page())
        return
    numbers = (Column(title, justify="right") for title in ("forwards", "encodings"))
    table = Table(Column("method", no_wrap=True), *numbers, "what it is")
    for recipe in presets.RECIPES.values():
        table.add_row(recipe.name, *counted(recipe.method), recipe.summary)
    show(table)
    parts = Table(Column("part", no_wrap=True), "decides", "what it does")
    for word, part in every_part():
        parts.add_row(word, part.kind, part.summary)
    show(parts)
    typer.echo(
        f"A CONDITION is {', '.join(DEGRADATIONS)}, with a severity of ImageNet-C from 1 to 5 behind it if wanted."
    )


def _print_method(recipe: Recipe) -> None:
    typer.echo(f"{recipe.name}: {recipe.summary}")
    typer.echo(f"  source: {recipe.source}")
    typer.echo(f"  cost of an image: {cost_of(recipe.method) or 'not known'}")
    if recipe.cut is not None:
        typer.echo(f"  cut of mPLUG-Owl3: {recipe.cut}")
    for line in described(recipe.method):
        typer.echo(f"  {line}")
