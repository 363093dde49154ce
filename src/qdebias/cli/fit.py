"""`qdebias fit`."""

from pathlib import Path
from typing import Annotated

import typer

from qdebias.backends.load import load_backend
from qdebias.cli.compare import names_in
from qdebias.cli.console import (
    Batch,
    Device,
    Dtype,
    MaxSide,
    Megapixels,
    Model,
    RunFolder,
    Seed,
    one_line,
    progress,
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
from qdebias.cli.tables import form_of, write_tables
from qdebias.evaluation.fitting import METHODS, Fit
from qdebias.evaluation.fitting import fit as fit_dataset
from qdebias.evaluation.tables.evidence import first
from qdebias.inputs.datasets import load_dataset
from qdebias.methods import presets
from qdebias.methods.fitted import check_name

Methods = Annotated[
    list[str] | None,
    typer.Option(
        "--methods",
        "-k",
        help="What the model is asked, with commas between; the first gives the zero-shot score that the fit has to "
        f"surpass. `vanilla` alone is fastest. Default: {','.join(METHODS)}.",
    ),
]


def fit(
    dataset: DatasetName,
    root: Root = None,
    run: RunFolder = None,
    model: Model = "nano",
    methods: Methods = None,
    folds: Annotated[int, typer.Option(min=2, help="Folds of the cross-validation.")] = 5,
    level: Annotated[float, typer.Option(help="Share of new labels that the interval is to hold, below 1.")] = 0.9,
    out: Annotated[Path, typer.Option(help=f"The file to write; its name ends in {presets.FIT}.")] = Path(
        "quality.fit"
    ),
    subset: Subset = None,
    limit: Limit = None,
    labels: Labels = None,
    direction: DirectionName = None,
    column: LabelColumn = None,
    resamples: Resamples = 1000,
    batch: Batch = 8,
    seed: Seed = 0,
    device: Device = None,
    dtype: Dtype = None,
    max_megapixels: Megapixels = 50.0,
    max_side: MaxSide = None,
) -> None:
    """Fit a model's scores to labels of one's own, from about 50 images on, and report their agreement when left out.

    Exit code 2, and no file, where the fit is no better than the score without labels.

    - `qdebias fit labels.csv --root photos --run runs/mine --out mine.fit` fits what the model knows to the labels
    - `qdebias score folder --fit mine.fit` scores with it, and gives `mos` and its interval
    """
    with user_errors():
        check_name(out)
        way = direction_named(direction)
        data = load_dataset(dataset, root=root, subset=subset, labels=labels, direction=way, column=column)
        refuse_inputs(data, out=out)
        part = first(data, limit)
        with progress(total=len(part)) as tell:
            made = fit_dataset(
                part,
                model=load_backend(model, device=device, dtype=dtype),
                model_name=model,
                methods=names_in(methods or []) or METHODS,
                run=run,
                seed=seed,
                folds=folds,
                level=level,
                resamples=resamples,
                batch=batch,
                max_pixels=round(max_megapixels * 1e6),
                max_side=max_side,
                on_note=lambda note: say(one_line(note), style="yellow"),
                on_progress=tell,
            )
        made.save(out)
    _tell(made, out)
    raise typer.Exit(1 if made.failures else 0)


def _tell(made: Fit, out: Path) -> None:
    for failure in made.failures:
        say(f"failed: {one_line(failure.error)}", style="red")
    write_tables([made.comparison.table()], form_of(None, None), None)
    interval = made.method.interval
    say(
        f"{interval.level:.0%} of labels lie within {interval.half_width:.4g} of what is predicted without them\n"
        f"written to {out}; apply it with qdebias score --fit {out}"
    )
