"""`qdebias filter` and `qdebias check`: which images are good enough, and putting them elsewhere."""

import math
import os
from collections.abc import Sequence
from dataclasses import asdict
from json import dumps
from pathlib import Path
from typing import Annotated

import typer

from qdebias.cli.console import one_line, put, say, say_failed
from qdebias.cli.options import ImageColumn, JsonLines, Paths, RunFolder, Scoring
from qdebias.cli.outputs import LISTS, refuse_inputs
from qdebias.cli.runs import named_results, say_unfinished
from qdebias.cli.score import mos_scale
from qdebias.curation import COPY, LINK, MOVE, Choice, Top, Way, check_places, choose, place
from qdebias.errors import SettingError
from qdebias.inputs import Images, open_images
from qdebias.inputs.addresses import is_address, is_folder
from qdebias.inputs.items import NOT_DECODED, NamedImages, Unreadable
from qdebias.methods.method import Score
from qdebias.methods.plan import Failure
from qdebias.metrics.mos import MosScale
from qdebias.runs.derive import recorded
from qdebias.runs.manifest import NAME as RUN
from qdebias.runs.options import Options
from qdebias.runs.records import GivenScore, open_writer, read_scores
from qdebias.runs.run import open_snapshot

BY = ("score", "mos", "mos_low")

Least = Annotated[float, typer.Option("--min", help="Minimum for every image: a score in [0, 1], or see --by.")]
By = Annotated[
    str, typer.Option(help="score, or with --calibration or a fit: mos, or mos_low, the lower end of its interval.")
]
Scale = Annotated[Path | None, typer.Option(help="A file of `qdebias calibrate`, for --by mos and mos_low.")]


def filter(  # noqa: A001  (the name of the command)
    paths: Annotated[
        list[str] | None,
        typer.Argument(help="Image files, folders or patterns, to be scored now. Or none, with --scores or --run."),
    ] = None,
    least: Annotated[float | None, typer.Option("--min", help="Keep images from this score upwards.")] = None,
    top: Annotated[str | None, typer.Option(help="Keep this many of the best, such as 25 or 10%.")] = None,
    scores: Annotated[Path | None, typer.Option(help="A file of scores instead of scoring: .csv, .jsonl, ...")] = None,
    run: RunFolder = None,
    out: Annotated[
        Path | None, typer.Option(help="Write kept.csv, rejected.csv and failed.csv in this folder.")
    ] = None,
    copy_to: Annotated[Path | None, typer.Option(help="Copy the kept images below this folder.")] = None,
    move_to: Annotated[Path | None, typer.Option(help="Move the kept images below this folder.")] = None,
    link_to: Annotated[Path | None, typer.Option(help="Link to the kept images below this folder.")] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Use what an unfinished run has.")] = False,
    column: ImageColumn = None,
    json: JsonLines = False,
    *,
    options: Scoring,
) -> None:
    """Keep the better images: print their paths, the best first.

    Images are only read, unless a folder is named for the kept ones; no file is ever replaced. Images that cannot be
    scored are never kept. With `--min` and `--top` both have to hold; equal scores are ordered by path.

    - `qdebias filter photos --min 0.5 > kept.txt` scores and lists
    - `qdebias filter photos --top 10% --run runs/photos --out lists` also writes lists with scores
    - `qdebias filter --scores scores.csv --top 100 --copy-to best` uses existing scores, from any program
    - `qdebias filter --run runs/photos --min 0.6 --link-to good` uses those of a run, without a model
    """
    limit = None if top is None else Top.parse(top)
    _check_bounds(paths or [], scores, least, limit)
    way = way_of(copy_to, move_to, link_to)
    if paths and scores:
        raise SettingError("images are scored, or scores are read from a file; leave out the paths or --scores")
    if paths:
        images, roots = _checked(paths, column, out, way)
        found_scores = [given_score(*one) for one in named_results(images, options, run)]
    else:
        if run is not None and scores is None and say_unfinished(run, method=options.method) and not partial:
            raise SettingError(f"{run} is unfinished; finish it, or choose among what is there with --partial")
        found_scores = _stored(scores, run, options)
        roots = (_common_folder(found_scores),)
    found = choose(found_scores, minimum=least, top=limit)
    _put(found, roots, out, way, json=json)
    say_failed(one.error for one in found.failed)
    if not found.kept and found.rejected:
        say(f"no image reaches the minimum; the best score is {found.rejected[0].score:.4g}")
    say(f"{len(found.kept)} images kept, {len(found.rejected)} rejected, {len(found.failed)} failed")
    raise typer.Exit(1 if found.failed else 0)


def _check_bounds(paths: Sequence[str], scores: Path | None, least: float | None, top: Top | None) -> None:
    """Say before anything is scored which images cannot be chosen."""
    choose([], minimum=least, top=top)
    for path in paths:
        if (Path(path) / RUN).is_file():
            raise SettingError(f"{path} is a run folder; choose among its images with --run {path} and no paths")
    if least is not None and not (0 <= least <= 1 if scores is None else math.isfinite(least)):
        raise SettingError(f"--min is a score in [0, 1], got {least:g}; a file of --scores may have another scale")


