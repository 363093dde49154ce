"""`qdebias check`: a gate for pipelines."""

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from qdebias.cli.console import one_line, put, say, say_failed
from qdebias.cli.options import ImageColumn, Paths, RunFolder, Scoring
from qdebias.cli.runs import named_results
from qdebias.errors import SettingError
from qdebias.inputs import open_images
from qdebias.inputs.items import NOT_DECODED
from qdebias.methods import presets
from qdebias.methods.plan import Failure
from qdebias.metrics.calibration import Calibration, load_calibration
from qdebias.metrics.mos import MosScale
from qdebias.runs.run import open_run

BY = ("score", "mos", "mos_low")

Least = Annotated[float, typer.Option("--min", help="What every image has to reach: a score in [0, 1], or see --by.")]
By = Annotated[
    str, typer.Option(help="score, or with --calibration or a fit: mos, or mos_low, the lower end of its interval.")
]
Scale = Annotated[Path | None, typer.Option(help="A file of `qdebias calibrate`, for --by mos and mos_low.")]


def check(
    paths: Paths,
    options: Scoring,
    least: Least = 0.5,
    by: By = "score",
    calibration: Scale = None,
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
    - `qdebias check photos --min 3 --by mos_low --calibration mos.json` passes what is 3 or more even at the lower end
      of its interval
    """
    with ExitStack() as stack:
        images = open_images(paths, column=column)
        scale = _scale(by, calibration, least, model=options.model, method=options.method)
        scorer = options.scorer()
        stored = stack.enter_context(open_run(run, scorer.fingerprint, model=options.model)) if run else None
        count = below = failed = 0
        for name, result in named_results(images, scorer, stored, method=options.method):
            count += 1
            if isinstance(result, Failure):
                failed += say_failed([result.error])
            elif (value := _value(result.value, by, scale)) < least:
                below += 1
                put(f"{value:.4f}\t{one_line(name)}")
        say(f"{count} images, {below} below {least:g}, {failed} failed")
        if ignore_unreadable and failed == count:
            raise SettingError("no image could be scored, so nothing was checked")
        unseen = failed + sum(part.count for part in images.left_out if part.why == NOT_DECODED)
    raise typer.Exit(1 if below or (unseen and not ignore_unreadable) else 0)


def _scale(by: str, file: Path | None, least: float, *, model: str, method: str) -> MosScale | None:
    """Return the MOS scale, None where the score itself is what counts."""
    fit = presets.get(method).method
    if by == "score" and file is None:
        if not 0 <= least <= 1:
            raise SettingError(f"--min is a score in [0, 1], got {least:g}; see --by for a MOS scale")
        return None
    scale = fit if isinstance(fit, MosScale) and file is None else _calibration(file, model=model, method=method)
    if scale is None or by not in BY[1:]:
        raise SettingError(
            f"--by is score, or with --calibration or a fit mos or mos_low; got --by {by} and {file or 'no file'}"
        )
    if not scale.increasing:
        raise SettingError(
            f"lower is better on the scale of {file or method}, and --min is the least that passes; use --by score"
        )
    if by == "mos_low" and scale.interval is None:
        raise SettingError(f"{file}: holds no interval; make it again with qdebias calibrate and 2 folds or more")
    return scale


def _calibration(file: Path | None, *, model: str, method: str) -> Calibration | None:
    if file is None:
        return None
    calibration = load_calibration(file)
    calibration.check_origin(model=model, method=method)
    return calibration


def _value(score: float, by: str, scale: MosScale | None) -> float:
    if scale is None:
        return score
    mos = scale.mos(score)
    return mos.value if mos.low is None or by == "mos" else mos.low
