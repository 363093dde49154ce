"""`qdebias score`, also on a cluster; `frames` for several images in one prompt; `rank` for comparisons of two."""

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table
from rich.text import Text

from qdebias.cli.console import MOST, Summary, one_line, progress, put, results, say, say_failed, show, track
from qdebias.cli.options import ImageColumn, JsonLines, Paths, Rows, RunFolder, Scoring, refuse_inputs, sharing
from qdebias.cli.runs import find_images, open_model_run, results_of, say_left_out
from qdebias.errors import ImageError, SettingError
from qdebias.evaluation.ranking import QUESTIONS, AnchoredRecord, Ranked, Ranking, anchored_record
from qdebias.evaluation.ranking import rank as rank_images
from qdebias.inputs import Images, Inputs, find_inputs, open_images
from qdebias.inputs.addresses import unsigned
from qdebias.inputs.items import SIZE, container_kind
from qdebias.inputs.video import FRAMES, places
from qdebias.integrations.ray import Progress, Workers, score_on_ray
from qdebias.methods.method import Score
from qdebias.methods.plan import Failure
from qdebias.metrics.calibration import load_calibration
from qdebias.metrics.mos import MosScale
from qdebias.prompts import Question
from qdebias.runs.options import Options
from qdebias.runs.records import (
    Columns,
    MosRecord,
    Record,
    VideoRecord,
    columns_of,
    open_writer,
    record,
    video_records,
    with_mos,
)
from qdebias.system.named import nearest

Sources = Annotated[
    list[str],
    typer.Argument(
        help="Image files, folders (searched recursively), patterns in quotes, lists (.txt), tables (.parquet, .csv, "
        ".tsv), tar shards, data sets on disk, videos, and addresses of these: s3://, gs://, hf://, https://."
    ),
]
Out = Annotated[
    str | None,
    typer.Option(
        help="Also write the results to this .csv, .jsonl or .parquet; an older file is replaced when the first result "
        "is ready. With --ray: a folder, where the same command resumes."
    ),
]
CalibrationFile = Annotated[
    Path | None,
    typer.Option(help="Also give `mos` on a MOS scale, and its interval, with a file of `qdebias calibrate`."),
]
ColumnNames = Annotated[
    str | None,
    typer.Option(
        "--columns",
        help="The columns of --out and --json, comma-separated, such as path,score,deviation,p; p stands for the "
        "probabilities of all options. Default: all.",
    ),
]

Anchors = Annotated[
    Path | None,
    typer.Option(help="A folder of 2 to 50 images that never change: each image is compared with these and no others."),
]

_EVERY = 10.0  # seconds between two lines about the progress on a cluster

Ray = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="Score with Ray workers, into the folder --out: `local` uses this machine, `auto` the cluster that it "
        "belongs to, HOST:PORT the head of a cluster. The same command resumes where it stopped.",
    ),
]
Actors = Annotated[int | None, typer.Option(min=1, help="Workers, each with a model. Default: as many as fit.")]
Gpus = Annotated[float | None, typer.Option(min=0, help="GPUs of a worker, such as 0.5. Default: 1 if there are any.")]
Chunk = Annotated[int, typer.Option(min=1, help="Images per result file, which is the work lost when a worker dies.")]


