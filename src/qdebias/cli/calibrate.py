"""`qdebias calibrate`."""

from pathlib import Path
from typing import Annotated

import typer

from qdebias.backends.load import load_backend
from qdebias.cli.console import (
    Batch,
    Device,
    Dtype,
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
    Root,
    Subset,
    direction_named,
)
from qdebias.cli.outputs import refuse_inputs
from qdebias.errors import SettingError
from qdebias.evaluation import Report, evaluate
from qdebias.inputs.datasets import load_dataset
from qdebias.metrics.calibrate import calibrate as fit
from qdebias.metrics.calibration import KINDS, Calibration, Origin, save_calibration

Level = Annotated[float, typer.Option(min=0, max=1, help="Share of new images whose MOS is to lie in the interval.")]


def calibrate(
    dataset: DatasetName,
    root: Root = None,
    run: RunFolder = None,
    model: Model = "nano",
    method: MethodName = "paper",
    kind: Annotated[str, typer.Option(help=f"{' or '.join(KINDS)}; the curve needs fewer images.")] = "isotonic",
    folds: Annotated[int, typer.Option(min=0, help="Folds of the cross-validation; 0: none, and no interval.")] = 5,
    level: Level = 0.9,
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("calibration.json"),
    subset: Subset = None,
    limit: Limit = None,
    labels: Labels = None,
    direction: DirectionName = None,
    column: LabelColumn = None,
    batch: Batch = 8,
    seed: Seed = 0,
    device: Device = None,
    dtype: Dtype = None,
    max_megapixels: Megapixels = 50.0,
) -> None:
    """Fit a monotone map from scores to the MOS scale of a labelled sample, with its error and an interval.

    - `qdebias calibrate labels.csv --root photos --run runs/mine --out mos.json` fits it on one's own labels
    - `qdebias score folder --calibration mos.json` applies it: columns `mos`, `mos_low`, `mos_high`
    """
    with user_errors():
        if kind not in KINDS:
            raise SettingError(f"--kind is {' or '.join(KINDS)}, got {kind!r}")
        way = direction_named(direction)
        data = load_dataset(dataset, root=root, subset=subset, labels=labels, direction=way, column=column)
        refuse_inputs(data, out=out)
        method = method_named(method)
        with progress(total=min(len(data), limit or len(data))) as show:
            report = evaluate(
                data,
                model=load_backend(model, device=device, dtype=dtype),
                model_name=model,
                method=method,
                run=run,
                seed=seed,
                limit=limit,
                resamples=0,
                batch=batch,
                max_pixels=round(max_megapixels * 1e6),
                on_note=lambda note: say(one_line(note), style="yellow"),
                on_progress=show,
            )
        scored = [(row.score, row.mos) for row in report.rows if row.score is not None]
        made = fit(
            *zip(*scored, strict=True),
            origin=Origin(model=model, method=method, seed=seed, labels=report.summary),
            kind=kind,
            increasing=data.direction == "higher",
            folds=folds,
            level=level,
        )
        save_calibration(made, out)
    _print(report, made, out)
    raise typer.Exit(1 if report.failures else 0)


def _print(report: Report, made: Calibration, out: Path) -> None:
    for row in report.failures:
        say(f"failed: {one_line(row.error or '')}", style="red")
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
            f"images lie within the one that the other folds give"
        )
    say(f"written to {out}; apply it with qdebias score --calibration {out}")
