"""`qdebias compare`: methods beside each other on the same images."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from qdebias.backends.load import split_arguments
from qdebias.cli.console import progress
from qdebias.cli.options import JsonObject, LabelOptions, Limit, Resamples, RunFolder, refuse_inputs, sharing
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
    typer.Option("--methods", "-k", help=f"Comma-separated, or repeated. Default: {','.join(DEFAULT)}."),
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
Mos = Annotated[str | None, typer.Option(help="Human scores, by name (with --root) or label file. No model is asked.")]
Against = Annotated[str | None, typer.Option(help=f"Differences to this method or the `{BEST}`. Default: the first.")]
Lower = Annotated[list[str] | None, typer.Option(help="Name, without suffix, of a file where lower is better.")]


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
    data = data.first(limit)
    if paths:
        say_unfinished(*paths)
        lower, seed = lower_is_better or (), options.seed
        found = compare_stored(paths, data, named, seed=seed, against=against, lower=lower, resamples=resamples)
    else:
        methods_of = models_of(model or ["nano"], named or DEFAULT)
        folders = run_folders(run, methods_of)

        @contextmanager
        def opened(model: str) -> Iterator[ModelRun]:
            order = [recipe.name for recipe in most_questions_first(methods_of[model])]
            with (
                open_model_run(replace(options, model=model), folders[model]) as model_run,
                progress(total=len(data) * len(order)) as show,
            ):
                yield replace(model_run, progress=lambda name, done: show(done + len(data) * order.index(name)))

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
        raise SettingError(
            f"--run {run} is the run of one model; name another folder, in which each model gets its own"
        )
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
