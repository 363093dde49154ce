"""`qdebias evaluate` and `compare`: agreement with human scores; `fit` and `calibrate`: scores fitted to them."""

import hashlib
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Column, Table

from qdebias.backends.load import split_arguments
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
    sharing,
)
from qdebias.cli.paper import Form, Out, form_of, tell_failures, write_tables
from qdebias.cli.runs import open_model_run, say_unfinished, shown
from qdebias.errors import SettingError
from qdebias.evaluation import EvaluatedImage, Report
from qdebias.evaluation import evaluate as evaluate_dataset
from qdebias.evaluation.comparison import BEST, compare_models, compare_stored, most_questions_first
from qdebias.evaluation.evidence import save
from qdebias.evaluation.fitting import METHODS
from qdebias.evaluation.fitting import fit as fit_dataset
from qdebias.evaluation.method_scores import ModelRun
from qdebias.evaluation.report import MEASURES
from qdebias.inputs.datasets import Dataset
from qdebias.methods import presets
from qdebias.methods.fitted import check_name
from qdebias.metrics.calibration import KINDS, Calibration, Origin, save_calibration
from qdebias.metrics.calibration import calibrate as fit_map
from qdebias.metrics.measures import Correlation, MeanCorrelation
from qdebias.runs.options import Options
from qdebias.runs.records import columns_of, open_writer

DEFAULT = ("paper", "vanilla")
"""The methods that are compared by default."""

Sources = Annotated[
    list[str],
    typer.Argument(
        help="A dataset, by name or as a label file, to ask a model about; or, with --mos, run folders and files of "
        "scores (.csv, .jsonl, .parquet)."
    ),
]
Methods = Annotated[
    list[str] | None,
    typer.Option("--methods", "-k", help=f"Comma-separated, or repeated. Default: {','.join(DEFAULT)}."),
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        "-m",
        help="A model; may be repeated, each with its own run folder in --run. Methods after a = are for "
        "this model alone: qrealign-mini=qrealign. Default: nano.",
    ),
]
Mos = Annotated[str | None, typer.Option(help="Human scores, by name (with --root) or label file. No model is asked.")]
Against = Annotated[str | None, typer.Option(help=f"Differences to this method or the `{BEST}`. Default: the first.")]
Lower = Annotated[list[str] | None, typer.Option(help="Name, without suffix, of a file where lower is better.")]

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
    data = labels.load(dataset, limit=limit, out=out)
    if getattr(getattr(options.recipe.method, "labels", None), "digest", None) == data.label_digest:
        say(
            f"note: {options.method} was fitted to these same labels, so this is not its agreement on new images; "
            f"qdebias fit printed that"
        )
    report = _evaluated(data, options, run, readout="literal" if literal else "exact", resamples=resamples)
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


def _evaluated(data: Dataset, options: Options, run: Path | None, **settings: Any) -> Report:  # noqa: ANN401
    """Load the model and score a dataset under a progress bar."""
    with progress(total=len(data)) as show:
        return evaluate_dataset(data, method=options.recipe, run=run, on_progress=show, **settings, **_model(options))


def _model(options: Options) -> dict[str, Any]:
    """Load the model, and return the arguments that `evaluate` and `fit` have in common."""
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
            one = part.correlation
            cells = (*_value(one, "srcc"), *_value(one, "plcc")) if one else (part.reason,)
            parts.add_row(f"{part.kind} {part.name}", f"{part.count:,}", *cells)
        for kind, mean in report.means.items():
            parts.add_row(f"mean of {mean.parts} {kind}s", "", *_value(mean, "srcc"), *_value(mean, "plcc"))
        show(parts)
    units = "groups of images" if report.grouped else "images"
    say(f"95 % bootstrap intervals over {units}; SRCC and KRCC rank the log-odds of the score")
    if report.labels:
        say(f"note: labels: {report.labels}")
    for note in report.notes:
        say(f"note: {note}")


def _value(correlation: Correlation | MeanCorrelation, name: str) -> tuple[str, str]:
    """Return a measure and its interval."""
    value, interval = getattr(correlation, name), getattr(correlation, f"{name}_interval")
    if math.isnan(value):
        return "no fit", ""
    return f"{value:.3f}", f"{interval.low:.3f}..{interval.high:.3f}" if interval else ""


