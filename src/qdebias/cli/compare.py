"""`qdebias compare`: methods beside each other on the same images."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from qdebias import presets
from qdebias.cli.asking import open_asker
from qdebias.cli.console import Batch, Device, Dtype, Megapixels, Model, RunFolder, Seed, progress, user_errors
from qdebias.cli.dataset_options import LabelColumn, Labels, Limit, Resamples, Root, Subset
from qdebias.cli.outputs import refuse_inputs
from qdebias.cli.runs import say_unfinished
from qdebias.cli.tables import Form, Out, form_of, tell_failures, write_tables
from qdebias.compare import BEST, compare_asked, compare_stored, in_asking_order
from qdebias.data import load_dataset
from qdebias.errors import SettingError
from qdebias.tables import Asker

DEFAULT = ("paper", "vanilla")
"""What is compared where no methods are named."""


Sources = Annotated[
    list[str],
    typer.Argument(
        help="A dataset, by name or as a label file, to ask a model about; or, with --mos, run folders and files of "
        "scores (.csv, .jsonl, .parquet)."
    ),
]
Methods = Annotated[
    list[str] | None,
    typer.Option(
        "--methods",
        "-k",
        help=f"With commas between, or repeated; see `qdebias methods`. Default: {','.join(DEFAULT)}.",
    ),
]
Mos = Annotated[
    str | None,
    typer.Option(help="The human scores: a dataset by name (with --root), or a label file. Nothing is asked."),
]
Lower = Annotated[
    list[str] | None, typer.Option(help="A file of scores, by its name without suffix, where lower is better.")
]


def compare(
    sources: Sources,
    methods: Methods = None,
    root: Root = None,
    run: RunFolder = None,
    model: Model = "nano",
    mos: Mos = None,
    against: Annotated[
        str | None, typer.Option(help=f"Differences are to this method, or to the `{BEST}`. Default: the first.")
    ] = None,
    lower_is_better: Lower = None,
    subset: Subset = None,
    limit: Limit = None,
    labels: Labels = None,
    column: LabelColumn = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    form: Form = None,
    out: Out = None,
    resamples: Resamples = 1000,
    batch: Batch = 8,
    seed: Seed = 0,
    device: Device = None,
    dtype: Dtype = None,
    max_megapixels: Megapixels = 50.0,
) -> None:
    """Compare methods on the same images: SRCC and PLCC, and the difference of each to one of them.

    Intervals of differences are paired: they tell chance from more even where those of the methods overlap. With
    `--run` a method asks only what none asked before.

    - `qdebias compare koniq10k --root data/koniq10k --run runs/koniq --methods paper,vanilla,average,winner`
    - `qdebias compare runs/koniq --mos koniq10k --root data/koniq10k` compares what a run holds, without a model
    - `qdebias compare mine.csv theirs.csv --mos labels.csv` compares files of scores, whoever made them
    """
    with user_errors(), ExitStack() as stack:
        chosen, named = form_of(form, out), _names(methods or [])
        if mos is None and len(sources) > 1:
            raise SettingError("a model is asked about one dataset; to compare files or run folders, give --mos")
        paths = [Path(source) for source in sources] if mos is not None else []
        files = bool(paths) and not any(path.is_dir() for path in paths)
        data = load_dataset(mos or sources[0], root=root, subset=subset, labels=labels, column=column, images=not files)
        refuse_inputs(data, out=out)
        if paths:
            say_unfinished(*paths)
            lower = lower_is_better or ()
            found = compare_stored(
                paths, data, named, seed=seed, limit=limit, against=against, lower=lower, resamples=resamples
            )
        else:
            named = named or list(DEFAULT)
            asker = stack.enter_context(open_asker(model, run, seed, batch, max_megapixels, device, dtype))
            asker = stack.enter_context(_shown(asker, in_asking_order(named), min(len(data), limit or len(data))))
            name = asker.backend.fingerprint.identity.get("model", model)
            found = compare_asked(data, named, asker, model=name, limit=limit, against=against, resamples=resamples)
        if json:
            typer.echo(found.json())
        if out is not None or not json:
            write_tables([found.table()], chosen, out)
    raise typer.Exit(tell_failures(found.evidence))


@contextmanager
def _shown(asker: Asker, order: Sequence[str], images: int) -> Iterator[Asker]:
    """Show how far the asking is."""
    with progress(total=images * len(order)) as show:
        yield asker.telling(lambda name, done: show(done + images * order.index(name)))


def _names(given: Sequence[str]) -> list[str]:
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
