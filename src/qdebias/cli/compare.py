"""`qdebias compare`: methods beside each other on the same images."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from qdebias.backends.load import split_arguments
from qdebias.cli.console import progress
from qdebias.cli.options import JsonObject, LabelOptions, Limit, Resamples, RunFolder, sharing
from qdebias.cli.outputs import refuse_inputs
from qdebias.cli.paper import Form, Out, form_of, tell_failures, write_tables
from qdebias.cli.runs import open_model_run, say_unfinished
from qdebias.errors import SettingError
from qdebias.evaluation.comparison import BEST, compare_models, compare_stored, most_questions_first
from qdebias.evaluation.method_scores import ModelRun
from qdebias.methods import presets
from qdebias.runs.options import Options

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
        help=f"Comma-separated, or repeated; see `qdebias methods`. Default: {','.join(DEFAULT)}.",
    ),
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        "-m",
        help="Which model answers; may be repeated, each with its own run folder in --run. Methods after a = are for "
        "this model alone: qrealign-mini=qrealign. Default: nano.",
    ),
]
Mos = Annotated[
    str | None,
    typer.Option(help="The human scores: a dataset by name (with --root), or a label file. No model is asked."),
]
Against = Annotated[
    str | None, typer.Option(help=f"Differences are to this method, or to the `{BEST}`. Default: the first.")
]
Lower = Annotated[
    list[str] | None, typer.Option(help="A file of scores, by its name without suffix, where lower is better.")
]


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
    data = labels.load(mos or sources[0], images=not files)
    refuse_inputs(data, out=out)
    if paths:
        say_unfinished(*paths)
        lower, seed = lower_is_better or (), options.seed
        found = compare_stored(
            paths, data, named, seed=seed, limit=limit, against=against, lower=lower, resamples=resamples
        )
    else:
        methods_of, images = models_of(model or ["nano"], named or DEFAULT), min(len(data), limit or len(data))
        folders = run_folders(run, methods_of)

        def opened(model: str) -> AbstractContextManager[ModelRun]:
            model_run = open_model_run(replace(options, model=model), folders[model])
            order = [recipe.name for recipe in most_questions_first(methods_of[model])]
            return _with_progress(model_run, order, images)

        found = compare_models(data, methods_of, opened, limit=limit, against=against, resamples=resamples)
    if json:
        typer.echo(found.json())
    if out is not None or not json:
        write_tables([found.table()], chosen, out)
    raise typer.Exit(tell_failures(found.evidence))


@contextmanager
def _with_progress(opening: AbstractContextManager[ModelRun], order: Sequence[str], images: int) -> Iterator[ModelRun]:
    """Show how far the asking is."""
    with opening as model_run, progress(total=images * len(order)) as show:
        yield replace(model_run, progress=lambda name, done: show(done + images * order.index(name)))


def models_of(given: Sequence[str], methods: Sequence[str]) -> dict[str, list[str]]:
    """Return the methods by the name of the model: those behind its "=", or else those that are named for all."""
    found: dict[str, list[str]] = {}
    for text in given:
        model, own = _with_methods(text)
        if model in found:
            raise SettingError(f"--model {model} is named twice; name all of its methods after one =")
        found[model] = own or list(methods)
    return found


def _with_methods(text: str) -> tuple[str, list[str]]:
    """Return a model and the methods behind its "=", before or behind the arguments of its chat template; or none."""
    bare, _ = split_arguments(text)
    for name, arguments in ((bare, text[len(bare) :]), (text, "")):
        model, mark, own = name.rpartition("=")
        methods = names_in([own]) if mark else []
        if methods and all(map(_is_method, methods)):
            return model + arguments, methods
    return text, []


def run_folders(run: Path | None, models: Iterable[str]) -> dict[str, Path | None]:
    """Return the run folder of each model: the folder itself for one, a folder in it for each of several."""
    names = list(models)
    if run is None or len(names) == 1:
        return dict.fromkeys(names, run)
    if (run / "run.json").is_file():
        raise SettingError(
            f"--run {run} is the run of one model; name another folder, in which each model gets its own"
        )
    return {name: run / _as_folder(name) for name in names}


def _as_folder(model: str) -> str:
    """Return a model's name as that of a folder; where it had to be changed, with a hash, so that none is another's."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", model).strip("-.")[-80:]
    return plain if plain == model else f"{plain}-{hashlib.blake2b(model.encode(), digest_size=4).hexdigest()}"


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
