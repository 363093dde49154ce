"""`qdebias score`."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table
from rich.text import Text

from qdebias.cli.cluster import CHUNK, Actors, Chunk, Gpus, Ray, score_on_cluster
from qdebias.cli.console import (
    Aspect,
    Batch,
    Device,
    Dtype,
    FitFile,
    ImageColumn,
    MaxSide,
    Megapixels,
    MethodName,
    Model,
    RunFolder,
    Seed,
    method_named,
    one_line,
    put,
    results,
    say,
    user_errors,
)
from qdebias.cli.outputs import refuse_inputs
from qdebias.cli.runs import named_results
from qdebias.cli.shown import show
from qdebias.cli.stopping import kept_in
from qdebias.cli.summary import MOST, Summary
from qdebias.inputs import Images, open_images
from qdebias.integrations.ray import Setting, Workers
from qdebias.methods import presets
from qdebias.metrics.calibration import load_calibration
from qdebias.metrics.mos import MosScale
from qdebias.runs.opening import open_run
from qdebias.runs.records import Columns, MosRecord, Record, columns_of, open_writer, record, with_mos, words_of
from qdebias.runs.run import Run
from qdebias.runs.scorer import Scorer

Sources = Annotated[
    list[str],
    typer.Argument(
        help="Image files, folders (searched recursively), patterns in quotes, lists (.txt), tables (.parquet, .csv, "
        ".tsv), tar shards, data sets on disk, and addresses of these: s3://, gs://, hf://, https://."
    ),
]
Out = Annotated[
    str | None,
    typer.Option(
        help="Also write the results to this .csv, .jsonl or .parquet; an older file is replaced when the first result "
        "is there. With --ray: a folder, where the same command goes on."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON Lines, one object an image, instead of a table.")]
CalibrationFile = Annotated[
    Path | None,
    typer.Option(
        help="Also give `mos` on a MOS scale and its interval, `mos_low` to `mos_high`, with a file of "
        "`qdebias calibrate`."
    ),
]
ColumnNames = Annotated[
    str | None,
    typer.Option(
        "--columns",
        help="The columns of --out and --json, with commas between, such as path,score,deviation,p; p stands for the "
        "probabilities of all options. Default: all.",
    ),
]


def score(
    paths: Sources,
    model: Model = "nano",
    method: MethodName = "paper",
    aspect: Aspect = None,
    out: Out = None,
    json: Json = False,
    every: Annotated[bool, typer.Option("--all", help="Print a row for each image, however many there are.")] = False,
    batch: Batch = 8,
    seed: Seed = 0,
    device: Device = None,
    dtype: Dtype = None,
    max_megapixels: Megapixels = 50.0,
    max_side: MaxSide = None,
    run: RunFolder = None,
    calibration: CalibrationFile = None,
    fit: FitFile = None,
    columns: ColumnNames = None,
    column: ImageColumn = None,
    ray: Ray = None,
    actors: Actors = None,
    gpus: Gpus = None,
    chunk: Chunk = CHUNK,
) -> None:
    """Score the quality of images: 0 is the worst, 1 the best.

    An image that cannot be read gets a row with its error, never a score, and the others are scored.

    - `qdebias score photo.jpg` prints a table
    - `qdebias score folder --out scores.csv` also writes a file
    - `qdebias score folder --json > scores.jsonl` is for other programs
    - `qdebias score folder --method vanilla` asks the plain question that the paper compares with
    - `qdebias score folder --fit mine.fit` scores as labels of one's own say, see `qdebias fit`
    - `qdebias score folder --run scores` can be stopped at any time, and goes on when it is given again
    - `qdebias score s3://bucket/photos/ --ray auto --out s3://bucket/scores` uses a cluster
    - `qdebias score list.txt images.parquet "shards/*.tar" s3://bucket/photos/` reads lists, tables, shards and clouds
    """
    with user_errors(), kept_in(run if ray is None else out):
        images, method = open_images(paths, column=column), method_named(method, aspect, fit)
        refuse_inputs(images, out=Path(out) if out else None)
        pixels = round(max_megapixels * 1e6)
        setting = Setting(
            model=model,
            method=method,
            seed=seed,
            batch=batch,
            device=device,
            dtype=dtype,
            max_pixels=pixels,
            max_side=max_side,
        )
        if ray is None:
            failed = _score_here(
                images, setting, out=out, json=json, every=every, run=run, calibration=calibration, columns=columns
            )
        else:
            workers = Workers(address=ray, count=actors, gpus=gpus)
            refused = {"--json": json, "--run": run, "--calibration": calibration, "--columns": columns}
            failed = score_on_cluster(images, setting, workers, out=out, chunk=chunk, refused=refused)
    raise typer.Exit(1 if failed else 0)


def _score_here(
    images: Images,
    setting: Setting,
    *,
    out: str | None,
    json: bool,
    every: bool,
    run: Path | None,
    calibration: Path | None,
    columns: str | None,
) -> int:
    """Score in this process and return how many images failed."""
    model, method, file = setting.model, setting.method, Path(out) if out else None
    with ExitStack() as stack:
        scale = _mos_scale(calibration, model=model, method=method)
        words = words_of(presets.get(method).method)
        kept = columns_of(MosRecord if scale else Record, words, columns)
        write = stack.enter_context(open_writer(file, kept)) if file else None
        scorer = setting.scorer()
        stored = stack.enter_context(open_run(run, scorer.fingerprint, model=model)) if run else None
        start = time.monotonic()
        rows = _rows(images, scorer, stored, model=model, method=method)
        count, failed = _tell(rows, scale, write, json=kept if json else None, every=every)
        _summarise(count, failed, time.monotonic() - start, file)
    return failed


def _tell(
    plain: Iterable[Record],
    scale: MosScale | None,
    write: Callable[[Record], None] | None,
    *,
    json: Columns | None,
    every: bool,
) -> tuple[int, int]:
    """Write and print the rows as they come, and return how many there were and how many failed."""
    count = failed = 0
    shown: list[Record] = []
    summary = Summary()
    for one in plain:
        count += 1
        row = one if scale is None else with_mos(one, None if one.score is None else scale.mos(one.score))
        if write:
            write(row)
        summary.add(row)
        _print_row(row, shown, json=json, most=None if every else MOST)
        if row.error is not None:
            failed += 1
            say(f"failed: {one_line(row.error)}", style="red")
    if shown and count > len(shown):
        summary.show()
    else:
        _print_table(shown)
    return count, failed


def _rows(images: Images, scorer: Scorer, run: Run | None, *, model: str, method: str) -> Iterator[Record]:
    """Yield a row for each image, in order."""
    for name, result in named_results(images, scorer, run, method=method):
        yield record(name, result, model=model, method=method, seed=scorer.context.seed)


def _mos_scale(path: Path | None, *, model: str, method: str) -> MosScale | None:
    """Return what tells human scores: the calibration of a file, or a method that is a fit; None where nothing does."""
    fit = presets.get(method).method
    if path is None:
        return fit if isinstance(fit, MosScale) else None
    calibration = load_calibration(path)
    calibration.check_origin(model=model, method=method)
    return calibration


def _print_row(row: Record, rows: list[Record], *, json: Columns | None, most: int | None) -> None:
    """Print a row, or keep it for the table where that is printed in the end."""
    if json is not None:
        put(row.json(json))
    elif not results.is_terminal:
        typer.echo(_line(row))
    elif most is None or len(rows) < most:
        rows.append(row)


def _line(row: Record) -> str:
    """Return score, spread and MOS if any, and path, with tabs between."""
    score = "failed" if row.score is None else f"{row.score:.4f}"
    return "\t".join([score, *_spread(row), *_mapped(row), one_line(row.path)])


def _print_table(rows: Sequence[Record]) -> None:
    """Print a table, as far as it makes sense on a terminal."""
    if not rows:
        return
    mapped = [Column("MOS", justify="right")] if isinstance(rows[0], MosRecord) else []
    spread = [Column("spread", justify="right")] if any(map(_spread, rows)) else []
    table = Table("image", Column("score", justify="right"), *spread, *mapped, Column("", min_width=20))
    for row in rows:
        if row.score is None:
            table.add_row(Text(one_line(row.path)), Text("failed", style="red"))
        else:
            bar = Text("█" * round(20 * row.score), style="blue")
            table.add_row(Text(one_line(row.path)), f"{row.score:.4f}", *_spread(row), *_mapped(row), bar)
    show(table)


def _spread(row: Record) -> list[str]:
    """Return the deviation over seeds in print, nothing where there is one seed."""
    return [] if row.spread is None else [f"±{row.spread:.4f}"]


def _mapped(row: Record) -> list[str]:
    """Return MOS and interval in print, nothing where there is no MOS scale."""
    if not isinstance(row, MosRecord):
        return []
    if row.mos is None:
        return ["failed"]
    interval = "" if row.mos_low is None else f" [{row.mos_low:.4g}, {row.mos_high:.4g}]"
    return [f"{row.mos:.4g}{interval}"]


def _summarise(count: int, failed: int, seconds: float, out: Path | None) -> None:
    where = f", written to {out}" if out else ""
    say(f"{count} images, {failed} failed, {count / max(seconds, 1e-9):.2f} images/s{where}")
