"""`qdebias methods`, `models` and `datasets`: what there is to choose from."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table

from qdebias.backends.catalogue import KNOWN_MODELS, KnownModel, known_model
from qdebias.cli.shown import show, show_text
from qdebias.degrade import DEGRADATIONS
from qdebias.errors import SettingError
from qdebias.image import load_image
from qdebias.inputs.datasets.dataset import CATALOGUE, Entry, entry
from qdebias.methods import presets
from qdebias.methods.describe import setting_lines
from qdebias.methods.method import Method
from qdebias.methods.outline import cost_of, outline_of, token_cost
from qdebias.methods.parts import CONDITIONS, NUMBERED, PARTS, Part
from qdebias.methods.recipe import Recipe
from qdebias.prompts import Question, TopQuestion

STARTS = ("vanilla", "paper", "query-first", "pristine")
"""The methods whose questions are printed under every readout; those about aspects need the first two."""

LIKELIEST = "topk100"

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
    show_text(
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
    if model.checked:
        lines["checked"] = model.checked
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
    show_text(
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
    show_text(
        f"A CONDITION is {', '.join(DEGRADATIONS)}, with a severity of ImageNet-C from 1 to 5 behind it if wanted."
    )


def _print_method(recipe: Recipe) -> None:
    typer.echo(f"{recipe.name}: {recipe.summary}")
    typer.echo(f"  source: {recipe.source}")
    typer.echo(f"  cost of an image: {cost_of(recipe.method) or 'not known'}")
    if recipe.cut is not None:
        typer.echo(f"  cut of mPLUG-Owl3: {recipe.cut}")
    for line in setting_lines(recipe.method):
        typer.echo(f"  {line}")


def datasets(
    name: Annotated[str | None, typer.Argument(help="Print all that is known about this dataset.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")] = False,
) -> None:
    """List the datasets that can be named to `evaluate`, `compare`, `reproduce` and others, or print one in full."""
    if name is not None:
        _print_dataset(entry(name))
        return
    if markdown:
        typer.echo(datasets_page())
        return
    table = Table(Column("dataset", no_wrap=True), "title", Column("images", justify="right"), "where to get it")
    for row in _rows():
        table.add_row(*row)
    show(table)
    show_text("Licence, splits and citation of one: qdebias datasets NAME. Your own label file works, too.")


def datasets_page() -> str:
    """Return the table as Markdown."""
    rows = (("dataset", "title", "images", "where to get it"), ("---", "---", "---:", "---"))
    named = ((f"`{name}`", *others) for name, *others in _rows())
    return "\n".join(f"| {' | '.join(row)} |" for row in (*rows, *named))


def _rows() -> Iterator[Sequence[str]]:
    for one in CATALOGUE.values():
        yield one.name, one.title, _count(one), one.source


def _count(one: Entry) -> str:
    return "not known" if one.count is None else f"{one.count:,}"


def _print_dataset(one: Entry) -> None:
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
    typer.echo(f"{one.name}: {one.title}")
    for title, value in lines.items():
        if value:
            typer.echo(f"  {title}: {value}")


def every_part() -> Iterator[tuple[str, Part]]:
    """Yield every part with how it is written."""
    yield from PARTS.items()
    yield from ((f"{prefix}CONDITION", part) for prefix, part in CONDITIONS.items())
    yield from ((f"{prefix}NUMBER", part) for prefix, part in NUMBERED.items())


def counted(method: Method) -> tuple[str, str]:
    """Return the forwards and encodings that one image costs, in print."""
    cost = cost_of(method)
    return ("?", "?") if cost is None else (str(cost.forwards), str(cost.encodings))


def methods_page() -> str:
    """Return the page, without a heading of its own."""
    sections = (
        ("Presets", _table(("method", "forwards", "encodings", "what it is", "source"), _presets())),
        ("Parts", _table(("part", "decides", "what it does", "source"), _parts())),
        ("Conditions", _table(("condition", "settings"), ((f"`{n}`", f"`{one}`") for n, one in DEGRADATIONS.items()))),
        ("Questions of the presets", _questions(presets.RECIPES, _all_asked_by)),
        ("Questions under each readout", _questions(_combined(STARTS, "readout"), _asked_by)),
        ("Questions about each aspect", _questions(_combined(STARTS[:2], "aspect"), _asked_by)),
    )
    return "\n\n".join(f"### {title}\n\n{text}" for title, text in sections)


def _presets() -> Iterator[Sequence[str]]:
    for recipe in presets.RECIPES.values():
        yield (f"`{recipe.name}`", *counted(recipe.method), recipe.summary, recipe.source)


def _parts() -> Iterator[Sequence[str]]:
    for word, part in every_part():
        yield (f"`{word}`", part.kind, part.summary, part.source)


def _combined(starts: Iterable[str], kind: str) -> Iterator[str]:
    """Yield each start with each part of a kind that changes the question."""
    parts = [word for word, part in PARTS.items() if part.kind == kind and word != "goodpoor"]
    if kind == NUMBERED["topk"].kind:
        parts.append(LIKELIEST)
    yield from (f"{start}+{part}" for start in starts for part in parts)


def _questions(methods: Iterable[str], asked_by: Callable[[Method], tuple[Question, ...]]) -> str:
    """Return each set of questions once, under all methods that ask it."""
    asked: dict[tuple[Question, ...], list[str]] = {}
    for text in methods:
        asked.setdefault(asked_by(presets.get(text).method), []).append(text)
    return "\n".join(line for questions, names in asked.items() for line in _listed(names, questions))


def _listed(names: Sequence[str], questions: Sequence[Question]) -> Iterator[str]:
    yield f"- {', '.join(f'`{name}`' for name in names)}"
    yield from (f"  - {_in_full(question)}" for question in questions)


def _in_full(question: Question) -> str:
    said = f"“{question.text}” “{question.answer_prefix}[…]”"
    words = [f"“{word}” {value:g}" for word, value in zip(question.options, question.values, strict=True)]
    if isinstance(question, TopQuestion):
        return f"{said}, the {question.top} likeliest words; poles {', '.join(words)}"
    return f"{said} {', '.join(words)}"


def _all_asked_by(method: Method) -> tuple[Question, ...]:
    """Return every question of a method: about quality, then about the same object where it asks that."""
    outline = outline_of(method)
    return () if outline is None else outline.questions


def _asked_by(method: Method) -> tuple[Question, ...]:
    """Return the questions of a method about quality."""
    return tuple(question for question in _all_asked_by(method) if question != presets.SAME_OBJECT)


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
