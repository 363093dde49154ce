"""`qdebias check`: a gate for pipelines."""

from contextlib import ExitStack
from typing import Annotated

import typer

from qdebias.backends.load import load_backend
from qdebias.cli.console import (
    Batch,
    Device,
    Dtype,
    ImageColumn,
    MaxSide,
    Megapixels,
    MethodName,
    Model,
    Paths,
    RunFolder,
    Seed,
    method_named,
    one_line,
    say,
    user_errors,
)
from qdebias.cli.runs import named_results
from qdebias.engine import Failure, Scorer
from qdebias.errors import SettingError
from qdebias.inputs import open_images
from qdebias.store import open_run


def check(
    paths: Paths,
    least: Annotated[
        float, typer.Option("--min", min=0, max=1, help="The score that every image has to reach, in [0, 1].")
    ] = 0.5,
    model: Model = "nano",
    method: MethodName = "paper",
    batch: Batch = 8,
    seed: Seed = 0,
    device: Device = None,
    dtype: Dtype = None,
    max_megapixels: Megapixels = 50.0,
    max_side: MaxSide = None,
    run: RunFolder = None,
    column: ImageColumn = None,
    ignore_unreadable: Annotated[
        bool,
        typer.Option("--ignore-unreadable", help="Do not fail for images that cannot be scored; they are still named."),
    ] = False,
) -> None:
    """Fail where an image is worse than it should be: for continuous integration and commit hooks.

    Prints score and path of each image below `--min`. Exit codes: 0 every image reaches it; 1 some do not, or cannot
    be scored (unless `--ignore-unreadable`); 2 nothing could be checked.

    - `qdebias check photos --min 0.4`
    - `qdebias check photos --min 0.4 --run .qdebias` asks again only about images that have changed
    """
    with user_errors(), ExitStack() as stack:
        images, method = open_images(paths, column=column), method_named(method)
        backend = load_backend(model, device=device, dtype=dtype)
        scorer = Scorer(
            backend=backend,
            method=method,
            seed=seed,
            batch=batch,
            max_pixels=round(max_megapixels * 1e6),
            max_side=max_side,
        )
        stored = stack.enter_context(open_run(run, scorer.fingerprint, model=model)) if run else None
        count = below = failed = 0
        for name, result in named_results(images, scorer, stored, method=method):
            count += 1
            if isinstance(result, Failure):
                failed += 1
                say(f"failed: {one_line(result.error)}", style="red")
            elif result.value < least:
                below += 1
                typer.echo(f"{result.value:.4f}\t{one_line(name)}")
        say(f"{count} images, {below} below {least:g}, {failed} failed")
        if ignore_unreadable and failed == count:
            raise SettingError("no image could be scored, so nothing was checked")
    raise typer.Exit(1 if below or (failed and not ignore_unreadable) else 0)
