"""`qdebias status`, `retry`, `export` and `report`, and what the other commands share about run folders."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, replace
from json import dumps
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table

from qdebias.backends.base import Fingerprint
from qdebias.cli.console import one_line, progress, results, say, say_failed, say_note, show, words
from qdebias.cli.options import (
    ImageColumn,
    JsonLines,
    JsonObject,
    Labelled,
    LabelOptions,
    Resamples,
    Seed,
    refuse_inputs,
    sharing,
)
from qdebias.errors import SettingError
from qdebias.evaluation.evidence import load_all
from qdebias.evaluation.method_scores import ModelRun, recall
from qdebias.evaluation.report import opened_run
from qdebias.image import max_side_of
from qdebias.inputs import Images, Inputs, find_inputs
from qdebias.methods import presets
from qdebias.methods.method import Score
from qdebias.methods.plan import Failure
from qdebias.runs.derive import recorded
from qdebias.runs.manifest import read_manifest
from qdebias.runs.options import Options
from qdebias.runs.records import AnsweredRecord, columns_of, open_writer, record
from qdebias.runs.run import Run, open_snapshot
from qdebias.runs.scorer import Scorer, limited
from qdebias.runs.status import failed_images, recipe_of, retry_failures, run_status
from qdebias.runs.stored import StoredScorer

Folder = Annotated[Path, typer.Argument(help="A folder that was given as --run.")]


def status(folder: Folder, json: JsonObject = False) -> None:
    """Show the progress of a run, also while it is running."""
    with open_snapshot(folder) as snapshot:
        found = run_status(snapshot)
    if json:
        typer.echo(dumps(asdict(found)))
        return
    results.print(f"model: {found.model}")
    for name, value in found.identity.items():
        results.print(f"  {name}: {one_line(value)}")
    started = f", the last one since {found.started}" if found.started else ""
    results.print(f"answers: {found.answers:,}; sessions: {found.sessions}{started}")
    results.print(f"running: written by {one_line(found.writer)}" if found.writer else "not running")
    titles = ("seed", "done", "failed", "left", "time left")
    table = Table("method", *(Column(title, justify="right") for title in titles))
    for method in found.methods:
        time = ""
        if found.writer and found.rate and method.left:
            minutes = method.left / found.rate / 60
            time = f"{minutes / 60:.1f} h" if minutes > 90 else f"{minutes:.1f} min"
        left = "" if method.left is None else f"{method.left:,}"
        table.add_row(method.name, str(method.seed), f"{method.done:,}", f"{method.failed:,}", left, time)
    show(table)
    if found.rate is not None:
        results.print(f"{found.rate:.2f} images/s in the last session")


def retry(
    folder: Folder,
    options: Annotated[Options, sharing("batch", "max_megapixels")],
    column: ImageColumn = None,
) -> None:
    """Retry the images of a run that could not be scored, with every method that failed on them.

    Exit code 1 if some fail again.
    """
    tried = failed = 0
    manifest = read_manifest(folder)
    backend = options.backend(manifest.model)
    for entry in manifest.methods.values():
        recipe = recipe_of(entry)
        if recipe is not None:
            backend = recipe.fit(backend)
    fingerprint = limited(backend.fingerprint, max_side_of(manifest.identity))
    with open_folder(folder, fingerprint, manifest.model) as run:
        images = failed_images(run)
        with progress(total=sum(map(len, images.values()))) as show:
            found = retry_failures(
                run, backend, images, batch=options.batch, max_pixels=options.max_pixels, column=column
            )
            for outcome in found:
                tried += 1
                show(tried)
                failed += say_failed([outcome.error])
    say(f"{tried} images tried again, {failed} failed")
    raise typer.Exit(1 if failed else 0)


def export(
    folder: Folder,
    out: Annotated[Path | None, typer.Option(help="The file: .csv, .jsonl or .parquet.")] = None,
    method: Annotated[str | None, typer.Option("--method", "-k", help="The method. Default: the one used.")] = None,
    seed: Seed = 0,
    columns: Annotated[str | None, typer.Option(help="Only these columns, comma-separated; p: probabilities.")] = None,
    json: JsonLines = False,
) -> None:
    """Compute the scores of a run from its stored answers, one row per image, with the logits.

    A method that was not used can be exported too, if other methods asked all its questions: from a run of `paper`,
    `--method average` or `--method only-fog` take no time. Neither the images nor the model are needed.
    """
    if out is None and not json:
        raise SettingError("name a file with --out, or print the rows with --json")
    count = failed = 0
    with ExitStack() as stack:
        snapshot = stack.enter_context(open_snapshot(folder))
        names = sorted({entry.name for entry in snapshot.manifest.methods.values() if entry.seed == seed})
        if method is None and len(names) != 1:
            used = f"{', '.join(names)} were used" if names else f"none was used with seed {seed}"
            raise SettingError(f"choose a method with --method; {used} in {snapshot.folder}")
        recipe = presets.get(method or names[0])
        kept = columns_of(AnsweredRecord, recipe.words, columns)
        write = stack.enter_context(open_writer(out, kept)) if out else None
        for path, result in recorded(snapshot, recipe, seed=seed):
            model = snapshot.manifest.model
            row = record(path, result, model=model, method=recipe.name, seed=seed, kind=AnsweredRecord)
            if write:
                write(row)
            if json:
                typer.echo(row.json(kept))
            count += 1
            failed += row.error is not None
    say(f"{count} images, {failed} without a score" + (f", written to {out}" if out else ""))
    raise typer.Exit(1 if failed else 0)


def report(
    folder: Folder,
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("report.html"),
    method: Annotated[
        str | None,
        typer.Option("--method", "-k", help="The method to report. Default: paper, or the one used."),
    ] = None,
    before: Annotated[str, typer.Option(help="The method to compare with, if it was asked in the run.")] = "vanilla",
    dataset: Annotated[str | None, typer.Option(help="Dataset or label file. Default: the evaluated one.")] = None,
    *,
    labels: LabelOptions,
    gallery: Annotated[int, typer.Option(min=1, max=24, help="How many images each gallery shows.")] = 6,
    title: Annotated[str | None, typer.Option(help="The title of the page.")] = None,
    resamples: Resamples = 1000,
    seed: Seed = 0,
) -> None:
    """Write a run as one self-contained HTML page: scores, galleries, and each image's conditions.

    Where the run was evaluated against human scores, the page also has agreement, calibration and bias by content.
    Neither the model nor a network is needed; the pictures are read from their original paths.

    - `qdebias score photos --run runs/photos`, then `qdebias report runs/photos`
    - `qdebias score photos --run runs/photos --method vanilla` before it adds what debiasing changes
    - `qdebias evaluate koniq10k --root data/koniq10k --run runs/koniq`, then `qdebias report runs/koniq`
    """
    from qdebias.report.page import read_facts, write_page

    with open_snapshot(folder) as snapshot:
        say_unfinished(folder)
        used = [entry.name for entry in snapshot.manifest.methods.values() if entry.seed == seed]
        if not method and not used:
            raise SettingError(f"{snapshot.folder} was not used with seed {seed}; choose another with --seed")
        recipe = presets.get(method or ("paper" if "paper" in used else used[0]))
        other = presets.get(before)
        if dataset is None:
            if labels != Labelled():
                raise SettingError("--root, --subset and --labels need a dataset; name it with --dataset")
            evaluated = load_all(folder)
            if len(evaluated) > 1:
                names = ", ".join(dict.fromkeys(f"{one.dataset} ({len(one.names)} images)" for one in evaluated))
                raise SettingError(f"{folder} was evaluated against {names}; choose with --dataset and --root")
            known = evaluated[0] if evaluated else None
        else:
            known = recall(snapshot, labels.load(dataset, out=out), (other, recipe), seed=seed)
        facts = read_facts(snapshot, method=recipe, before=other, seed=seed, labels=known, resamples=resamples)
        refuse_inputs(map(Path, facts.paths), out=out)
        write_page(facts, snapshot, out, count=gallery, title=title)
    say(f"{len(facts.paths)} images, {len(facts.failures)} without a score, {out.stat().st_size / 1e6:.1f} MB in {out}")


def results_of(images: Images, scorer: Scorer, model: str, run: Path | None) -> Iterator[tuple[str, Score | Failure]]:
    """Yield name and result of each image in order, under a progress bar on a terminal; a run folder keeps answers."""
    total = images.count() if run or words.is_terminal else None
    if run is None:
        with progress(total=total) as show:
            for count, result in enumerate(scorer.score_named(images), start=1):
                yield result
                show(count)
    else:
        with open_folder(run, scorer.fingerprint, model) as folder:
            stored = StoredScorer(folder, scorer, total=total)
            with progress(total=total) as show:
                found = stored.ask_all(images, show)
            if stored.skipped:
                say(f"{stored.skipped} images were done before")
            yield from found
    say_left_out(images)


def find_images(paths: Sequence[str], column: str | None = None, **outputs: Path | Sequence[Path] | None) -> Inputs:
    """Find the images that arguments name, print what is left out, and refuse `outputs` that are among them."""
    inputs = find_inputs(paths, column=column)
    say_left_out(inputs.images)
    refuse_inputs(inputs.images, **outputs)
    return inputs


def say_left_out(images: Images) -> None:
    """Print how many files are left out, and why."""
    for left_out in images.left_out:
        say_note(str(left_out))


def say_unfinished(*folders: Path, method: str | None = None) -> int:
    """Print which methods of runs are unfinished, and return how many images are left, of `method` or of all."""
    left = 0
    for folder in filter(Path.is_dir, folders):
        with open_snapshot(folder) as snapshot:
            found = [one for one in run_status(snapshot).methods if one.left and method in (None, one.name)]
        for one in found:
            counts = f"{one.done:,} done, {one.failed:,} failed, {one.left:,} left"
            say(f"{folder} is unfinished: {one.name}: {counts}", style="yellow")
        left += sum(one.left or 0 for one in found)
    return left


def open_folder(run: Path | None, fingerprint: Fingerprint, model: str) -> AbstractContextManager[Run]:
    """Open a run folder, a temporary one for None."""
    return opened_run(run, fingerprint, model, lambda note: say_note(f"{run}: {note}"))


@contextmanager
def shown(run: ModelRun, images: int, methods: Sequence[str]) -> Iterator[ModelRun]:
    """Show a progress bar while a model scores so many images with each of the methods, in this order."""
    with progress(total=images * len(methods)) as show:
        place = {name: images * number for number, name in enumerate(methods)}
        yield replace(run, progress=lambda name, done: show(done + place.get(name, 0)))


@contextmanager
def open_model_run(options: Options, run: Path | None) -> Iterator[ModelRun]:
    """Load a model and open its run folder, a temporary one for None."""
    backend = options.backend()
    with open_folder(run, limited(backend.fingerprint, options.max_side), options.model) as folder:
        yield ModelRun(
            run=folder,
            backend=backend,
            seed=options.seed,
            batch=options.batch,
            max_pixels=options.max_pixels,
            max_side=options.max_side,
        )