def score(
    paths: Sources,
    options: Scoring,
    out: Out = None,
    json: JsonLines = False,
    every: Annotated[bool, typer.Option("--all", help="Print a row for each image, however many there are.")] = False,
    run: RunFolder = None,
    calibration: CalibrationFile = None,
    columns: ColumnNames = None,
    anchors: Anchors = None,
    column: ImageColumn = None,
    frames: Annotated[int, typer.Option(min=1, help="How many frames of a video are scored.")] = FRAMES,
    ray: Ray = None,
    actors: Actors = None,
    gpus: Gpus = None,
    chunk: Chunk = SIZE,
) -> None:
    """Score the quality of images: 0 is the worst, 1 the best.

    An image that cannot be read gets a row with its error, never a score, and the others are scored.

    - `qdebias score photo.jpg` prints a table
    - `qdebias score folder --out scores.csv` also writes a file
    - `qdebias score folder --json > scores.jsonl` is for other programs
    - `qdebias score folder --method vanilla` asks the plain question that the paper compares with
    - `qdebias score folder --fit mine.fit` scores as your own labels do, see `qdebias fit`
    - `qdebias score folder --anchors scale` compares with fixed images: strengths of different runs are on one scale
    - `qdebias score folder --run scores` can be stopped at any time, and resumes when you repeat the command
    - `qdebias score clip.mp4` gives a video the mean score of 8 frames, and the worst frame with its time
    - `qdebias score s3://bucket/photos/ --ray auto --out s3://bucket/scores` uses a cluster
    - `qdebias score list.txt images.parquet "shards/*.tar" s3://bucket/photos/` reads lists, tables, shards and clouds
    """
    images = open_images(paths, column=column, frames=frames)
    if out:
        refuse_inputs(images, out=Path(out))
    if anchors is not None:
        for option, value in (("--ray", ray), ("--calibration", calibration), ("--seed", options.seed)):
            if value:
                raise SettingError(f"--anchors compares images, and {option} does not apply; leave it out")
        kept = columns_of(AnchoredRecord, (), columns)
        rows: Iterable[Record] = _anchored(find_inputs(paths, column=column), anchors, options, run)
    elif ray is not None:
        refused = {"--json": json, "--run": run, "--calibration": calibration, "--columns": columns}
        workers = Workers(address=ray, count=actors, gpus=gpus)
        failed = _score_on_cluster(images, options, workers, out=out, chunk=chunk, refused=refused)
        raise typer.Exit(1 if failed else 0)
    else:
        scale = mos_scale(calibration, options)
        videos = any(container_kind(name) == "video" for name in images.arguments)
        if scale and videos:
            raise SettingError("a MOS scale is one of images; score videos without --calibration and --fit")
        kept = columns_of(MosRecord if scale else VideoRecord if videos else Record, options.recipe.words, columns)
        scored = results_of(images, options.scorer(), options.model, run)
        model, method, seed = options.model, options.method, options.seed
        rows = video_records(record(name, one, model=model, method=method, seed=seed) for name, one in scored)
        if scale:
            rows = (with_mos(row, None if row.score is None else scale.mos(row.score)) for row in rows)
    raise typer.Exit(1 if _print_rows(rows, out, kept, json=json, every=every) else 0)


def _anchored(inputs: Inputs, anchors: Path, options: Options, run: Path | None) -> Iterator[AnchoredRecord]:
    """Compare each image with the anchors, in both orders, about the aspect of `--aspect`."""
    aspects = {"paper": "quality"} | {f"paper+{name}": name for name in QUESTIONS}
    if options.method not in aspects:
        raise SettingError(
            f"--anchors compares images, and --method does not apply; leave it out. With --anchors, --aspect is "
            f"{', '.join(QUESTIONS)}"
        )
    aspect = aspects[options.method]
    ranking = _compare(inputs.paths, options, question=QUESTIONS[aspect], run=run, anchors=anchors)
    ranked = {row.path: row for row in ranking.rows}
    failures = [Ranked(path=failure.name, error=failure.error) for failure in inputs.failures]
    for row in [*(ranked[str(path)] for path in inputs.paths), *failures]:
        yield anchored_record(row, model=options.model, method=f"{aspect} beside {anchors}")
    say_left_out(inputs.images)


def _print_rows(rows: Iterable[Record], out: str | None, columns: Columns, *, json: bool, every: bool) -> int:
    """Write and print the rows as they are scored, and return how many failed."""
    count = failed = 0
    shown: list[Record] = []
    summary, start = Summary(), time.monotonic()
    with open_writer(Path(out), columns) if out else nullcontext() as write:
        for row in rows:
            count += 1
            if write:
                write(row)
            if row.error:
                failed += say_failed([row.error])
            if json:
                put(row.json(columns))
            elif not results.is_terminal:
                typer.echo("\t".join([*_cells(row).values(), one_line(row.path)]))
            else:
                summary.add(row)
                if every or len(shown) < MOST:
                    shown.append(row)
    if shown and len(shown) < count:
        summary.show()
    elif shown:
        _print_table(shown)
    rate = count / max(time.monotonic() - start, 1e-9)
    say(f"{count} images, {failed} failed, {rate:.2f} images/s" + (f", written to {out}" if out else ""))
    return failed


def mos_scale(path: Path | None, options: Options) -> MosScale | None:
    """Return the map to human scores: the calibration in a file, or a method that is a fit; None without either."""
    fit = options.recipe.method
    if path is None:
        return fit if isinstance(fit, MosScale) else None
    calibration = load_calibration(path)
    calibration.check_origin(model=options.model, method=options.method)
    return calibration


