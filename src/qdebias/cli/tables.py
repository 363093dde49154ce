"""`qdebias tables`: the paper's tables from run folders, and what `reproduce` shares with it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from qdebias.cli.console import Seed, one_line, results, say, user_errors
from qdebias.cli.dataset_options import Labels, Limit, Resamples, Root, Subset
from qdebias.cli.outputs import refuse_inputs
from qdebias.cli.runs import say_unfinished
from qdebias.cli.shown import show_measured
from qdebias.errors import SettingError
from qdebias.evaluation.tables import FORMS, TABLES, Agreements, Evidence, NotRun, Table, build, render
from qdebias.evaluation.tables.reproduce import remember, saved
from qdebias.inputs.datasets import load_dataset
from qdebias.system.output import write_file

TERMINAL = "terminal"
SUFFIXES = {".md": "markdown", ".csv": "csv", ".tex": "latex", ".html": "html"}

Form = Annotated[
    str | None,
    typer.Option(
        "--format",
        help=f"{', '.join(FORMS)}; by default what the suffix of --out says, else markdown, or drawn on a terminal.",
    ),
]
Out = Annotated[Path | None, typer.Option(help="Write to this file.")]


def tables(
    folders: Annotated[list[Path] | None, typer.Argument(help="Run folders.")] = None,
    run: Annotated[list[Path] | None, typer.Option(help="A run folder; may be repeated.")] = None,
    table: Annotated[list[str] | None, typer.Option(help="Only this table; may be repeated.")] = None,
    dataset: Annotated[
        str | None, typer.Option(help="A dataset by name, or a label file with img_path and gt_score.")
    ] = None,
    root: Root = None,
    subset: Subset = None,
    limit: Limit = None,
    labels: Labels = None,
    form: Form = None,
    out: Out = None,
    resamples: Resamples = 1000,
    seed: Seed = 0,
) -> None:
    """Print the paper's tables from run folders, without a model: several models and datasets side by side.

    By default it shows what `qdebias reproduce` and `qdebias evaluate` left in the folders. With `--dataset` and
    `--root` it computes the scores of further methods, too, from the stored answers.
    """
    with user_errors():
        runs, wanted = [*(run or []), *(folders or [])], table or list(TABLES)
        unknown = [name for name in wanted if name not in TABLES]
        if unknown:
            raise SettingError(f"{unknown[0]!r} is no table; there are {', '.join(TABLES)}")
        if not runs:
            raise SettingError("name a run folder, such as one that was given to qdebias reproduce as --run")
        chosen = form_of(form, out)
        say_unfinished(*runs)
        if dataset is None:
            found = saved(runs)
        else:
            data = load_dataset(dataset, root=root, subset=subset, labels=labels)
            refuse_inputs(data, out=out)
            found = remember(runs, data, wanted, seed=seed, limit=limit)
        measured = [Agreements(evidence, resamples=resamples) for evidence in found]
        write_tables([build(name, measured) for name in wanted], chosen, out)


def form_of(form: str | None, out: Path | None) -> str:
    """Return the form that was asked for, or that the suffix of the file means; on a terminal what it can show."""
    plain = TERMINAL if out is None and results.is_terminal else "markdown"
    chosen = form or SUFFIXES.get(out.suffix.lower() if out else "", plain)
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
    try:
        write_file(out, text)
    except OSError as error:
        raise SettingError(f"{out}: cannot be written ({error.strerror or error})") from error
    say(f"written to {out}")


def tell_failures(evidence: Evidence) -> int:
    """Name the images that failed and the methods that were not run, and return the exit code."""
    for name, result in evidence.results.items():
        if isinstance(result, NotRun):
            say(f"{name} was not run: {one_line(result.reason)}", style="yellow")
    for error in evidence.errors:
        say(f"failed: {one_line(error)}", style="red")
    return 1 if evidence.errors else 0
