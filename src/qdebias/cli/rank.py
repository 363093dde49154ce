"""`qdebias rank`: images in order, by asking which of two is better."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text

from qdebias.cli.console import one_line, results, say, say_failed, show, words
from qdebias.cli.options import ImageColumn, JsonLines, Paths, Rows, RunFolder, refuse_inputs, sharing
from qdebias.cli.runs import open_folder, say_left_out
from qdebias.errors import SettingError
from qdebias.evaluation.ranking import QUESTIONS, Ranked, Ranking
from qdebias.evaluation.ranking import rank as rank_images
from qdebias.inputs import find_inputs
from qdebias.prompts import Question
from qdebias.runs.options import Options
from qdebias.runs.records import open_writer
from qdebias.runs.scorer import limited
from qdebias.system.named import nearest

Anchors = Annotated[
    Path | None,
    typer.Option(help="A folder of 2 to 50 images that never change: each image is compared with these and no others."),
]


def rank(
    paths: Paths,
    by: Annotated[str, typer.Option(help=f"What is compared: {', '.join(QUESTIONS)}.")] = "quality",
    opponents: Annotated[int, typer.Option(min=1, help="With how many others each image is compared, at most.")] = 8,
    run: RunFolder = None,
    out: Rows = None,
    json: JsonLines = False,
    *,
    options: Annotated[Options, sharing("model", "max_megapixels", "max_side")],
    batch: Annotated[int, typer.Option(min=1, help="How many pairs go to the model at a time.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the choice of pairs.")] = 0,
    column: ImageColumn = None,
    anchors: Anchors = None,
) -> None:
    """Rank images by asking which of two is better, in both orders: strengths of the Bradley-Terry model.

    With `--run` it can be stopped at any time, and only images added later are asked about.

    - `qdebias rank photos` prints rank, strength, its standard error and path
    - `qdebias rank a.jpg b.jpg` says which of two is better
    - `qdebias rank photos --anchors scale/` compares with these only: strengths of different runs are on one scale
    - `qdebias rank photos --opponents 16 --by sharpness --run runs/photos --out ranking.csv`
    """
    if by not in QUESTIONS:
        raise SettingError(f"--by is {', '.join(QUESTIONS)}, got {by!r}{nearest(by, QUESTIONS)}")
    inputs = find_inputs(paths, column=column)
    say_left_out(inputs.images)
    refuse_inputs(inputs.images, out=out)
    options = replace(options, seed=seed, batch=batch)
    with open_writer(out, Ranked) if out else nullcontext() as write:
        found = compare_images(
            inputs.paths, options, question=QUESTIONS[by], opponents=opponents, run=run, anchors=anchors
        )
        rows = [*found.rows, *(Ranked(path=failure.name, error=failure.error) for failure in inputs.failures)]
        if write:
            for row in rows:
                write(row)
    _print(rows, json=json)
    failed = say_failed(row.error for row in rows)
    say(
        f"{len(rows) - failed} images ranked by {found.pairs:,} pairs in both orders, {failed} failed; in "
        f"{found.swayed:.0%} of the pairs the model preferred the same place in both orders "
        f"(log-odds of the first place: {found.first:+.2f}, taken out)"
    )
    raise typer.Exit(1 if failed else 0)


def compare_images(
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
    for failure in fixed.failures if fixed else ():
        raise SettingError(f"--anchors {anchors}: {failure.error}")
    backend = options.backend()
    fingerprint = limited(backend.fingerprint, options.max_side)
    columns = (SpinnerColumn(), TextColumn("comparing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=words, transient=True, disable=not words.is_terminal)
    with open_folder(run, fingerprint, options.model) as folder, bar:
        task = bar.add_task("comparing", total=None)
        return rank_images(
            paths,
            backend=backend,
            run=folder,
            question=question,
            opponents=opponents,
            seed=options.seed,
            batch=options.batch,
            max_pixels=options.max_pixels,
            max_side=options.max_side,
            anchors=list(fixed.paths) if fixed else [],
            on_progress=lambda done, total: bar.update(task, completed=done, total=total),
        )


def _print(rows: Sequence[Ranked], *, json: bool) -> None:
    if json:
        for row in rows:
            typer.echo(row.json())
    elif results.is_terminal:
        numbers = ("rank", "strength", "standard error", "opponents")
        table = Table(*(Column(name, justify="right") for name in numbers), "image")
        for row in rows:
            table.add_row(*_cells(row), Text(one_line(row.path)))
        show(table)
    else:
        for row in rows:
            typer.echo("\t".join([*_cells(row), one_line(row.path)]))


def _cells(row: Ranked) -> tuple[str, str, str, str]:
    if row.rank is None:
        return "failed", "", "", ""
    error = "" if row.standard_error is None else f"{row.standard_error:.4f}"
    return str(row.rank), f"{row.strength:.4f}", error, str(row.opponents)
