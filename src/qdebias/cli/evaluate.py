"""`qdebias evaluate`, and `qdebias fit` and `qdebias calibrate`: scores beside human ones, or fitted to them."""

import math
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Column, Table

from qdebias.cli.compare import names_in
from qdebias.cli.console import progress, results, say, say_failed, say_note, show
from qdebias.cli.options import (
    Asking,
    DatasetName,
    JsonObject,
    LabelOptions,
    Limit,
    Resamples,
    RunFolder,
    Scoring,
    refuse_inputs,
)
from qdebias.cli.paper import form_of, write_tables
from qdebias.errors import SettingError
from qdebias.evaluation import EvaluatedImage, Report
from qdebias.evaluation import evaluate as evaluate_dataset
from qdebias.evaluation.evidence import Readout, save
from qdebias.evaluation.fitting import METHODS
from qdebias.evaluation.fitting import fit as fit_dataset
from qdebias.evaluation.report import MEASURES
from qdebias.inputs.datasets import Dataset
from qdebias.methods import presets
from qdebias.methods.fitted import check_name
from qdebias.metrics.calibration import KINDS, Calibration, Origin, save_calibration
from qdebias.metrics.calibration import calibrate as fit_map
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


def evaluate(
    dataset: DatasetName,
    labels: LabelOptions,
    options: Scoring,
    run: RunFolder = None,
    limit: Limit = None,
    json: JsonObject = False,
    out: Annotated[Path | None, typer.Option(help="Write a row per image with logits: .csv, .jsonl, .parquet.")] = None,
    literal: Annotated[bool, typer.Option("--literal", help="Compute and round as published scripts do.")] = False,
    resamples: Resamples = 1000,
) -> None:
    """Score a dataset and correlate the scores with the human ones.

    With `--run` it can be stopped at any time: the same command resumes and ends with the same report.

    - `qdebias evaluate koniq10k --root data/koniq10k --run runs/koniq`
    - `qdebias evaluate koniq10k --root data/koniq10k --run runs/koniq --method vanilla` asks one more question
    - `qdebias evaluate labels.csv --run runs/mine` takes your own table
    """
    data = labels.load(dataset)
    refuse_inputs(data, out=out)
    if getattr(getattr(options.recipe.method, "labels", None), "digest", None) == data.label_digest:
        say(
            f"note: {options.method} was fitted to these very labels, so this is not how it agrees with others; "
            f"qdebias fit printed that"
        )
    readout: Readout = "literal" if literal else "exact"
    data = data.first(limit)
    report = evaluated(data, options, run, readout=readout, resamples=resamples)
    if run is not None:  # for tables, bias and reports
        save(report.evidence(data, model=options.model), run, part=data.part)
    if out is not None:
        words = next((tuple(row.probabilities) for row in report.rows if row.probabilities), ())
        with open_writer(out, columns_of(EvaluatedImage, words)) as write:
            for row in report.rows:
                write(row)
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
    readout: Readout = "exact",
    resamples: int = 0,
) -> Report:
    """Score a dataset under a progress bar."""
    with progress(total=len(data)) as show:
        return evaluate_dataset(
            data,
            method=options.recipe,
            run=run,
            readout=readout,
            resamples=resamples,
            on_progress=show,
            **_asking(options),
        )


def _asking(options: Options) -> dict[str, Any]:
    """Load the model, and return what `evaluate` and `fit` are told alike."""
    return {
        "model": options.backend(),
        "model_name": options.model,
        "seed": options.seed,
        "batch": options.batch,
        "max_pixels": options.max_pixels,
        "max_side": options.max_side,
        "on_note": say_note,
    }


def _print(report: Report) -> None:
    results.print(f"{report.summary}; {report.model}, {report.method}, seed {report.seed}")
    failed = f", {len(report.failures)} failed and are left out" if report.failures else ""
    results.print(f"{report.count:,} images correlated{failed}")
    table = Table("", Column("value", justify="right"), Column("95 % interval", no_wrap=True))
    for name in MEASURES:
        table.add_row(_TITLES[name], *_value(report.correlation, name))
    show(table)
    if report.parts:
        titles = ("images", "SRCC", "interval", "PLCC", "interval")
        parts = Table("part", *(Column(title, justify="right") for title in titles))
        for part in report.parts:
            found = part.correlation
            cells = (*_value(found, "srcc"), *_value(found, "plcc")) if found else (part.reason,)
            parts.add_row(f"{part.kind} {part.name}", f"{part.count:,}", *cells)
        for kind, mean in report.means.items():
            parts.add_row(f"mean of {mean.parts} {kind}s", "", *_value(mean, "srcc"), *_value(mean, "plcc"))
        show(parts)
    what = "groups of images" if report.grouped else "images"
    say(f"95 % bootstrap intervals over {what}; SRCC and KRCC rank the log-odds of the score")
    for note in (*([f"labels: {report.labels}"] if report.labels else []), *report.notes):
        say(f"note: {note}")


