"""`qdebias burst`: the best of each group of similar photographs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table
from rich.text import Text

from qdebias.cli.console import one_line, results, say, say_failed, track
from qdebias.cli.filter import check_all_places, given_score, place_all, way_of
from qdebias.cli.options import ImageColumn, JsonLines, Paths, Rows, RunFolder, Scoring
from qdebias.cli.outputs import refuse_inputs
from qdebias.cli.runs import named_results, open_model_run, say_left_out
from qdebias.cli.shown import show
from qdebias.curation.burst import Shot, choose_best, compare_group, draw_sheet, find_groups
from qdebias.errors import SettingError
from qdebias.inputs import Images, find_inputs
from qdebias.inputs.addresses import is_folder
from qdebias.runs.options import Options
from qdebias.runs.records import GivenScore, open_writer


def burst(
    paths: Paths,
    by: Annotated[
        str, typer.Option(help="comparison: which of two is better, in both orders; or score, of --method.")
    ] = "comparison",
    keep: Annotated[int, typer.Option(min=1, help="How many of each group are kept.")] = 1,
    seconds: Annotated[
        float, typer.Option(min=0, help="Photographs taken further apart, where both say when, are not of one group.")
    ] = 60.0,
    run: RunFolder = None,
    out: Rows = None,
    sheet: Annotated[Path | None, typer.Option(help="Draw the groups and the choice into this .png.")] = None,
    copy_to: Annotated[Path | None, typer.Option(help="Copy the kept images below this folder.")] = None,
    move_to: Annotated[Path | None, typer.Option(help="Move the kept images below this folder.")] = None,
    link_to: Annotated[Path | None, typer.Option(help="Link to the kept images below this folder.")] = None,
    column: ImageColumn = None,
    json: JsonLines = False,
    *,
    options: Scoring,
) -> None:
    """Keep the best of each group of similar photographs: print the paths of what is kept.

    Photographs of one scene are grouped by what they show, whatever their exposure and sharpness, and by their capture
    time. A photograph unlike all others is kept without asking the model. Images are only read, unless
    a folder is named for the kept ones; no file is ever replaced.

    - `qdebias burst photos --sheet groups.png` shows the groups and the choice
    - `qdebias burst photos --keep 2 --copy-to best --run runs/burst`
    - `qdebias burst photos --by score --method vanilla --out groups.csv`
    """
    _check_choice(by, options.method)
    way = way_of(copy_to, move_to, link_to)
    inputs = find_inputs(paths, column=column)
    say_left_out(inputs.images)
    refuse_inputs(inputs.images, out=out, sheet=sheet)
    roots = [path for path in map(Path, paths) if is_folder(path)]
    if way is not None:
        check_all_places(inputs.images, roots, *way)
    files = list({path.resolve(): path for path in reversed(inputs.paths)}.values())[::-1]  # each once, whatever links
    found, errors = find_groups(track(files, total=len(files)), seconds=seconds, max_pixels=options.max_pixels)
    several = [group for group in found if len(group) > 1]
    say(f"{len(several)} groups of 2 and more, {len(found) - len(several)} images are unlike any other")
    scores = _scores(several, by, options, run) if several else []
    shots = choose_best(found, scores, keep=keep)
    shots += [Shot(group=None, verdict="failed", path=str(path), error=error) for path, error in errors.items()]
    shots += [Shot(group=None, verdict="failed", path=one.name, error=one.error) for one in inputs.failures]
    if out is not None:
        with open_writer(out, Shot) as write:
            for shot in shots:
                write(shot)
    if sheet is not None and (left_out := draw_sheet(shots, sheet, max_pixels=options.max_pixels)):
        say(f"{sheet}: {left_out} further groups are not drawn")
    _print(shots, json=json)
    kept = [shot.path for shot in shots if shot.verdict == "kept"]
    if way is not None:
        place_all(kept, roots, *way)
    failed = say_failed(shot.error for shot in shots)
    say(f"{len(kept)} images kept, {len(shots) - len(kept) - failed} rejected, {failed} failed")
    raise typer.Exit(1 if failed else 0)


def _check_choice(by: str, method: str) -> None:
    if by not in ("comparison", "score"):
        raise SettingError(f"--by is comparison or score; got {by!r}")
    if by == "comparison" and method != "paper":
        raise SettingError("a comparison has no --method, --aspect or --fit; leave it out, or choose --by score")


def _scores(groups: Sequence[Sequence[Path]], by: str, options: Options, run: Path | None) -> list[GivenScore]:
    if by == "score":
        images = Images(arguments=tuple(str(path) for group in groups for path in group))
        return [given_score(*one) for one in named_results(images, options, run)]
    with open_model_run(options, run) as model:
        return [one for group in track(groups, total=len(groups)) for one in compare_group(group, model)]


def _print(shots: Sequence[Shot], *, json: bool) -> None:
    """Print the kept paths as they are, for other programs; a table on a terminal; or every image as an object."""
    if results.is_terminal and not json:
        table = Table(Column("group", justify="right"), "", Column("value", justify="right"), "image")
        for shot in shots:
            value = "" if shot.value is None else f"{shot.value:.4f}"
            table.add_row(str(shot.group or ""), shot.verdict, value, Text(one_line(shot.path)))
        show(table)
        return
    for shot in shots:
        if json or shot.verdict == "kept":
            typer.echo(shot.json() if json else shot.path)
