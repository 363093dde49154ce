"""`qdebias score`, also on a cluster, and `qdebias frames` for several images in one prompt."""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext, redirect_stdout
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table
from rich.text import Text

from qdebias.cli.console import MOST, Summary, one_line, put, results, say, say_failed, show, track
from qdebias.cli.options import ImageColumn, JsonLines, Rows, RunFolder, Scoring, refuse_inputs, sharing
from qdebias.cli.rank import Anchors, compare_images
from qdebias.cli.runs import named_results, say_left_out
from qdebias.errors import ImageError, SettingError
from qdebias.evaluation.ranking import QUESTIONS, AnchoredRecord, Ranked, anchored_record
from qdebias.inputs import Image, Images, Inputs, find_inputs, open_images
from qdebias.inputs.addresses import unsigned
from qdebias.inputs.items import SIZE
from qdebias.inputs.video import FRAMES, places
from qdebias.integrations.ray import Progress, Workers, score_on_ray
from qdebias.methods.method import Score
from qdebias.methods.plan import Failure
from qdebias.metrics.calibration import load_calibration
from qdebias.metrics.mos import MosScale
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

_EVERY = 10.0  # seconds between two lines about how far it is

Ray = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="Score with workers of Ray, into the folder --out: `local` takes this machine, `auto` the cluster that it "
        "belongs to, HOST:PORT the head of that. The same command resumes where it stopped.",
    ),
]
Actors = Annotated[int | None, typer.Option(min=1, help="Workers, each with a model. Default: as many as fit.")]
Gpus = Annotated[float | None, typer.Option(min=0, help="GPUs of a worker, such as 0.5. Default: 1 if there are any.")]
Chunk = Annotated[int, typer.Option(min=1, help="Images per result file, which is what the death of a worker costs.")]


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
    - `qdebias score clip.mp4` gives a video the mean score of 8 frames, and says which is worst and when
    - `qdebias score s3://bucket/photos/ --ray auto --out s3://bucket/scores` uses a cluster
    - `qdebias score list.txt images.parquet "shards/*.tar" s3://bucket/photos/` reads lists, tables, shards and clouds
    """
    images = open_images(paths, column=column, frames=frames)
    refuse_inputs(images, out=Path(out) if out else None)
    if anchors is not None:
        for option, value in (("--ray", ray), ("--calibration", calibration), ("--seed", options.seed)):
            if value:
                raise SettingError(f"--anchors compares images, and {option} does not apply; leave it out")
        rows = partial(_anchored, find_inputs(paths, column=column), anchors, options, run)
        kept = columns_of(AnchoredRecord, (), columns)
        failed = _tell(rows, out, kept, json=json, every=every)
    elif ray is None:
        scale, videos = mos_scale(calibration, options), images.hold_videos()
        if scale and videos:
            raise SettingError("a MOS scale is one of images; score videos without --calibration and --fit")
        kept = columns_of(MosRecord if scale else VideoRecord if videos else Record, options.recipe.words, columns)
        failed = _tell(partial(_scored, images, options, run, scale), out, kept, json=json, every=every)
    else:
        workers = Workers(address=ray, count=actors, gpus=gpus)
        refused = {"--json": json, "--run": run, "--calibration": calibration, "--columns": columns}
        failed = score_on_cluster(images, options, workers, out=out, chunk=chunk, refused=refused)
    raise typer.Exit(1 if failed else 0)


def _scored(images: Images, options: Options, run: Path | None, scale: MosScale | None) -> Iterable[Record]:
    found = named_results(images, options, run)
    rows = (record(name, one, model=options.model, method=options.method, seed=options.seed) for name, one in found)
    if scale is None:
        return video_records(rows)
    return (with_mos(row, None if row.score is None else scale.mos(row.score)) for row in rows)


def _anchored(inputs: Inputs, anchors: Path, options: Options, run: Path | None) -> Iterator[AnchoredRecord]:
    """Compare each image with the anchors, in both orders, by what `--aspect` stands for."""
    about = {"paper": "quality"} | {f"paper+{name}": name for name in QUESTIONS}
    if options.method not in about:
        raise SettingError(
            f"--anchors compares images, and --method does not apply; leave it out. With --anchors, --aspect is "
            f"{', '.join(QUESTIONS)}"
        )
    question = about[options.method]
    found = compare_images(inputs.paths, options, question=QUESTIONS[question], run=run, anchors=anchors)
    ranked = {row.path: row for row in found.rows}
    failures = [Ranked(path=failure.name, error=failure.error) for failure in inputs.failures]
    for row in [*(ranked[str(path)] for path in inputs.paths), *failures]:
        yield anchored_record(row, model=options.model, method=f"{question} beside {anchors}")
    say_left_out(inputs.images)


def _tell(scored: Callable[[], Iterable[Record]], out: str | None, columns: Columns, *, json: bool, every: bool) -> int:
    """Score, write and print the rows as they come, and return how many failed."""
    count = failed = 0
    shown: list[Record] = []
    summary = Summary()
    with open_writer(Path(out), columns) if out else nullcontext() as write:
        rows, start = scored(), time.monotonic()
        for row in rows:
            count += 1
            if write:
                write(row)
            summary.add(row)
            if json:
                put(row.json(columns))
            elif not results.is_terminal:
                typer.echo(_line(row))
            elif every or len(shown) < MOST:
                shown.append(row)
            failed += say_failed([row.error])
        if shown and count > len(shown):
            summary.show()
        elif shown:
            _print_table(shown)
        rate = count / max(time.monotonic() - start, 1e-9)
        say(f"{count} images, {failed} failed, {rate:.2f} images/s" + (f", written to {out}" if out else ""))
    return failed


def mos_scale(path: Path | None, options: Options) -> MosScale | None:
    """Return what tells human scores: the calibration of a file, or a method that is a fit; None where nothing does."""
    fit = options.recipe.method
    if path is None:
        return fit if isinstance(fit, MosScale) else None
    calibration = load_calibration(path)
    calibration.check_origin(model=options.model, method=options.method)
    return calibration


def _line(row: Record) -> str:
    """Return score, spread, MOS and worst frame if any, and path, with tabs between."""
    score = "failed" if row.score is None else f"{row.score:.4f}"
    return "\t".join([score, *_further(row).values(), one_line(row.path)])


def _further(row: Record) -> dict[str, str]:
    """Return what a row has beside its score, in print: the deviation over seeds or frames, MOS, the worst frame."""
    cells = {}
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
    """Print a table, as far as it makes sense on a terminal."""
    known = {title for row in rows for title in _further(row)}
    titles = [title for title in ("spread", "MOS", "worst frame") if title in known]
    numbers = (Column(title, justify="right") for title in ("score", *titles))
    table = Table("image", *numbers, Column("", min_width=20))
    for row in rows:
        if row.score is None:
            table.add_row(Text(one_line(row.path)), Text("failed", style="red"))
        else:
            further, bar = _further(row), Text("█" * round(20 * row.score), style="blue")
            cells = (further.get(title, "") for title in titles)
            table.add_row(Text(one_line(row.path)), f"{row.score:.4f}", *cells, bar)
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
    with ExitStack() as stack:
        columns = columns_of(Record, options.recipe.words)
        inputs = {folder: open_images([str(folder)], frames=count) for folder in folders}
        for images in inputs.values():
            refuse_inputs(images, out=out)
        write = stack.enter_context(open_writer(out, columns)) if out else None
        scorer = options.scorer()
        for folder, images in track(inputs.items(), total=len(inputs)):
            result: Score | Failure
            try:
                result = scorer.score_frames(chosen(list(images), count))
            except ImageError as error:
                result = Failure(name="", error=str(error))
            row = record(str(folder), result, model=model, method=options.method, seed=0)
            if write:
                write(row)
            put(row.json(columns) if json else _line(row))
            failed += say_failed([row.error])
    raise typer.Exit(1 if failed else 0)


def chosen(images: Sequence[Image], count: int) -> list[Image]:
    """Return so many of the images at equal distances from the first to the last, or all if there are no more."""
    return [images[place] for place in places(len(images), count)]


def score_on_cluster(
    images: Images, options: Options, workers: Workers, *, out: str | None, chunk: int, refused: Mapping[str, object]
) -> int:
    """Score on a cluster and return how many images failed; `refused` are options that do not go with it."""
    given = [name for name, value in refused.items() if value]
    if given:
        raise SettingError(f"--ray writes scores/*.parquet into the folder --out; leave out {', '.join(given)}")
    if out is None:
        raise SettingError("--ray needs --out FOLDER: a folder that all machines see, or s3://bucket/folder")
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):  # Ray's own words about each death
        done = score_on_ray(images, out=out, setting=options, workers=workers, chunk=chunk, on_progress=_Teller())
    say_left_out(images)
    before = f", {done.skipped:,} of {done.chunks:,} chunks were done before" if done.skipped else ""
    died = f", {done.deaths} workers died" if done.deaths else ""
    say(f"{_images(done)}{before}{died}, written to {unsigned(out).rstrip('/')}/scores")
    return done.failed


class _Teller:
    """Says now and then how far the run is, and how workers died: lines, as they go into the logs of a cluster."""

    def __init__(self) -> None:
        self._next = time.monotonic() + _EVERY
        self._deaths = 0

    def __call__(self, progress: Progress) -> None:
        if progress.deaths > self._deaths:
            self._deaths = progress.deaths
            say(f"worker {self._deaths} died and is replaced: {one_line(progress.last_death)}", style="yellow")
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _EVERY
        done = progress.skipped + progress.done
        awaited = f", {progress.awaited} awaited" if progress.awaited else ""
        say(f"{done:,} of {progress.chunks:,} chunks; {_images(progress)}; {progress.at_work} workers{awaited}")


def _images(progress: Progress) -> str:
    rate = progress.images / max(progress.seconds, 1e-9)
    return f"{progress.images:,} images, {progress.failed:,} failed, {rate:.2f} images/s"