def _cells(row: Record) -> dict[str, str]:
    """Return the score as text, and where known the deviation over seeds or frames, MOS and the worst frame."""
    cells = {"score": "failed" if row.score is None else f"{row.score:.4f}"}
    spread = row.frame_deviation if isinstance(row, VideoRecord) else row.spread
    if spread is not None:
        cells["spread"] = f"±{spread:.4f}"
    if isinstance(row, MosRecord):
        interval = "" if row.mos_low is None else f" [{row.mos_low:.4g}, {row.mos_high:.4g}]"
        cells["MOS"] = "failed" if row.mos is None else f"{row.mos:.4g}{interval}"
    if isinstance(row, VideoRecord) and row.worst is not None:
        cells["worst frame"] = f"{row.worst:.4f} at {row.worst_frame}"
    return cells


def _print_table(rows: Sequence[Record]) -> None:
    known = {title for row in rows for title in _cells(row)}
    titles = [title for title in ("score", "spread", "MOS", "worst frame") if title in known]
    table = Table("image", *(Column(title, justify="right") for title in titles), Column("", min_width=20))
    for row in rows:
        name = Text(one_line(row.path))
        if row.score is None:
            table.add_row(name, Text("failed", style="red"))
        else:
            cells, bar = _cells(row), Text("█" * round(20 * row.score), style="blue")
            table.add_row(name, *(cells.get(title, "") for title in titles), bar)
    show(table)


def frames(
    folders: Annotated[
        list[Path],
        typer.Argument(help="Videos, or folders that each hold the frames of one as images, by name in their order."),
    ],
    model: Annotated[str, typer.Option("--model", "-m", help="A model trained on frames, such as qrealign-mini.")],
    options: Annotated[Options, sharing("max_megapixels", "max_side")],
    method: Annotated[str, typer.Option("--method", "-k", help="A method without conditions.")] = "qrealign-video",
    count: Annotated[int, typer.Option(min=1, help="How many frames, at equal distances; all if fewer.")] = 8,
    out: Rows = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON Lines, one object per video.")] = False,
) -> None:
    """Score videos by their frames: one prompt shows several frames of a video, and gives it one score.

    - `qdebias frames clip.mp4 clip/ --model qrealign-mini` prints score and name
    """
    failed = 0
    options = replace(options, model=model, method=method)
    columns = columns_of(Record, options.recipe.words)
    inputs = {folder: open_images([str(folder)], frames=count) for folder in folders}
    for images in inputs.values():
        refuse_inputs(images, out=out)
    with open_writer(out, columns) if out else nullcontext() as write:
        scorer = options.scorer()
        for folder, images in track(inputs.items(), total=len(inputs)):
            result: Score | Failure
            try:
                found = list(images)
                result = scorer.score_frames([found[place] for place in places(len(found), count)])
            except ImageError as error:
                result = Failure(name="", error=str(error))
            row = record(str(folder), result, model=model, method=options.method, seed=0)
            if write:
                write(row)
            put(row.json(columns) if json else "\t".join([*_cells(row).values(), one_line(row.path)]))
            failed += say_failed([row.error])
    raise typer.Exit(1 if failed else 0)


def _score_on_cluster(
    images: Images, options: Options, workers: Workers, *, out: str | None, chunk: int, refused: Mapping[str, object]
) -> int:
    """Score on a cluster and return how many images failed; `refused` are options that do not apply there."""
    if given := [name for name, value in refused.items() if value]:
        raise SettingError(f"--ray writes scores/*.parquet into the folder --out; leave out {', '.join(given)}")
    if out is None:
        raise SettingError("--ray needs --out FOLDER: a folder that all machines see, or s3://bucket/folder")
    deaths, due = 0, time.monotonic() + _EVERY

    def say_progress(state: Progress) -> None:
        nonlocal deaths, due
        if state.deaths > deaths:
            deaths = state.deaths
            say(f"worker {deaths} died and is replaced: {one_line(state.last_death)}", style="yellow")
        if time.monotonic() >= due:
            due = time.monotonic() + _EVERY
            done = state.skipped + state.done
            awaited = f", {state.awaited} awaited" if state.awaited else ""
            say(f"{done:,} of {state.chunks:,} chunks; {_counts(state)}; {state.at_work} workers{awaited}")

    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):  # Ray prints about each death
        done = score_on_ray(images, out=out, setting=options, workers=workers, chunk=chunk, on_progress=say_progress)
    say_left_out(images)
    before = f", {done.skipped:,} of {done.chunks:,} chunks were done before" if done.skipped else ""
    died = f", {done.deaths} workers died" if done.deaths else ""
    say(f"{_counts(done)}{before}{died}, written to {unsigned(out).rstrip('/')}/scores")
    return done.failed


