"""`qdebias filter`, `check` and `burst`: which images are good enough or the best, and putting them elsewhere."""

import math
import os
from collections.abc import Sequence
from dataclasses import asdict
from json import dumps
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table
from rich.text import Text

from qdebias.cli.console import one_line, put, results, say, say_failed, show, track
from qdebias.cli.options import LISTS, ImageColumn, JsonLines, Paths, Rows, RunFolder, Scoring, refuse_inputs
from qdebias.cli.runs import find_images, open_model_run, results_of, say_unfinished
from qdebias.cli.score import mos_scale
from qdebias.curation import COPY, LINK, MOVE, Choice, Top, Way, check_places, choose, place
from qdebias.curation.burst import Shot, choose_best, compare_group, draw_sheet, find_groups
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
from qdebias.system.output import written


def filter(  # noqa: A001  (the name of the command)
    paths: Annotated[
        list[str] | None,
        typer.Argument(help="Image files, folders or patterns, to be scored now. Or none, with --scores or --run."),
    ] = None,
    least: Annotated[float | None, typer.Option("--min", help="Keep images from this score upwards.")] = None,
    top: Annotated[str | None, typer.Option(help="Keep this many of the best, such as 25 or 10%.")] = None,
    scores: Annotated[Path | None, typer.Option(help="A file of scores instead of scoring: .csv, .jsonl, ...")] = None,
    run: RunFolder = None,
    out: Annotated[Path | None, typer.Option(help="Write kept.csv, rejected.csv, failed.csv in this folder.")] = None,
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
    choose([], minimum=least, top=limit)  # says before anything is scored what cannot be chosen
    for path in paths or []:
        if (Path(path) / RUN).is_file():
            raise SettingError(f"{path} is a run folder; choose among its images with --run {path} and no paths")
    if least is not None and not (0 <= least <= 1 if scores is None else math.isfinite(least)):
        raise SettingError(f"--min is a score in [0, 1], got {least:g}; a file of --scores may have another scale")
    if paths and scores:
        raise SettingError("images are scored, or scores are read from a file; leave out the paths or --scores")
    way = way_of(copy_to, move_to, link_to)
    if paths:
        images = open_images(paths, column=column)
        roots = tuple(path for path in map(Path, paths) if is_folder(path))
        refuse_inputs(images, out=[out / f"{name}.csv" for name in LISTS] if out else None)
        if way is not None:
            check_all_places(images, roots, *way)
        given = [given_score(*one) for one in results_of(images, options.scorer(), options.model, run)]
    else:
        given = _stored(scores, run, options, partial=partial)
        roots = (Path(os.path.commonpath([os.path.abspath(Path(one.path).parent) for one in given])),)  # noqa: PTH100
    found = choose(given, minimum=least, top=limit)
    _put(found, out, json=json)
    if way is not None:
        place_all([one.path for one in found.kept], roots, *way)
    say_failed(one.error for one in found.failed)
    if not found.kept and found.rejected:
        say(f"no image reaches the minimum; the best score is {found.rejected[0].score:.4g}")
    say(f"{len(found.kept)} images kept, {len(found.rejected)} rejected, {len(found.failed)} failed")
    raise typer.Exit(1 if found.failed else 0)


def way_of(copy_to: Path | None, move_to: Path | None, link_to: Path | None) -> tuple[Path, Way] | None:
    """Return where the kept images go and how, None where they stay."""
    named = [(folder, way) for folder, way in ((copy_to, COPY), (move_to, MOVE), (link_to, LINK)) if folder is not None]
    if len(named) > 1:
        raise SettingError("choose one of --copy-to, --move-to and --link-to")
    return named[0] if named else None


def _stored(file: Path | None, run: Path | None, options: Options, *, partial: bool) -> list[GivenScore]:
    """Return the scores of a file, or else of a run."""
    if file is not None:
        found = read_scores(file)
    elif run is None:
        raise SettingError("name images, or a file with --scores, or a run folder with --run")
    else:
        if say_unfinished(run, method=options.method) and not partial:
            raise SettingError(f"{run} is unfinished; finish it, or choose among what is there with --partial")
        with open_snapshot(run) as snapshot:
            found = [given_score(*one) for one in recorded(snapshot, options.recipe, seed=options.seed)]
    if not found:
        raise SettingError("there is no image to choose from")
    return found


def check_all_places(images: Images, roots: Sequence[Path], target: Path, way: Way) -> None:
    """Say before hours of scoring, not after, which images cannot be put elsewhere."""
    files: list[Path] = []
    for piece in images.pieces():
        if isinstance(piece, Unreadable):
            continue
        strange = next((name for name in piece.names if is_address(name) or not isinstance(piece, NamedImages)), None)
        if strange is not None:
            raise SettingError(
                f"{strange}: is not a separate file here, so that it cannot be copied, moved or linked; "
                f"choose files or folders, or leave --copy-to, --move-to and --link-to out"
            )
        files += [path for path in map(Path, piece.names) if path.is_file()]
    check_places(files, roots, target, way)


def given_score(path: str, result: Score | Failure) -> GivenScore:
    """Return the score of an image, or why it has none."""
    if isinstance(result, Failure):
        return GivenScore(path=path, score=None, error=result.error)
    return GivenScore(path=path, score=result.value, error=None)


def _put(found: Choice, out: Path | None, *, json: bool) -> None:
    """Write the lists, and print the kept paths as they are, or every image as an object."""
    lists = dict(zip(LISTS, (found.kept, found.rejected, found.failed), strict=True))
    if out is not None:
        with written(out):
            out.mkdir(parents=True, exist_ok=True)
        for name, images in lists.items():
            with open_writer(out / f"{name}.csv", GivenScore) as write:
                for one in images:
                    write(one)
    for name, images in lists.items() if json else ():
        for one in images:
            typer.echo(dumps({"verdict": name} | asdict(one), ensure_ascii=False))
    for one in () if json else found.kept:
        typer.echo(one.path)


def place_all(paths: Sequence[str], roots: Sequence[Path], folder: Path, way: Way) -> None:
    """Put images below a folder, and say how many."""
    made, present = place([Path(path) for path in paths], roots, folder, way)
    say(f"{made} images {way.name} to {folder}" + (f", {present} were there before" if present else ""))


def check(
    paths: Paths,
    options: Scoring,
    least: Annotated[float, typer.Option("--min", help="Minimum of every image: a score in [0, 1]; see --by.")] = 0.5,
    by: Annotated[str, typer.Option(help="score; with --calibration or a fit also mos and mos_low.")] = "score",
    calibration: Annotated[Path | None, typer.Option(help="A file of `qdebias calibrate`, for --by mos.")] = None,
    run: RunFolder = None,
    column: ImageColumn = None,
    ignore_unreadable: Annotated[
        bool, typer.Option("--ignore-unreadable", help="Do not fail for images that cannot be scored.")
    ] = False,
) -> None:
    """Fail if an image is worse than a limit: for continuous integration and commit hooks.

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
    for name, result in results_of(images, options.scorer(), options.model, run):
        count += 1
        if isinstance(result, Failure):
            failed += say_failed([result.error])
            continue
        value = result.value
        if scale is not None:
            mos = scale.mos(value)
            value = mos.value if mos.low is None or by == "mos" else mos.low
        if value < least:
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
    if scale is None or by not in ("mos", "mos_low"):
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


def burst(
    paths: Paths,
    by: Annotated[str, typer.Option(help="comparison: which of two is better; or score, of --method.")] = "comparison",
    keep: Annotated[int, typer.Option(min=1, help="How many of each group are kept.")] = 1,
    seconds: Annotated[float, typer.Option(min=0, help="Photographs taken further apart are not of one group.")] = 60.0,
    run: RunFolder = None,
    out: Rows = None,
    sheet: Annotated[Path | None, typer.Option(help="Draw the groups and the choice into this .png.")] = None,
    copy_to: Annotated[Path | None, typer.Option(help="Copy the kept images below this folder.")] = None,
    move_to: Annotated[Path | None, typer.Option(help="Move the kept images below this folder.")] = None,
    link_to: Annotated[Path | None, typer.Option(help="Link to the kept images below this folder.")] = None,
    column: ImageColumn = None,
    json: JsonLines = False,
    *,
    options: Scoring,
) -> None:
    """Keep the best of each group of similar photographs: print the paths of what is kept.

    Photographs of one scene are grouped by content, regardless of exposure and sharpness, and by capture time. A
    photograph unlike all others is kept without asking the model. Images are only read, unless a folder is named for
    the kept ones; no file is ever replaced.

    - `qdebias burst photos --sheet groups.png` shows the groups and the choice
    - `qdebias burst photos --keep 2 --copy-to best --run runs/burst`
    - `qdebias burst photos --by score --method vanilla --out groups.csv`
    """
    if by not in ("comparison", "score"):
        raise SettingError(f"--by is comparison or score; got {by!r}")
    if by == "comparison" and options.method != "paper":
        raise SettingError("a comparison has no --method, --aspect or --fit; leave it out, or choose --by score")
    way = way_of(copy_to, move_to, link_to)
    inputs = find_images(paths, column, out=out, sheet=sheet)
    roots = [path for path in map(Path, paths) if is_folder(path)]
    if way is not None:
        check_all_places(inputs.images, roots, *way)
    files = list({path.resolve(): path for path in reversed(inputs.paths)}.values())[::-1]  # each once, whatever links
    found, errors = find_groups(track(files, total=len(files)), seconds=seconds, max_pixels=options.max_pixels)
    several = [group for group in found if len(group) > 1]
    say(f"{len(several)} groups of 2 and more, {len(found) - len(several)} images are unlike any other")
    scores = _scores(several, by, options, run) if several else []
    shots = choose_best(found, scores, keep=keep)
    shots += [Shot(group=None, verdict="failed", path=str(path), error=error) for path, error in errors.items()]
    shots += [Shot(group=None, verdict="failed", path=one.name, error=one.error) for one in inputs.failures]
    if sheet is not None and (left_out := draw_sheet(shots, sheet, max_pixels=options.max_pixels)):
        say(f"{sheet}: {left_out} further groups are not drawn")
    _write(shots, out, json=json)
    kept = [shot.path for shot in shots if shot.verdict == "kept"]
    if way is not None:
        place_all(kept, roots, *way)
    failed = say_failed(shot.error for shot in shots)
    say(f"{len(kept)} images kept, {len(shots) - len(kept) - failed} rejected, {failed} failed")
    raise typer.Exit(1 if failed else 0)


def _scores(groups: Sequence[Sequence[Path]], by: str, options: Options, run: Path | None) -> list[GivenScore]:
    if by == "score":
        images = Images(arguments=tuple(str(path) for group in groups for path in group))
        return [given_score(*one) for one in results_of(images, options.scorer(), options.model, run)]
    with open_model_run(options, run) as model:
        return [one for group in track(groups, total=len(groups)) for one in compare_group(group, model)]


def _write(shots: Sequence[Shot], out: Path | None, *, json: bool) -> None:
    """Write all, and print the kept paths as they are; a table on a terminal; or every image as an object."""
    if out is not None:
        with open_writer(out, Shot) as write:
            for shot in shots:
                write(shot)
    if results.is_terminal and not json:
        table = Table(Column("group", justify="right"), "", Column("value", justify="right"), "image")
        for shot in shots:
            value = "" if shot.value is None else f"{shot.value:.4f}"
            table.add_row(str(shot.group or ""), shot.verdict, value, Text(one_line(shot.path)))
        show(table)
        return
    for shot in shots:
        if json or shot.verdict == "kept":
            typer.echo(shot.json() if json else shot.path)
