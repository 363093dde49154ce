"""`qdebias explain` and `qdebias degrade`: pictures of what the model is shown, and of what it made of it."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image

from qdebias.cli.console import one_line, say, say_failed, track
from qdebias.cli.options import ImageColumn, Megapixels, MethodName, Paths, Scoring, Seed
from qdebias.cli.outputs import refuse_inputs
from qdebias.cli.runs import say_left_out
from qdebias.errors import ImageError, SettingError
from qdebias.image import load_image
from qdebias.inputs import find_inputs
from qdebias.methods import presets
from qdebias.methods.method import Condition, Context
from qdebias.runs.scorer import Scorer
from qdebias.system.output import replacing, written

MOST_ROWS = 50


def explain(
    paths: Paths,
    options: Scoring,
    out: Annotated[Path, typer.Option(help="The picture to write: .png, .pdf, .svg or .jpg.")] = Path("explain.png"),
    grid: Annotated[
        bool, typer.Option("--grid", help="Draw every image with all its copies, one row per image.")
    ] = False,
    column: ImageColumn = None,
) -> None:
    """Draw how scores came about: each image, its degraded copies, and the score before and after debiasing.

    Several images become a landscape picture of the two to four in which debiasing changes most. One image, or
    `--grid`, becomes a row for each image with P(good) and weight of every copy, the score above that of the plain
    question (`vanilla`), and the probability of each option where there are more than two, as of five levels.
    """
    from qdebias.backends.catalogue import caution
    from qdebias.report import figure
    from qdebias.report.figure import save

    inputs = find_inputs(paths, column=column)
    say_left_out(inputs.images)
    refuse_inputs(inputs.images, out=out)
    if len(inputs.paths) > MOST_ROWS:
        raise SettingError(f"{len(inputs.paths)} images do not fit in one picture; name {MOST_ROWS} or fewer")
    scorer = options.scorer()
    vanilla = Scorer(backend=scorer.backend, method="vanilla", seed=options.seed, max_pixels=options.max_pixels)
    rows: list[figure.Row] = []
    errors = [failure.error for failure in inputs.failures]
    for path in track(inputs.paths, total=len(inputs.paths)):
        try:
            explanation = scorer.explain(path)
            plain = None if options.method == "vanilla" else vanilla.score(explanation.image).value
            rows.append(figure.Row(name=one_line(path.name), explanation=explanation, vanilla=plain))
        except ImageError as error:
            errors.append(str(error))
    failed = say_failed(errors)
    if rows:
        if grid or options.method == "vanilla" or len(rows) == 1:
            save(
                figure.explain(rows, title=f"model {options.model}, method {options.method}, seed {options.seed}"), out
            )
            more = ""
        else:
            poster = figure.poster(rows, model=options.model, method=options.method, note=caution(options.model))
            save(poster, out)
            more = f", which shows the {figure.POSTER} in which debiasing changes most; --grid shows all"
        say(f"{len(rows)} images explained in {out}" + more * (len(rows) > figure.POSTER))
    raise typer.Exit(1 if failed else 0)


def degrade(
    paths: Paths,
    out: Annotated[Path, typer.Option(help="Folder for the pictures; created if missing.")] = Path("degraded"),
    method: MethodName = "paper",
    seed: Seed = 0,
    max_megapixels: Megapixels = 50.0,
    column: ImageColumn = None,
) -> None:
    """Write the degraded copies that a method shows the model, as PNG: exactly the pixels that `score` uses."""
    chosen = presets.get(method).method
    inputs = find_inputs(paths, column=column)
    say_left_out(inputs.images)
    _check_names(inputs.paths)
    refuse_inputs(inputs.paths, out=_present(inputs.paths, out))
    errors = [failure.error for failure in inputs.failures]
    written = 0
    for path in inputs.paths:
        try:
            image = load_image(path, max_pixels=round(max_megapixels * 1e6))
            conditions = chosen.plan(image, Context(seed=seed)).conditions
        except ImageError as error:
            errors.append(str(error))
            continue
        if not conditions:
            raise SettingError(f"method {method!r} degrades nothing; choose one such as paper or released")
        written += _write(conditions, path, out)
    failed = say_failed(errors)
    say(f"{written} pictures written to {out}")
    raise typer.Exit(1 if failed else 0)


def _present(paths: tuple[Path, ...], out: Path) -> list[Path]:
    """Return the pictures of an earlier time that would be replaced."""
    heads = {f"{path.name}." for path in paths}
    found = ((one, [dot.end() for dot in re.finditer(r"\.", one.name)]) for one in out.glob("*.png"))
    return [one for one, ends in found if any(one.name[:end] in heads for end in ends)]


def _check_names(paths: tuple[Path, ...]) -> None:
    seen: dict[str, Path] = {}
    for path in paths:
        other = seen.setdefault(path.name, path)
        if other != path:
            raise SettingError(f"{other} and {path} would get the same name in one folder; degrade them one by one")


def _numbered(kinds: Sequence[str]) -> list[str]:
    """Return the kinds, the second of a kind with a 2 behind it, and so on."""
    seen = [kinds[:place].count(kind) + 1 for place, kind in enumerate(kinds)]
    return [kind if count == 1 else f"{kind}-{count}" for kind, count in zip(kinds, seen, strict=True)]


def _write(conditions: tuple[Condition, ...], path: Path, out: Path) -> int:
    with written(out):
        out.mkdir(parents=True, exist_ok=True)
        for kind, condition in zip(_numbered([one.kind for one in conditions]), conditions, strict=True):
            target = out / f"{path.name}.{kind}.png"
            with replacing(target) as file:
                Image.fromarray(condition.image).save(file, "PNG")
            typer.echo(str(target))
    return len(conditions)