def _counts(state: Progress) -> str:
    rate = f"{state.images / max(state.seconds, 1e-9):.2f} images/s"
    return f"{state.images:,} images, {state.failed:,} failed, {rate}"


def rank(
    paths: Paths,
    by: Annotated[str, typer.Option(help=f"What is compared: {', '.join(QUESTIONS)}.")] = "quality",
    opponents: Annotated[int, typer.Option(min=1, help="How many others each image is compared with, at most.")] = 8,
    run: RunFolder = None,
    out: Rows = None,
    json: JsonLines = False,
    *,
    options: Annotated[Options, sharing("model", "max_megapixels", "max_side")],
    batch: Annotated[int, typer.Option(min=1, help="Pairs per batch.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the choice of pairs.")] = 0,
    column: ImageColumn = None,
    anchors: Anchors = None,
) -> None:
    """Rank images by asking which of two is better, in both orders: strengths of the Bradley-Terry model.

    With `--run` it can be stopped at any time, and only images added later are asked about.

    - `qdebias rank photos` prints rank, strength, its standard error and path
    - `qdebias rank a.jpg b.jpg` tells which of two is better
    - `qdebias rank photos --anchors scale/` compares with these only: strengths of different runs are on one scale
    - `qdebias rank photos --opponents 16 --by sharpness --run runs/photos --out ranking.csv`
    """
    if by not in QUESTIONS:
        raise SettingError(f"--by is {', '.join(QUESTIONS)}, got {by!r}{nearest(by, QUESTIONS)}")
    inputs = find_images(paths, column, out=out)
    options = replace(options, seed=seed, batch=batch)
    with open_writer(out, Ranked) if out else nullcontext() as write:
        ranking = _compare(inputs.paths, options, question=QUESTIONS[by], opponents=opponents, run=run, anchors=anchors)
        rows = [*ranking.rows, *(Ranked(path=failure.name, error=failure.error) for failure in inputs.failures)]
        if write:
            for row in rows:
                write(row)
    titles = ("rank", "strength", "standard error", "opponents")
    table = Table(*(Column(title, justify="right") for title in titles), "image")
    for row in rows:
        error = "" if row.standard_error is None else f"{row.standard_error:.4f}"
        cells = (
            (str(row.rank), f"{row.strength:.4f}", error, str(row.opponents)) if row.rank else ("failed", "", "", "")
        )
        table.add_row(*cells, Text(one_line(row.path)))
        if json:
            typer.echo(row.json())
        elif not results.is_terminal:
            typer.echo("\t".join([*cells, one_line(row.path)]))
    if results.is_terminal and not json:
        show(table)
    failed = say_failed(row.error for row in rows)
    say(
        f"{len(rows) - failed} images ranked by {ranking.pairs:,} pairs in both orders, {failed} failed; in "
        f"{ranking.swayed:.0%} of the pairs the model preferred the same position in both orders "
        f"(log-odds of the first position: {ranking.first:+.2f}, removed)"
    )
    raise typer.Exit(1 if failed else 0)


def _compare(
    paths: Sequence[Path],
    options: Options,
    *,
    question: Question,
    opponents: int = 8,
    run: Path | None = None,
    anchors: Path | None = None,
) -> Ranking:
    """Load the model, open the run folder, and compare images with each other or with a folder of anchors."""
    fixed = find_inputs([str(anchors)]) if anchors else None
    if fixed and fixed.failures:
        raise SettingError(f"--anchors {anchors}: {fixed.failures[0].error}")
    with open_model_run(options, run) as model, progress(total=None, action="comparing", unit="pairs") as on_progress:
        return rank_images(
            paths,
            backend=model.backend,
            run=model.run,
            question=question,
            opponents=opponents,
            seed=options.seed,
            batch=options.batch,
            max_pixels=options.max_pixels,
            max_side=options.max_side,
            anchors=list(fixed.paths) if fixed else [],
            on_progress=on_progress,
        )