def _value(correlation: Correlation | MeanCorrelation, name: str) -> tuple[str, str]:
    """Return a measure and its interval."""
    value: float = getattr(correlation, name)
    interval: Interval | None = getattr(correlation, f"{name}_interval")
    if math.isnan(value):
        return "no fit", ""
    return f"{value:.3f}", "" if interval is None else f"{interval.low:.3f}..{interval.high:.3f}"


def fit(
    dataset: DatasetName,
    labels: LabelOptions,
    options: Asking,
    run: RunFolder = None,
    methods: Annotated[
        list[str] | None,
        typer.Option(
            "--methods",
            "-k",
            help="What the model is asked, comma-separated; the first gives the zero-shot score that the fit has to "
            f"surpass. `vanilla` alone is fastest. Default: {','.join(METHODS)}.",
        ),
    ] = None,
    folds: Annotated[int, typer.Option(min=2, help="Folds of the cross-validation.")] = 5,
    level: Annotated[float, typer.Option(help="Share of new labels that the interval should contain, below 1.")] = 0.9,
    out: Annotated[Path, typer.Option(help=f"The file to write; its name ends in {presets.FIT}.")] = Path(
        "quality.fit"
    ),
    limit: Limit = None,
    resamples: Resamples = 1000,
) -> None:
    """Fit a model's scores to your own labels, from about 50 images, and report their agreement on held-out images.

    Exit code 2, and no file, if the fit is no better than the score without labels.

    - `qdebias fit labels.csv --root photos --run runs/mine --out mine.fit` fits what the model knows to the labels
    - `qdebias score folder --fit mine.fit` scores with it, and gives `mos` and its interval
    """
    check_name(out)
    data = labels.load(dataset)
    refuse_inputs(data, out=out)
    data = data.first(limit)
    with progress(total=len(data)) as tell:
        made = fit_dataset(
            data,
            methods=names_in(methods or []) or METHODS,
            run=run,
            folds=folds,
            level=level,
            resamples=resamples,
            on_progress=tell,
            **_asking(options),
        )
    made.save(out)
    say_failed(failure.error for failure in made.failures)
    write_tables([made.comparison.table()], form_of(None, None), None)
    interval = made.method.interval
    say(
        f"{interval.level:.0%} of labels lie within {interval.half_width:.4g} of what is predicted without them\n"
        f"written to {out}; apply it with qdebias score --fit {out}"
    )
    raise typer.Exit(1 if made.failures else 0)


def calibrate(
    dataset: DatasetName,
    labels: LabelOptions,
    options: Scoring,
    run: RunFolder = None,
    kind: Annotated[str, typer.Option(help=f"{' or '.join(KINDS)}; the curve needs fewer images.")] = "isotonic",
    folds: Annotated[int, typer.Option(min=0, help="Folds of the cross-validation; 0: none, and no interval.")] = 5,
    level: Annotated[float, typer.Option(min=0, max=1, help="Share of new images that the interval holds.")] = 0.9,
    split: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share of images that only set the interval; 0: none."),
    ] = 0.0,
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("calibration.json"),
    limit: Limit = None,
) -> None:
    """Fit a monotone map from scores to the MOS scale of a labelled sample, with its error and an interval.

    - `qdebias calibrate labels.csv --root photos --run runs/mine --out mos.json` fits it on your own labels
    - `qdebias score folder --calibration mos.json` applies it: columns `mos`, `mos_low`, `mos_high`
    """
    if kind not in KINDS:
        raise SettingError(f"--kind is {' or '.join(KINDS)}, got {kind!r}")
    data = labels.load(dataset)
    refuse_inputs(data, out=out)
    report = evaluated(data.first(limit), options, run)
    scored = [(row.score, row.mos) for row in report.rows if row.score is not None]
    made = fit_map(
        *zip(*scored, strict=True),
        origin=Origin(model=options.model, method=options.method, seed=options.seed, labels=report.summary),
        kind=kind,
        increasing=data.direction == "higher",
        folds=folds,
        level=level,
        split=split,
    )
    save_calibration(made, out)
    _print_calibration(report, made, out, split=split > 0)
    raise typer.Exit(1 if report.failures else 0)


def _print_calibration(report: Report, made: Calibration, out: Path, *, split: bool) -> None:
    say_failed(row.error for row in report.failures)
    corners = f" with {len(made.scores)} corners" if made.kind == "isotonic" else ""
    results.print(f"{made.kind} map{corners} from {made.count:,} images, scale {made.low:g} to {made.high:g}")
    if made.error is not None:
        error = made.error
        results.print(
            f"cross-validated over {error.folds} folds: RMSE {error.rmse:.4g} (always the mean: "
            f"{error.constant_rmse:.4g}), mean absolute error {error.mae:.4g}, bias {error.bias:+.2g}, "
            f"SRCC {error.srcc:.3f}, PLCC {error.plcc:.3f}"
        )
    if made.interval is not None:
        interval = made.interval
        results.print(
            f"interval of level {interval.level:g}: mos ± {interval.half_width:.4g}; {interval.coverage:.1%} of the "
            f"images lie within the one that the other {'half of those set aside gives' if split else 'folds give'}"
        )
    say(f"written to {out}; apply it with qdebias score --calibration {out}")
