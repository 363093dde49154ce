"""`qdebias explain`."""

from pathlib import Path
from typing import Annotated

import typer

from qdebias.backends.load import load_backend
from qdebias.cli.console import (
    Device,
    Dtype,
    ImageColumn,
    MaxSide,
    Megapixels,
    MethodName,
    Model,
    Paths,
    Seed,
    one_line,
    say,
    track,
    user_errors,
)
from qdebias.cli.outputs import refuse_inputs
from qdebias.cli.runs import say_left_out
from qdebias.errors import ImageError, SettingError
from qdebias.inputs import find_inputs
from qdebias.runs.scorer import Scorer

MOST_ROWS = 50


def explain(
    paths: Paths,
    out: Annotated[Path, typer.Option(help="The picture to write: .png, .pdf, .svg or .jpg.")] = Path("explain.png"),
    model: Model = "nano",
    method: MethodName = "paper",
    seed: Seed = 0,
    device: Device = None,
    dtype: Dtype = None,
    max_megapixels: Megapixels = 50.0,
    max_side: MaxSide = None,
    column: ImageColumn = None,
) -> None:
    """Draw how a score came about: the image, its degraded copies, P(good) and weight of each, the score.

    One row an image. The score of the plain question (`vanilla`) stands beside it, and the probability of each option
    where there are more than two, as of five levels.
    """
    from qdebias.report.figure import Row, draw

    with user_errors():
        inputs = find_inputs(paths, column=column)
        say_left_out(inputs.images)
        refuse_inputs(inputs.images, out=out)
        if len(inputs.paths) > MOST_ROWS:
            raise SettingError(f"{len(inputs.paths)} images do not fit in one picture; name {MOST_ROWS} or fewer")
        backend = load_backend(model, device=device, dtype=dtype)
        pixels = round(max_megapixels * 1e6)
        scorer = Scorer(backend=backend, method=method, seed=seed, max_pixels=pixels, max_side=max_side)
        vanilla = Scorer(backend=backend, method="vanilla", seed=seed, max_pixels=pixels)
        rows: list[Row] = []
        errors = [failure.error for failure in inputs.failures]
        for path in track(inputs.paths, total=len(inputs.paths)):
            try:
                explanation = scorer.explain(path)
                plain = None if method == "vanilla" else vanilla.score(explanation.image).value
                rows.append(Row(name=one_line(path.name), explanation=explanation, vanilla=plain))
            except ImageError as error:
                errors.append(str(error))
        for message in errors:
            say(f"failed: {one_line(message)}", style="red")
        if rows:
            draw(rows, out, title=f"model {model}, method {method}, seed {seed}")
            say(f"{len(rows)} images explained in {out}")
    raise typer.Exit(1 if errors else 0)