def way_of(copy_to: Path | None, move_to: Path | None, link_to: Path | None) -> tuple[Path, Way] | None:
    """Return where the kept images go and how, None where they stay."""
    named = [(folder, way) for folder, way in ((copy_to, COPY), (move_to, MOVE), (link_to, LINK)) if folder is not None]
    if len(named) > 1:
        raise SettingError("choose one of --copy-to, --move-to and --link-to")
    return named[0] if named else None


def _common_folder(scores: Sequence[GivenScore]) -> Path:
    """Return the deepest folder that holds all images."""
    if not scores:
        raise SettingError("there is no image to choose from")
    parents = [os.path.abspath(Path(one.path).parent) for one in scores]  # noqa: PTH100  (links stay)
    return Path(os.path.commonpath(parents))


def _stored(file: Path | None, run: Path | None, options: Options) -> list[GivenScore]:
    """Return the scores of a file, or else of a run."""
    if file is not None:
        return read_scores(file)
    if run is None:
        raise SettingError("name images, or a file with --scores, or a run folder with --run")
    with open_snapshot(run) as snapshot:
        return [given_score(*one) for one in recorded(snapshot, options.recipe, seed=options.seed)]


def _checked(
    paths: Sequence[str], column: str | None, out: Path | None, way: tuple[Path, Way] | None
) -> tuple[Images, tuple[Path, ...]]:
    """Return the images and the folders among what was typed, once nothing stands against writing what is named."""
    images = open_images(paths, column=column)
    roots = tuple(path for path in map(Path, paths) if is_folder(path))
    refuse_inputs(images, out=[out / f"{name}.csv" for name in LISTS] if out else None)
    if way is not None:
        check_all_places(images, roots, *way)
    return images, roots


def check_all_places(images: Images, roots: Sequence[Path], target: Path, way: Way) -> None:
    """Say before hours of scoring, not after, which images cannot be put elsewhere."""
    files: list[Path] = []
    for piece in images.pieces():
        if isinstance(piece, Unreadable):
            continue
        names = piece.names if isinstance(piece, NamedImages) else (piece.label,)
        strange = next((name for name in names if is_address(name) or not isinstance(piece, NamedImages)), None)
        if strange is not None:
            raise SettingError(
                f"{strange}: is not a separate file here, so that it cannot be copied, moved or linked; "
                f"choose files or folders, or leave --copy-to, --move-to and --link-to out"
            )
        files += [path for path in map(Path, names) if path.is_file()]
    check_places(files, roots, target, way)


def given_score(path: str, result: Score | Failure) -> GivenScore:
    """Return the score of an image, or why it has none."""
    if isinstance(result, Failure):
        return GivenScore(path=path, score=None, error=result.error)
    return GivenScore(path=path, score=result.value, error=None)


def _put(found: Choice, roots: Sequence[Path], out: Path | None, way: tuple[Path, Way] | None, *, json: bool) -> None:
    """Write the lists, print the kept paths as they are, or every image as an object, and place the kept images."""
    lists = dict(zip(LISTS, (found.kept, found.rejected, found.failed), strict=True))
    if out is not None:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SettingError(f"{out}: cannot be made ({error.strerror or error})") from error
        for name, images in lists.items():
            with open_writer(out / f"{name}.csv", GivenScore) as write:
                for one in images:
                    write(one)
    for name, images in lists.items() if json else ():
        for one in images:
            typer.echo(dumps({"verdict": name} | asdict(one), ensure_ascii=False))
    for one in () if json else found.kept:
        typer.echo(one.path)
    if way is not None:
        place_all([one.path for one in found.kept], roots, *way)


def place_all(paths: Sequence[str], roots: Sequence[Path], folder: Path, way: Way) -> None:
    """Put images below a folder, and say how many."""
    done = place([Path(path) for path in paths], roots, folder, way)
    before = f", {done.present} were there before" if done.present else ""
    say(f"{done.made} images {way.name} to {folder}{before}")


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
        typer.Option(
            "--ignore-unreadable", help="Do not fail for images that cannot be scored; they are still listed."
        ),
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
    images = open_images(paths, column=column)
    scale = _scale(by, calibration, least, options)
    count = below = failed = 0
    for name, result in named_results(images, options, run):
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


def _scale(by: str, file: Path | None, least: float, options: Options) -> MosScale | None:
    """Return the MOS scale, None where the score itself is what counts."""
    if by == "score" and file is None:
        if not 0 <= least <= 1:
            raise SettingError(f"--min is a score in [0, 1], got {least:g}; see --by for a MOS scale")
        return None
    scale = mos_scale(file, options)
    if scale is None or by not in BY[1:]:
        raise SettingError(
            f"--by is score, or with --calibration or a fit mos or mos_low; got --by {by} and {file or 'no file'}"
        )
    if not scale.increasing:
        raise SettingError(
            f"lower is better on the scale of {file or options.method}, and --min is a minimum; use --by score"
        )
    if by == "mos_low" and scale.interval is None:
        raise SettingError(f"{file}: holds no interval; make it again with qdebias calibrate and 2 folds or more")
    return scale


def _value(score: float, by: str, scale: MosScale | None) -> float:
    if scale is None:
        return score
    mos = scale.mos(score)
    return mos.value if mos.low is None or by == "mos" else mos.low