def compare(
    sources: Sources,
    labels: LabelOptions,
    options: Annotated[Options, sharing("batch", "seed", "max_megapixels", "max_side")],
    methods: Methods = None,
    run: RunFolder = None,
    model: Models = None,
    mos: Mos = None,
    against: Against = None,
    lower_is_better: Lower = None,
    limit: Limit = None,
    json: JsonObject = False,
    form: Form = None,
    out: Out = None,
    resamples: Resamples = 1000,
) -> None:
    """Compare methods or models on the same images: SRCC and PLCC, and the difference of each to one of them.

    Intervals of differences are paired. With `--run` a method asks only what none asked before.

    - `qdebias compare koniq10k --root data/koniq10k --run runs/koniq --methods paper,vanilla,average,winner`
    - `qdebias compare labels.csv --model mplug-owl3=paper --model hf:FOLDER=sep-levels5 --run runs/mine`
    - `qdebias compare runs/koniq --mos koniq10k --root data/koniq10k` compares what a run holds, without a model
    - `qdebias compare mine.csv theirs.csv --mos labels.csv` compares files of scores, from any program
    """
    chosen, named = form_of(form, out), names_in(methods or [])
    if mos is None and len(sources) > 1:
        raise SettingError("a model is asked about one dataset; to compare files or run folders, give --mos")
    paths = list(map(Path, sources)) if mos is not None else []
    files = bool(paths) and not any(path.is_dir() for path in paths)
    data = labels.load(mos or sources[0], limit=limit, images=not files, out=out)
    if paths:
        say_unfinished(*paths)
        lower, seed = lower_is_better or (), options.seed
        found = compare_stored(paths, data, named, seed=seed, against=against, lower=lower, resamples=resamples)
    else:
        methods_of = models_of(model or ["nano"], named or DEFAULT)
        folders = run_folders(run, methods_of)

        @contextmanager
        def opened(model: str) -> Iterator[ModelRun]:
            methods = [recipe.name for recipe in most_questions_first(methods_of[model])]
            with (
                open_model_run(replace(options, model=model), folders[model]) as model_run,
                shown(model_run, len(data), methods) as scored,
            ):
                yield scored

        found = compare_models(data, methods_of, opened, against=against, resamples=resamples)
    if json:
        typer.echo(found.json())
    if out is not None or not json:
        write_tables([found.table()], chosen, out)
    raise typer.Exit(tell_failures(found.evidence))


def models_of(given: Sequence[str], methods: Sequence[str]) -> dict[str, list[str]]:
    """Return the methods by the name of the model: those behind its "=", or else those that are named for all."""
    found: dict[str, list[str]] = {}
    for text in given:
        model, own = text, list[str]()
        bare, _ = split_arguments(text)
        for name, arguments in ((bare, text[len(bare) :]), (text, "")):  # arguments of the chat template
            before, mark, after = name.rpartition("=")
            named = names_in([after]) if mark else []
            if named and all(map(_is_method, named)):
                model, own = before + arguments, named
                break
        if model in found:
            raise SettingError(f"--model {model} is named twice; name all of its methods after one =")
        found[model] = own or list(methods)
    return found


def run_folders(run: Path | None, models: Iterable[str]) -> dict[str, Path | None]:
    """Return the run folder of each model: the folder itself for one, a folder in it for each of several.

    A name that is none of a folder is changed, and gets a hash, so that none is another's.
    """
    names = list(models)
    if run is None or len(names) == 1:
        return dict.fromkeys(names, run)
    if (run / "run.json").is_file():
        raise SettingError(f"--run {run} is the run of one model; name another folder, for a folder of each model")
    folders: dict[str, Path | None] = {}
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[-80:]
        unique = plain if plain == name else f"{plain}-{hashlib.blake2b(name.encode(), digest_size=4).hexdigest()}"
        folders[name] = run / unique
    return folders


def names_in(given: Sequence[str]) -> list[str]:
    """Return the methods of options that may hold several with commas between; one may have commas of its own."""
    names: list[str] = []
    for text in given:
        names += [text] if _is_method(text) else [name.strip() for name in text.split(",") if name.strip()]
    return names


def _is_method(text: str) -> bool:
    try:
        presets.get(text)
    except SettingError:
        return False
    return True


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
            help="The methods that provide features, comma-separated; the first gives the zero-shot score that the "
            f"fit has to surpass. `vanilla` alone is fastest. Default: {','.join(METHODS)}.",
        ),
    ] = None,
    folds: Annotated[int, typer.Option(min=2, help="Folds of the cross-validation.")] = 5,
    level: Annotated[float, typer.Option(help="Share of new labels that the interval should contain, below 1.")] = 0.9,
    out: Annotated[Path, typer.Option(help=f"The {presets.FIT} file to write.")] = Path("quality.fit"),
    limit: Limit = None,
    resamples: Resamples = 1000,
) -> None:
    """Fit a model's scores to your own labels, from about 50 images, and report their agreement on held-out images.

    Exit code 2, and no file, if the fit is no better than the score without labels.

    - `qdebias fit labels.csv --root photos --run runs/mine --out mine.fit` fits what the model knows to the labels
    - `qdebias score folder --fit mine.fit` scores with it, and gives `mos` and its interval
    """
    check_name(out)
    data = labels.load(dataset, limit=limit, out=out)
    with progress(total=len(data)) as show:
        made = fit_dataset(
            data,
            methods=names_in(methods or []) or METHODS,
            run=run,
            folds=folds,
            level=level,
            resamples=resamples,
            on_progress=show,
            **_model(options),
        )
    made.save(out)
    say_failed(failure.error for failure in made.failures)
    write_tables([made.comparison.table()], form_of(None, None), None)
    interval = made.method.interval
    say(
        f"{interval.level:.0%} of labels lie within {interval.half_width:.4g} of the prediction made without them\n"
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
    split: Annotated[float, typer.Option(min=0, max=1, help="Share of images for the interval alone; 0: none.")] = 0.0,
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("calibration.json"),
    limit: Limit = None,
) -> None:
    """Fit a monotone map from scores to the MOS scale of a labelled sample, with its error and an interval.

    - `qdebias calibrate labels.csv --root photos --run runs/mine --out mos.json` fits it on your own labels
    - `qdebias score folder --calibration mos.json` applies it: columns `mos`, `mos_low`, `mos_high`
    """
    if kind not in KINDS:
        raise SettingError(f"--kind is {' or '.join(KINDS)}, got {kind!r}")
    data = labels.load(dataset, limit=limit, out=out)
    report = _evaluated(data, options, run, resamples=0)
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
