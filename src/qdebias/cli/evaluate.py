"""`qdebias evaluate`."""

import math
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table

from qdebias.backends.load import load_backend
from qdebias.cli.console import (
    Aspect,
    Batch,
    Device,
    Dtype,
    FitFile,
    MaxSide,
    Megapixels,
    MethodName,
    Model,
    RunFolder,
    Seed,
    method_named,
    one_line,
    progress,
    results,
    say,
    user_errors,
)
from qdebias.cli.dataset_options import (
    DatasetName,
    DirectionName,
    LabelColumn,
    Labels,
    Limit,
    Resamples,
    Root,
    Subset,
    direction_named,
)
from qdebias.cli.outputs import refuse_inputs
from qdebias.cli.shown import show
from qdebias.cli.stopping import kept_in
from qdebias.evaluation import EvaluatedImage, Report
from qdebias.evaluation import evaluate as evaluate_dataset
from qdebias.evaluation.report import MEASURES
from qdebias.evaluation.tables.evidence import Evidence, evaluated_evidence
from qdebias.evaluation.tables.saved import part_name, save
from qdebias.inputs.datasets import Dataset, load_dataset
from qdebias.methods import presets
from qdebias.metrics.intervals import Interval
from qdebias.metrics.measures import Correlation
from qdebias.metrics.within import MeanCorrelation
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
    root: Root = None,
    run: RunFolder = None,
    model: Model = "nano",
    method: MethodName = "paper",
    aspect: Aspect = None,
    fit: FitFile = None,
    subset: Subset = None,
    limit: Limit = None,
    labels: Labels = None,
    direction: DirectionName = None,
    column: LabelColumn = None,
    json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Write a row per image, raw logits included, to this .csv, .jsonl or .parquet.")
    ] = None,
    literal: Literally = False,
    resamples: Resamples = 1000,
    batch: Batch = 8,
    seed: Seed = 0,
    device: Device = None,
    dtype: Dtype = None,
    max_megapixels: Megapixels = 50.0,
    max_side: MaxSide = None,
) -> None:
    """Score a dataset and correlate the scores with the human ones.

    With `--run` it can be stopped at any time: the same command goes on from there and ends with the same report.

    - `qdebias evaluate koniq10k --root data/koniq10k --run runs/koniq`
    - `qdebias evaluate koniq10k --root data/koniq10k --run runs/koniq --method vanilla` asks one question an image more
    - `qdebias evaluate labels.csv --run runs/mine` takes a table of one's own
    """
    with user_errors(), kept_in(run):
        way, method = direction_named(direction), method_named(method, aspect, fit)
        data = load_dataset(dataset, root=root, subset=subset, labels=labels, direction=way, column=column)
        refuse_inputs(data, out=out)
        _say_if_fitted_to(data, method)
        with progress(total=min(len(data), limit or len(data))) as show:
            report = evaluate_dataset(
                data,
                model=load_backend(model, device=device, dtype=dtype),
                model_name=model,
                method=method,
                run=run,
                seed=seed,
                limit=limit,
                readout="literal" if literal else "exact",
                resamples=resamples,
                batch=batch,
                max_pixels=round(max_megapixels * 1e6),
                max_side=max_side,
                on_note=lambda note: say(one_line(note), style="yellow"),
                on_progress=show,
            )
        _keep(evaluated_evidence(data, report, model=model), run, part_name(data, limit))
        _write(report, out)
    _tell(report, json=json)
    raise typer.Exit(1 if report.failures else 0)


def _say_if_fitted_to(data: Dataset, method: str) -> None:
    """Say that a fit is evaluated on what it was made with."""
    fit = presets.get(method).method
    if getattr(getattr(fit, "labels", None), "digest", None) == data.label_digest:
        say(
            f"note: {method} was fitted to these very labels, so this is not how it agrees with others; qdebias fit "
            f"printed that"
        )


def _keep(evidence: Evidence, run: Path | None, part: str) -> None:
    """Leave the scores in the run folder, for tables, bias and reports."""
    if run is not None:
        save(evidence, run, part=part)


def _tell(report: Report, *, json: bool) -> None:
    for row in report.failures:
        say(f"failed: {one_line(row.error or '')}", style="red")
    if json:
        typer.echo(report.json())
    else:
        _print(report)


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
