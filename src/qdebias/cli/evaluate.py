"""`qdebias evaluate`."""

import math
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table

from qdebias.cli import kept_in
from qdebias.cli.console import progress, results, say, say_failed, say_note
from qdebias.cli.options import DatasetName, JsonObject, LabelOptions, Limit, Resamples, RunFolder, Scoring
from qdebias.cli.outputs import refuse_inputs
from qdebias.cli.shown import show
from qdebias.evaluation import EvaluatedImage, Report
from qdebias.evaluation import evaluate as evaluate_dataset
from qdebias.evaluation.evidence import Readout, part_name, save
from qdebias.evaluation.report import MEASURES
from qdebias.inputs.datasets import Dataset
from qdebias.methods.recipe import Recipe
from qdebias.metrics.intervals import Interval
from qdebias.metrics.measures import Correlation, MeanCorrelation
from qdebias.runs.options import Options
from qdebias.runs.records import columns_of, open_writer

_TITLES = {
    "srcc": "SRCC",
    "plcc": "PLCC",
    "plcc_logistic": "PLCC, 4-parameter logistic",
    "plcc_logistic5": "PLCC, 5-parameter logistic",
    "krcc": "KRCC",
    "rmse": "RMSE, 4-parameter logistic",
}


Literally = Annotated[
    bool, typer.Option("--literal", help="Compute exp / (exp + exp) as published scripts do, rounding included.")
]


def evaluate(
    dataset: DatasetName,
    labels: LabelOptions,
    options: Scoring,
    run: RunFolder = None,
    limit: Limit = None,
    json: JsonObject = False,
    out: Annotated[
        Path | None, typer.Option(help="Write a row per image, raw logits included, to this .csv, .jsonl or .parquet.")
    ] = None,
    literal: Literally = False,
    resamples: Resamples = 1000,
) -> None:
    """Score a dataset and correlate the scores with the human ones.

    With `--run` it can be stopped at any time: the same command resumes and ends with the same report.

    - `qdebias evaluate koniq10k --root data/koniq10k --run runs/koniq`
    - `qdebias evaluate koniq10k --root data/koniq10k --run runs/koniq --method vanilla` asks one more question
    - `qdebias evaluate labels.csv --run runs/mine` takes your own table
    """
    with kept_in(run):
        data = labels.load(dataset)
        refuse_inputs(data, out=out)
        _say_if_fitted_to(data, options.recipe)
        readout: Readout = "literal" if literal else "exact"
        report = evaluated(data, options, run, limit=limit, readout=readout, resamples=resamples)
        if run is not None:  # for tables, bias and reports
            save(report.evidence(data, model=options.model), run, part=part_name(data, limit))
        _write(report, out)
    say_failed(row.error for row in report.failures)
    if json:
        typer.echo(report.json())
    else:
        _print(report)
    raise typer.Exit(1 if report.failures else 0)


def evaluated(
    data: Dataset,
    options: Options,
    run: Path | None,
    *,
    limit: int | None,
    readout: Readout = "exact",
    resamples: int = 0,
) -> Report:
    """Score a dataset under a progress bar."""
    with progress(total=min(len(data), limit or len(data))) as show:
        return evaluate_dataset(
            data,
            model=options.backend(),
            model_name=options.model,
            method=options.recipe,
            run=run,
            seed=options.seed,
            limit=limit,
            readout=readout,
            resamples=resamples,
            batch=options.batch,
            max_pixels=options.max_pixels,
            max_side=options.max_side,
            on_note=say_note,
            on_progress=show,
        )


def _say_if_fitted_to(data: Dataset, recipe: Recipe) -> None:
    """Say that a fit is evaluated on what it was made with."""
    if getattr(getattr(recipe.method, "labels", None), "digest", None) == data.label_digest:
        say(
            f"note: {recipe.name} was fitted to these very labels, so this is not how it agrees with others; qdebias "
            f"fit printed that"
        )


def _write(report: Report, out: Path | None) -> None:
    if out is None:
        return
    words = next((tuple(row.probabilities) for row in report.rows if row.probabilities), ())
    with open_writer(out, columns_of(EvaluatedImage, words)) as write:
        for row in report.rows:
            write(row)


def _print(report: Report) -> None:
    results.print(f"{report.summary}; {report.model}, {report.method}, seed {report.seed}")
    failed = f", {len(report.failures)} failed and are left out" if report.failures else ""
    results.print(f"{report.count:,} images correlated{failed}")
    show(_overall(report.correlation))
    if report.parts:
        show(_parts(report))
    what = "groups of images" if report.grouped else "images"
    say(f"95 % bootstrap intervals over {what}; SRCC and KRCC rank the log-odds of the score")
    for note in (*([f"labels: {report.labels}"] if report.labels else []), *report.notes):
        say(f"note: {note}")


def _overall(correlation: Correlation) -> Table:
    table = Table("", Column("value", justify="right"), Column("95 % interval", no_wrap=True))
    for name in MEASURES:
        table.add_row(_TITLES[name], *_value(correlation, name))
    return table


def _parts(report: Report) -> Table:
    table = Table(
        "part",
        Column("images", justify="right"),
        *(Column(title, justify="right") for title in ("SRCC", "interval", "PLCC", "interval")),
    )
    for part in report.parts:
        found = part.correlation
        cells = (*_value(found, "srcc"), *_value(found, "plcc")) if found else (part.reason,)
        table.add_row(f"{part.kind} {part.name}", f"{part.count:,}", *cells)
    for kind, mean in report.means.items():
        table.add_row(f"mean of {mean.parts} {kind}s", "", *_value(mean, "srcc"), *_value(mean, "plcc"))
    return table


def _value(correlation: Correlation | MeanCorrelation, name: str) -> tuple[str, str]:
    """Return a measure and its interval."""
    value: float = getattr(correlation, name)
    interval: Interval | None = getattr(correlation, f"{name}_interval")
    if math.isnan(value):
        return "no fit", ""
    return f"{value:.3f}", "" if interval is None else f"{interval.low:.3f}..{interval.high:.3f}"
