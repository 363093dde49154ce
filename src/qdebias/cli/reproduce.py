"""`qdebias reproduce`: a table or figure of the paper, asked of a model."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from qdebias.cli.asking import open_asker
from qdebias.cli.console import Batch, Device, Dtype, Megapixels, Model, RunFolder, Seed, progress, say, user_errors
from qdebias.cli.dataset_options import Labels, Limit, Resamples, Root, Subset
from qdebias.cli.outputs import refuse_inputs
from qdebias.cli.tables import Form, Out, form_of, tell_failures, write_tables
from qdebias.evaluation.bias import measure_bias
from qdebias.evaluation.tables import TABLES, Agreements, Evidence, build, pool_of
from qdebias.evaluation.tables.reproduce import FIGURES, PLAIN, recipes_of
from qdebias.evaluation.tables.reproduce import reproduce as reproduce_one
from qdebias.inputs import find_inputs
from qdebias.inputs.datasets import Dataset, load_dataset


def reproduce(
    what: Annotated[str, typer.Argument(help=f"One of {', '.join((*TABLES, *FIGURES))}.")],
    dataset: Annotated[str, typer.Option(help="A dataset by name, or a label file with img_path and gt_score.")],
    root: Root = None,
    model: Model = "nano",
    run: RunFolder = None,
    subset: Subset = None,
    limit: Limit = None,
    labels: Labels = None,
    form: Form = None,
    out: Out = None,
    pool: Annotated[
        list[str] | None,
        typer.Option(help="table3: images for semantically inconsistent conditions. Default: the dataset's own."),
    ] = None,
    rival: Annotated[
        list[str] | None, typer.Option(help="table1: also run this metric of the package pyiqa; may be repeated.")
    ] = None,
    resamples: Resamples = 1000,
    batch: Batch = 8,
    seed: Seed = 0,
    device: Device = None,
    dtype: Dtype = None,
    max_megapixels: Megapixels = 50.0,
) -> None:
    """Ask a model what a table or figure of the paper needs, and print ours beside the paper's.

    Every ablation that asks nothing new is computed from stored answers. With `--run` it can be stopped at any time,
    and the scores behind the table are kept in RUN/tables for `qdebias tables`.

    - `qdebias reproduce table3 --dataset livec --root data/livec --model mplug-owl3 --run runs/owl3`
    - `qdebias reproduce figure1 --dataset spaq --root data/SPAQ --run runs/owl3 --out figure1.png`
    """
    with user_errors(), ExitStack() as stack:
        chosen = form_of(form, out)
        recipes_of(what, dataset)  # a wrong name is told before anything is loaded
        data = load_dataset(dataset, root=root, subset=subset, labels=labels)
        refuse_inputs(data, out=out or Path(f"{what}.png"))
        shown = find_inputs(pool) if pool else None
        refuse_inputs(shown.images if shown else (), out=out)
        others = pool_of(shown.paths, max_pixels=round(max_megapixels * 1e6)) if shown else None
        asker = stack.enter_context(open_asker(model, run, seed, batch, max_megapixels, device, dtype))
        count, recipes = min(len(data), limit or len(data)), recipes_of(what, data.name)
        with progress(total=count * len(recipes)) as show:
            asker = replace(
                asker,
                pool=others,
                pool_name=", ".join(pool or ()),
                progress=lambda name, done: show(done + count * (recipes.index(name) if name in recipes else 0)),
            )
            evidence = reproduce_one(what, data, asker, model=model, limit=limit, rivals=rival or (), device=device)
        if what in FIGURES:
            _draw(what, evidence, data, out or Path(f"{what}.png"), resamples=resamples)
        else:
            write_tables([build(what, [Agreements(evidence, resamples=resamples)])], chosen, out)
    raise typer.Exit(tell_failures(evidence))


def _draw(what: str, evidence: Evidence, dataset: Dataset, out: Path, *, resamples: int) -> None:
    from qdebias.report.grid import choose_examples, draw_grid
    from qdebias.report.scatter import draw_scatter

    bias = measure_bias(evidence, before=PLAIN, resamples=resamples)
    if what == "figure1":
        draw_scatter(evidence, bias, out, before=PLAIN)
    else:
        title = f"{evidence.title}, model {evidence.model}: human score (green), Q-Bench prompt (blue), Q-Debias (red)"
        draw_grid(choose_examples(evidence, bias, before=PLAIN), dataset.root, out, title=title)
    typer.echo(str(out))
    say(f"spread of offsets by {bias.kind}: {bias.before} before, {bias.after} after, {bias.chance:.3f} by chance")
