"""`qdebias explain` and `qdebias degrade`: pictures of what the model is shown, and of what it made of it."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image

from qdebias.cli.console import one_line, say, say_failed, track
from qdebias.cli.options import ImageColumn, Megapixels, MethodName, Paths, Scoring, Seed, refuse_inputs
from qdebias.cli.runs import find_images
from qdebias.errors import ImageError, SettingError
from qdebias.image import load_image
from qdebias.methods import presets
from qdebias.methods.method import Condition, Context
from qdebias.runs.scorer import Scorer
from qdebias.system.output import replacing, written

MOST_ROWS = 50


def explain(
    paths: Paths,
    options: Scoring,
    out: Annotated[Path, typer.Option(help="The picture to write: .png, .pdf, .svg or .jpg.")] = Path("explain.png"),
    grid: Annotated[bool, typer.Option("--grid", help="Draw each image with all its copies in a row.")] = False,
    column: ImageColumn = None,
) -> None:
    """Draw how scores are computed: each image, its degraded copies, and the score before and after debiasing.

    Several images become a landscape picture of the two to four in which debiasing changes most. One image, or
    `--grid`, becomes a row for each image with P(good) and weight of every copy, the score above that of the plain
    question (`vanilla`), and the probability of each option where there are more than two, as of five levels.
    """
    from qdebias.backends.catalogue import CAUTIONS
    from qdebias.report import figure

    inputs = find_images(paths, column, out=out)
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
    if rows and (grid or options.method == "vanilla" or len(rows) == 1):
        title = f"model {options.model}, method {options.method}, seed {options.seed}"
        figure.save(figure.explain(rows, title=title), out)
        say(f"{len(rows)} images explained in {out}")
    elif rows:
        poster = figure.poster(rows, model=options.model, method=options.method, note=CAUTIONS.get(options.model, ""))
        figure.save(poster, out)
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
    inputs = find_images(paths, column)
    seen: dict[str, Path] = {}
    for path in inputs.paths:
        other = seen.setdefault(path.name, path)
        if other != path:
            raise SettingError(f"{other} and {path} would get the same name in one folder; degrade them one by one")
    heads = {f"{name}." for name in seen}
    present = [
        one for one in out.glob("*.png") if any(one.name[: dot.end()] in heads for dot in re.finditer(r"\.", one.name))
    ]
    refuse_inputs(inputs.paths, out=present)  # the pictures of an earlier time that would be replaced
    errors = [failure.error for failure in inputs.failures]
    count = 0
    for path in inputs.paths:
        try:
            image = load_image(path, max_pixels=round(max_megapixels * 1e6))
            conditions = chosen.plan(image, Context(seed=seed)).conditions
        except ImageError as error:
            errors.append(str(error))
            continue
        if not conditions:
            raise SettingError(f"method {method!r} degrades nothing; choose one such as paper or released")
        count += len(conditions)
        _write(conditions, path, out)
    failed = say_failed(errors)
    say(f"{count} pictures written to {out}")
    raise typer.Exit(1 if failed else 0)


def _write(conditions: Sequence[Condition], path: Path, out: Path) -> None:
    """Write each copy under the name of its kind; the second of a kind has a 2 behind it, and so on."""
    seen: Counter[str] = Counter()
    with written(out):
        out.mkdir(parents=True, exist_ok=True)
        for condition in conditions:
            seen[condition.kind] += 1
            number = f"-{seen[condition.kind]}" if seen[condition.kind] > 1 else ""
            target = out / f"{path.name}.{condition.kind}{number}.png"
            with replacing(target) as file:
                Image.fromarray(condition.image).save(file, "PNG")
            typer.echo(str(target))
