"""`qdebias models`, `methods` and `datasets`: what can be chosen; `doctor` and `verify`: what works here."""

import importlib
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import metadata, util
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Column, Table
from rich.text import Text

import qdebias
from qdebias.backends.base import Backend
from qdebias.backends.catalogue import KNOWN_MODELS, KnownModel, known_model
from qdebias.backends.load import check_torchvision, load_backend, require
from qdebias.cli.console import one_line, results, say, show, show_text
from qdebias.cli.options import Paths, refuse_inputs, sharing
from qdebias.degrade import DEGRADATIONS
from qdebias.errors import MissingPackageError, QdebiasError, SettingError
from qdebias.image import RgbImage, load_image
from qdebias.inputs import find_inputs
from qdebias.inputs.datasets.dataset import CATALOGUE, Entry, entry
from qdebias.methods import presets
from qdebias.methods.describe import setting_lines
from qdebias.methods.outline import cost_of, outline_of, token_cost
from qdebias.methods.parts import CONDITIONS, NUMBERED, PARTS, Part
from qdebias.methods.plan import Method
from qdebias.prompts import Question, TopQuestion
from qdebias.runs.options import Options
from qdebias.runs.scorer import Scorer
from qdebias.system.output import written

_PAIRS = {True: "yes", False: "not trained on", None: "unknown"}


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
    """Return the table of datasets as Markdown."""
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
            top = (
                f", the {question.top} most likely words; reference words" if isinstance(question, TopQuestion) else ""
            )
            words = (f"“{word}” {value:g}" for word, value in zip(question.options, question.values, strict=True))
            lines.append(f"  - “{question.text}” “{question.answer_prefix}[…]”{top} {', '.join(words)}")
    return "\n".join(lines)


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [titles, ["---:" if title == "images" else "---" for title in titles], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


PACKAGES = ("numpy", "opencv-python-headless", "numba", "pillow", "torch", "transformers", "tokenizers", "safetensors")

ORDER = (
    "Llama 3.2 Vision (Mllama) hardly knows which of two images is the first, as any model whose images enter by cross "
    "attention without positions; each such model is probed when it is loaded; take another for paper and rank"
)


def doctor() -> None:
    """Report what works on this machine: Python, packages, device, and whether the embedded model answers.

    Exit code 1 if the embedded model cannot be used.
    """
    results.print(f"qdebias {qdebias.__version__}, Python {platform.python_version()}, {platform.platform()}")
    for name in PACKAGES:
        try:
            _say(True, f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            _say(False, f"{name} is not installed")
    _check("device", _device)
    _check("torchvision", _torchvision)
    _say(True, f"order of images: {ORDER}")
    works = _check("embedded model", _embedded)
    raise typer.Exit(0 if works else 1)


def _check(title: str, test: Callable[[], str]) -> bool:
    try:
        _say(True, f"{title}: {test()}")
    except Exception as error:  # noqa: BLE001  whatever is broken here, it has to be told, and the rest as well
        what = one_line(str(error))
        if not isinstance(error, QdebiasError | ImportError | RuntimeError):
            what = f"{type(error).__name__}: {what}; packages above may not fit together, `pip check` says which"
        _say(False, f"{title}: {what}")
        return False
    return True


def _say(good: bool, message: str) -> None:
    results.print(Text("ok  " if good else "--  ", style="green" if good else "yellow") + Text(message))


def _device() -> str:
    if util.find_spec("torch") is None:
        raise MissingPackageError("not known without torch")
    torch = importlib.import_module("torch")
    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        return f"{count} CUDA device{'s' if count > 1 else ''}, {torch.cuda.get_device_name(0)}"
    if torch.backends.mps.is_available():
        return "Apple GPU (mps)"
    from qdebias.backends.hf.devices import has_bfloat16_units

    kind = (
        "it has units for bfloat16, which checkpoints in bfloat16 run in (2.7 times as fast as float32 "
        "in our measurement, probabilities up to .012 apart)"
        if has_bfloat16_units()
        else "it has no units for bfloat16, so models run in float32 (bfloat16 would be several times slower)"
    )
    return f"no GPU, the CPU is used with {torch.get_num_threads()} threads; {kind}; large models will be slow"


def _torchvision() -> str:
    if util.find_spec("torchvision") is None:
        return "not installed; not needed, images are prepared with Pillow"
    check_torchvision()
    return f"{metadata.version('torchvision')} works"


def _embedded() -> str:
    gradient = np.linspace(0, 255, 96 * 96 * 3).reshape(96, 96, 3).astype(np.uint8)
    value = Scorer(backend=load_backend("nano")).score(gradient).value
    return f"nano answers (a plain gradient scores {value:.3f})"


def verify(
    model: Annotated[str, typer.Argument(help="A checkpoint of mPLUG-Owl3 or mPLUG-Owl2: its folder or hub id.")],
    paths: Paths,
    options: Annotated[Options, sharing()],
    out: Annotated[Path, typer.Option(help="The report to write, as JSON.")] = Path("verify.json"),
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a hub id.")] = None,
) -> None:
    """Check published weights of mPLUG-Owl3 or mPLUG-Owl2 against our code, and write a small report.

    It says which keys are missing or surplus (of mPLUG-Owl3 also release and gate), how much memory the weights take,
    how far sharing moves a logit, and what methods such as `paper` or `q-align` score on the images.
    Exit code 1 if the weights are refused; the report says why. Keep it with the
    scores, or attach it to an issue where the project is hosted.
    """
    require("torch", "transformers", extra="torch")
    from qdebias.backends.verify import verify as verify_checkpoint
    from qdebias.backends.verify import write_report

    def score(backend: Backend, method: str, image: RgbImage) -> dict[str, Any]:
        return {"value": Scorer(backend=backend, method=method).score(image).value}

    inputs = find_inputs(paths)
    refuse_inputs(inputs.images, out=out)
    images = {path.name: load_image(path) for path in inputs.paths}
    found = verify_checkpoint(model, images, score, device=options.device, dtype=options.dtype, revision=revision)
    with written(out):
        write_report(found, out)
    say(f"refused: {found['refused']}" if found["refused"] else "the weights fit")
    say(f"report written to {out}")
    raise typer.Exit(1 if found["refused"] else 0)
