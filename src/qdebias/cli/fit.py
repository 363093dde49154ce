"""`qdebias fit` and `qdebias calibrate`: scores fitted to your own labels."""

from pathlib import Path
from typing import Annotated

import typer

from qdebias.cli.compare import names_in
from qdebias.cli.console import progress, results, say, say_failed, say_note
from qdebias.cli.evaluate import evaluated
from qdebias.cli.options import Asking, DatasetName, LabelOptions, Limit, Resamples, RunFolder, Scoring
from qdebias.cli.outputs import refuse_inputs
from qdebias.cli.paper import form_of, write_tables
from qdebias.errors import SettingError
from qdebias.evaluation import Report
from qdebias.evaluation.evidence import first_items
from qdebias.evaluation.fitting import METHODS, Fit
from qdebias.evaluation.fitting import fit as fit_dataset
from qdebias.methods import presets
from qdebias.methods.fitted import check_name
from qdebias.metrics.calibration import KINDS, Calibration, Origin, save_calibration
from qdebias.metrics.calibration import calibrate as fit_map

Methods = Annotated[
    list[str] | None,
    typer.Option(
        "--methods",
        "-k",
        help="What the model is asked, comma-separated; the first gives the zero-shot score that the fit has to "
        f"surpass. `vanilla` alone is fastest. Default: {','.join(METHODS)}.",
    ),
]


def fit(
    dataset: DatasetName,
    labels: LabelOptions,
    options: Asking,
    run: RunFolder = None,
    methods: Methods = None,
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
    part = first_items(data, limit)
    with progress(total=len(part)) as tell:
        made = fit_dataset(
            part,
            model=options.backend(),
            model_name=options.model,
            methods=names_in(methods or []) or METHODS,
            run=run,
            seed=options.seed,
            folds=folds,
            level=level,
            resamples=resamples,
            batch=options.batch,
            max_pixels=options.max_pixels,
            max_side=options.max_side,
            on_note=say_note,
            on_progress=tell,
        )
    made.save(out)
    _print_fit(made, out)
    raise typer.Exit(1 if made.failures else 0)


def _print_fit(made: Fit, out: Path) -> None:
    say_failed(failure.error for failure in made.failures)
    write_tables([made.comparison.table()], form_of(None, None), None)
    interval = made.method.interval
    say(
        f"{interval.level:.0%} of labels lie within {interval.half_width:.4g} of what is predicted without them\n"
        f"written to {out}; apply it with qdebias score --fit {out}"
    )


def calibrate(
    dataset: DatasetName,
    labels: LabelOptions,
    options: Scoring,
    run: RunFolder = None,
    kind: Annotated[str, typer.Option(help=f"{' or '.join(KINDS)}; the curve needs fewer images.")] = "isotonic",
    folds: Annotated[int, typer.Option(min=0, help="Folds of the cross-validation; 0: none, and no interval.")] = 5,
    level: Annotated[
        float, typer.Option(min=0, max=1, help="Share of new images whose MOS should lie in the interval.")
    ] = 0.9,
    split: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share of the images used only for the interval; 0: all are used for both."),
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
    report = evaluated(data, options, run, limit=limit)
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
