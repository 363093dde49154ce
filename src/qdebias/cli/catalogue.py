"""`qdebias methods`, `models` and `datasets`: what there is to choose from."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table

from qdebias.backends.catalogue import KNOWN_MODELS, KnownModel, known_model
from qdebias.cli.console import show, show_text
from qdebias.degrade import DEGRADATIONS
from qdebias.errors import SettingError
from qdebias.image import load_image
from qdebias.inputs.datasets.dataset import CATALOGUE, Entry, entry
from qdebias.methods import presets
from qdebias.methods.describe import setting_lines
from qdebias.methods.method import Method
from qdebias.methods.outline import cost_of, outline_of, token_cost
from qdebias.methods.parts import CONDITIONS, NUMBERED, PARTS, Part
from qdebias.prompts import Question, TopQuestion

_PAIRS = {True: "yes", False: "not trained on", None: "not said"}


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
    if tokens is not None:
        _print_tokens(name, tokens)
        return
    if name is not None:
        model = known_model(name)
        lines = {
            "where it comes from": model.hub_id or "in the package",
            "licence of the weights": model.licence,
            "several images in a prompt": _PAIRS[model.pairs],
            "memory in bfloat16": f"{_memory(model)} GiB",
            "a question": model.form,
            "an image": model.pixels,
            "checked": model.checked,
        }
        _print_entry(f"{model.name}: {model.note}" if model.note else model.name, lines)
        return
    table = Table(Column("model", no_wrap=True), "GiB", "pairs", "licence", "where it comes from")
    for model in KNOWN_MODELS:
        pairs = "baseline" if model.baseline else _PAIRS[model.pairs]
        table.add_row(model.name, _memory(model), pairs, model.licence, model.hub_id or "in the package")
    show(table)
    show_text(
        "Pairs: trained on several images in a prompt; a baseline is a measure of pixels to compare models with, by "
        "--method vanilla. GiB and licence: of the weights, in bfloat16. More about one: qdebias models NAME.\n"
        "Any other checkpoint for images and text: hf:<hub id or folder>. Any no-reference metric of the package "
        "pyiqa, where installed, as a baseline: pyiqa:<metric>."
    )


def _memory(model: KnownModel) -> str:
    return "?" if model.gibibytes is None else f"{model.gibibytes:g}"


def _print_entry(head: str, lines: Mapping[str, str]) -> None:
    typer.echo(head)
    for title, value in lines.items():
        if value:
            typer.echo(f"  {title}: {value}")


def _print_tokens(model: str | None, path: Path) -> None:
    if model is None:
        raise SettingError("--tokens needs a model: qdebias models NAME --tokens IMAGE, or hf:<folder> as NAME")
    image = load_image(path)
    titles = ("forwards", "images a prompt", "longest prompt", "tokens", "of images")
    table = Table("method", *(Column(title, justify="right") for title in titles))
    for name in ("vanilla", "paper"):
        cost = token_cost(presets.get(name).method, model, image)
        numbers = (cost.forwards, cost.images, cost.longest, cost.tokens, cost.of_images)
        table.add_row(name, *(f"{number:,}" for number in numbers))
    show(table)
    show_text(
        f"{path}: {image.shape[1]} x {image.shape[0]}. Tokens of all forwards of one image, each counted in full; what "
        f"forwards have in common is computed once where the model can share it."
    )


def methods(
    name: Annotated[str | None, typer.Argument(help="Print this method in full, with its questions.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print everything as Markdown, in full.")] = False,
) -> None:
    """List the methods that can be named with `--method`, or print one in full.

    A method can also be put together: a name from the first table and parts from the second, such as
    `paper+levels5+logodds`.
    """
    if name is not None:
        recipe = presets.get(name)
        lines = {
            "source": recipe.source,
            "cost of an image": str(cost_of(recipe.method) or "not known"),
            "cut of mPLUG-Owl3": recipe.cut or "",
        }
        _print_entry(f"{recipe.name}: {recipe.summary}", lines)
        for line in setting_lines(recipe.method):
            typer.echo(f"  {line}")
        return
    if markdown:
        typer.echo(methods_page())
        return
    numbers = (Column(title, justify="right") for title in ("forwards", "encodings"))
    table = Table(Column("method", no_wrap=True), *numbers, "what it is")
    for recipe in presets.RECIPES.values():
        table.add_row(recipe.name, *_counted(recipe.method), recipe.summary)
    show(table)
    parts = Table(Column("part", no_wrap=True), "decides", "what it does")
    for word, part in every_part():
        parts.add_row(word, part.kind, part.summary)
    show(parts)
    show_text(
        f"A CONDITION is {', '.join(DEGRADATIONS)}, with a severity of ImageNet-C from 1 to 5 behind it if wanted."
    )


def datasets(
    name: Annotated[str | None, typer.Argument(help="Print all that is known about this dataset.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")] = False,
) -> None:
    """List the datasets that can be named to `evaluate`, `compare`, `reproduce` and others, or print one in full."""
    if name is not None:
        one = entry(name)
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
        _print_entry(f"{one.name}: {one.title}", lines)
        return
    if markdown:
        typer.echo(datasets_page())
        return
    table = Table(Column("dataset", no_wrap=True), "title", Column("images", justify="right"), "where to get it")
    for one in CATALOGUE.values():
        table.add_row(one.name, one.title, _count(one), one.source)
    show(table)
    show_text("Licence, splits and citation of one: qdebias datasets NAME. Your own label file works, too.")


def _count(one: Entry) -> str:
    return "not known" if one.count is None else f"{one.count:,}"


def datasets_page() -> str:
    """Return the table as Markdown."""
    rows = ((f"`{one.name}`", one.title, _count(one), one.source) for one in CATALOGUE.values())
    return _table(("dataset", "title", "images", "where to get it"), rows)


def every_part() -> Iterator[tuple[str, Part]]:
    """Yield every part with how it is written."""
    yield from PARTS.items()
    yield from ((f"{prefix}CONDITION", part) for prefix, part in CONDITIONS.items())
    yield from ((f"{prefix}NUMBER", part) for prefix, part in NUMBERED.items())


def _counted(method: Method) -> tuple[str, str]:
    """Return the forwards and encodings that one image costs, in print."""
    cost = cost_of(method)
    return ("?", "?") if cost is None else (str(cost.forwards), str(cost.encodings))


def methods_page() -> str:
    """Return the page, without a heading of its own.

    The questions of some methods are printed under every readout; those about aspects need the first two.
    """
    recipes = ((f"`{one.name}`", *_counted(one.method), one.summary, one.source) for one in presets.RECIPES.values())
    parts = ((f"`{word}`", part.kind, part.summary, part.source) for word, part in every_part())
    conditions = ((f"`{name}`", f"`{one}`") for name, one in DEGRADATIONS.items())
    words = {kind: [word for word, part in PARTS.items() if part.kind == kind] for kind in ("readout", "aspect")}
    readouts = [*(word for word in words["readout"] if word != "goodpoor"), "topk100"]
    starts = ("vanilla", "paper", "query-first", "pristine")
    of_readouts = (f"{start}+{word}" for start in starts for word in readouts)
    of_aspects = (f"{start}+{word}" for start in starts[:2] for word in words["aspect"])
    sections = (
        ("Presets", _table(("method", "forwards", "encodings", "what it is", "source"), recipes)),
        ("Parts", _table(("part", "decides", "what it does", "source"), parts)),
        ("Conditions", _table(("condition", "settings"), conditions)),
        ("Questions of the presets", _questions(presets.RECIPES)),
        ("Questions under each readout", _questions(of_readouts, without=presets.SAME_OBJECT)),
        ("Questions about each aspect", _questions(of_aspects, without=presets.SAME_OBJECT)),
    )
    return "\n\n".join(f"### {title}\n\n{text}" for title, text in sections)


def _questions(methods: Iterable[str], *, without: Question | None = None) -> str:
    """Return each set of questions once, under all methods that ask it."""
    asked: dict[tuple[Question, ...], list[str]] = {}
    for text in methods:
        outline = outline_of(presets.get(text).method)
        found = tuple(question for question in (outline.questions if outline else ()) if question != without)
        asked.setdefault(found, []).append(text)
    lines = []
    for questions, names in asked.items():
        lines.append(f"- {', '.join(f'`{name}`' for name in names)}")
        for question in questions:
            top = f", the {question.top} likeliest words; poles" if isinstance(question, TopQuestion) else ""
            words = (f"“{word}” {value:g}" for word, value in zip(question.options, question.values, strict=True))
            lines.append(f"  - “{question.text}” “{question.answer_prefix}[…]”{top} {', '.join(words)}")
    return "\n".join(lines)


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [titles, ["---:" if title == "images" else "---" for title in titles], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
