"""`qdebias reproduce`, `tables` and `bias`: what the paper shows, asked of a model or from run folders."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from qdebias.cli.console import one_line, results, say, say_failed, show_measured, track
from qdebias.cli.options import Asking, Labelled, LabelOptions, Limit, Resamples, RunFolder, Seed, refuse_inputs
from qdebias.cli.runs import find_images, open_model_run, say_unfinished, shown
from qdebias.errors import SettingError
from qdebias.evaluation.bias import Exposure, bias_table, exposure_by_content, exposure_table, measure_bias
from qdebias.evaluation.evidence import Agreements, Evidence
from qdebias.evaluation.method_scores import ModelRun, pool_of
from qdebias.evaluation.paper_tables import (
    BIAS,
    FIGURES,
    PLAIN,
    TABLES,
    build,
    recall_evidence,
    recipes_of,
    saved_evidence,
)
from qdebias.evaluation.paper_tables import reproduce as reproduce_one
from qdebias.evaluation.table import FORMS, Table, render
from qdebias.inputs import Inputs
from qdebias.inputs.datasets import Dataset
from qdebias.methods.method import Score
from qdebias.methods.plan import Failure
from qdebias.runs.scorer import Scorer
from qdebias.runs.stored import StoredBackend
from qdebias.system.named import nearest
from qdebias.system.output import write_file, written

TERMINAL = "terminal"

Form = Annotated[
    str | None,
    typer.Option("--format", help=f"{', '.join(FORMS)}. Default: as --out ends, else markdown, or a drawn table."),
]
Out = Annotated[Path | None, typer.Option(help="Write to this file.")]


def reproduce(
    what: Annotated[str, typer.Argument(help=f"One of {', '.join((*TABLES, *FIGURES))}.")],
    dataset: Annotated[str, typer.Option(help="A dataset by name, or a label file.")],
    labels: LabelOptions,
    options: Asking,
    run: RunFolder = None,
    limit: Limit = None,
    form: Form = None,
    out: Out = None,
    pool: Annotated[
        list[str] | None,
        typer.Option(help="table3: images of other content. Default: the dataset's own."),
    ] = None,
    rival: Annotated[list[str] | None, typer.Option(help="table1: also run this metric of pyiqa; repeatable.")] = None,
    resamples: Resamples = 1000,
) -> None:
    """Run the methods of a table or figure of the paper, and print our numbers next to the paper's.

    Ablations without new questions are computed from stored answers. With `--run` it can be stopped at any time,
    and the scores behind the table are kept in RUN/tables for `qdebias tables`.

    - `qdebias reproduce table3 --dataset livec --root data/livec --model mplug-owl3 --run runs/owl3`
    - `qdebias reproduce figure1 --dataset spaq --root data/SPAQ --run runs/owl3 --out figure1.png`
    """
    chosen = form_of(form, out)
    recipes_of(what, dataset)  # refuses a wrong name before anything is loaded
    data = labels.load(dataset, limit=limit, out=out or Path(f"{what}.png"))
    others = None
    if pool:
        found = find_images(pool, out=out)
        others = pool_of(found.paths, max_pixels=options.max_pixels, max_side=options.max_side)
    with open_model_run(options, run) as model_run:
        model_run = replace(model_run, pool=others, pool_name=", ".join(pool or ()))
        with shown(model_run, len(data), recipes_of(what, data.name)) as scored:
            evidence = reproduce_one(what, data, scored, model=options.model, rivals=rival or (), device=options.device)
        if what in FIGURES:
            _draw(what, evidence, data, out or Path(f"{what}.png"), resamples=resamples)
        else:
            write_tables([build(what, [Agreements(evidence, resamples=resamples)])], chosen, out)
    raise typer.Exit(tell_failures(evidence))


def _draw(what: str, evidence: Evidence, dataset: Dataset, out: Path, *, resamples: int) -> None:
    from qdebias.report.paper_figures import choose_examples, draw_grid, draw_scatter

    found = measure_bias(evidence, before=PLAIN, resamples=resamples)
    if what == "figure1":
        draw_scatter(evidence, found, out)
    else:
        title = f"{evidence.title}, model {evidence.model}: human score (green), Q-Bench prompt (blue), Q-Debias (red)"
        draw_grid(choose_examples(evidence, found), dataset.root, out, title=title)
    typer.echo(str(out))
    say(f"spread of offsets by {found.kind}: {found.before} before, {found.after} after, {found.chance:.3f} by chance")


def tables(
    folders: Annotated[list[Path] | None, typer.Argument(help="Run folders.")] = None,
    run: Annotated[list[Path] | None, typer.Option(help="A run folder; may be repeated.")] = None,
    table: Annotated[list[str] | None, typer.Option(help="Only this table; may be repeated.")] = None,
    dataset: Annotated[str | None, typer.Option(help="A dataset by name, or a label file.")] = None,
    *,
    labels: LabelOptions,
    limit: Limit = None,
    form: Form = None,
    out: Out = None,
    resamples: Resamples = 1000,
    seed: Seed = 0,
) -> None:
    """Print the paper's tables from run folders, without a model: several models and datasets side by side.

    By default it shows the scores that `qdebias reproduce` and `qdebias evaluate` left in the folders. With
    `--dataset` and `--root` it also computes the scores of further methods from the stored answers.
    """
    runs, wanted = [*(run or []), *(folders or [])], table or list(TABLES)
    unknown = [name for name in wanted if name not in TABLES]
    if unknown:
        raise SettingError(f"{unknown[0]!r} is not a table; there are {', '.join(TABLES)}{nearest(unknown[0], TABLES)}")
    if not runs:
        raise SettingError("name a run folder, such as one that was given to qdebias reproduce as --run")
    chosen = form_of(form, out)
    say_unfinished(*runs)
    if dataset is None:
        found = saved_evidence(runs)
    else:
        found = recall_evidence(runs, labels.load(dataset, limit=limit, out=out), wanted, seed=seed)
    measured = [Agreements(evidence, resamples=resamples) for evidence in found]
    write_tables([build(name, measured) for name in wanted], chosen, out)


def form_of(form: str | None, out: Path | None) -> str:
    """Return the form that was requested, or that the suffix of the file means; on a terminal what it can show."""
    plain = TERMINAL if out is None and results.is_terminal else "markdown"
    suffixes = {".md": "markdown", ".csv": "csv", ".tex": "latex", ".html": "html"}
    chosen = form or suffixes.get(out.suffix.lower() if out else "", plain)
    if chosen not in (*FORMS, plain):
        raise SettingError(f"--format is {', '.join(FORMS)}, got {chosen!r}")
    return chosen


def write_tables(made: Sequence[Table], form: str, out: Path | None) -> None:
    """Print tables to stdout or into a file; the notes that CSV has no place for go to stderr."""
    if form == TERMINAL:
        for table in made:
            show_measured(table)
        return
    text = "\n".join(render(table, form) for table in made)
    if form == "csv":
        for note in dict.fromkeys(note for table in made for note in table.notes):
            say(note)
    if out is None:
        typer.echo(text, nl=False)
        return
    with written(out):
        write_file(out, text)
    say(f"written to {out}")


def tell_failures(evidence: Evidence) -> int:
    """Name the images that failed and the methods that were not run, and return the exit code."""
    for name, scores in evidence.results.items():
        if scores.not_run:
            say(f"{name} was not run: {one_line(scores.not_run)}", style="yellow")
    return 1 if say_failed(evidence.errors) else 0


_Findings: TypeAlias = tuple[Sequence[Table], Callable[[Path], None], Sequence[str]]
"""Tables, what draws them into a file, and the errors of images."""


def bias(
    paths: Annotated[list[str] | None, typer.Argument(help="Image files, folders or patterns in quotes.")] = None,
    dataset: Annotated[str | None, typer.Option(help="A dataset by name, or a label file, instead of images.")] = None,
    *,
    labels: LabelOptions,
    options: Asking,
    run: RunFolder = None,
    by: Annotated[
        str | None, typer.Option(help="Group by scene, group or subset. Default: the first that is known.")
    ] = None,
    limit: Limit = None,
    form: Form = None,
    out: Out = None,
    plot: Annotated[Path | None, typer.Option(help="Also draw it: .png, .pdf, .svg.")] = None,
    resamples: Resamples = 500,
) -> None:
    """Measure the bias that the method mitigates.

    - `qdebias bias PHOTOS` prints the exposure of each image: P(good) of its severely degraded copies
    - `qdebias bias --dataset spaq --root data/SPAQ --run runs/spaq --plot bias.png` also prints how far images of each
      scene are ranked too high or too low at equal human score, before and after debiasing
    - `qdebias bias --run runs/spaq` prints the latter again from stored scores, without a model
    """
    with ExitStack() as stack:
        chosen = form_of(form, out)
        if (paths and dataset) or not (paths or dataset or run):
            raise SettingError("name images, or a dataset with --dataset, or a run folder with --run alone")
        if not dataset and (limit or labels != Labelled()):
            raise SettingError("--root, --subset, --limit and --labels need a dataset; name it with --dataset")
        if run and not paths and not dataset:
            tables, draw, errors = _stored(run, by, resamples, plot)
        else:
            data: Dataset | Inputs
            if dataset:
                data = labels.load(dataset, limit=limit, out=out, plot=plot)
            else:
                data = find_images(paths or [], out=out, plot=plot)
            model_run = stack.enter_context(open_model_run(options, run))
            scorer = model_run.scorer(StoredBackend(model_run.backend, model_run.run), Exposure())
            if isinstance(data, Inputs):
                tables, draw, errors = _exposure(scorer, data, options.model)
            else:
                tables, draw, errors = _offsets(model_run, scorer, data, by, options.model, resamples)
        write_tables(tables, chosen, out)
        if plot is not None:
            draw(plot)
            say(f"drawn in {plot}")
    raise typer.Exit(1 if say_failed(errors) else 0)


def _exposure(scorer: Scorer, inputs: Inputs, model: str) -> _Findings:
    """Measure the exposure of images."""
    from qdebias.report.paper_figures import draw_strip

    results = _expose(scorer, inputs.paths)
    title = f"Exposure of bias, model {model}, seed {scorer.context.seed}"
    table = exposure_table([one_line(str(path)) for path in inputs.paths], results, title=title)
    scores = [result for result in results if isinstance(result, Score)]
    errors = [one.error for one in (*inputs.failures, *results) if isinstance(one, Failure)]
    return [table], lambda plot: draw_strip(scores, plot, title=title), errors


def _offsets(
    model_run: ModelRun, scorer: Scorer, data: Dataset, by: str | None, model: str, resamples: int
) -> _Findings:
    """Measure offsets at equal human score, and the mean exposure of each content."""
    from qdebias.report.paper_figures import draw_scatter

    with shown(model_run, len(data), recipes_of(BIAS, data.name)) as scored:
        evidence = reproduce_one(BIAS, data, scored, model=model)
    found = measure_bias(evidence, kind=by, resamples=resamples)
    exposure = exposure_by_content(evidence, _expose(scorer, data.paths), found.kind)
    table = bias_table(evidence, found, exposure=exposure)
    return [table], lambda plot: draw_scatter(evidence, found, plot), evidence.errors


def _expose(scorer: Scorer, paths: Sequence[Path]) -> list[Score | Failure]:
    return list(track(scorer.score_many(paths, on_error="return"), total=len(paths)))


def _stored(run: Path, by: str | None, resamples: int, plot: Path | None) -> _Findings:
    """Measure offsets from the scores that earlier commands left in a run folder."""
    evidences = [one for one in saved_evidence([run]) if set(recipes_of(BIAS, one.dataset)) <= set(one.results)]
    if not evidences:
        raise SettingError(
            f"{run} holds no scores under {' and '.join(recipes_of(BIAS, ''))}; give --dataset and --root"
        )
    for one in evidences:
        refuse_inputs((Path(one.root, name) for name in one.names), plot=plot)
    pairs = [(evidence, measure_bias(evidence, kind=by, resamples=resamples)) for evidence in evidences]

    def draw(plot: Path) -> None:
        from qdebias.report.paper_figures import draw_scatter

        if len(pairs) > 1:
            raise SettingError(f"{run} holds {len(pairs)} datasets, and a picture shows one; give --dataset and --root")
        draw_scatter(*pairs[0], plot)

    return [bias_table(evidence, found) for evidence, found in pairs], draw, ()
