"""`qdebias report`."""

from pathlib import Path
from typing import Annotated

import typer

from qdebias.cli.console import say
from qdebias.cli.options import Labelled, LabelOptions, Resamples, Seed
from qdebias.cli.outputs import refuse_inputs
from qdebias.cli.runs import Folder, say_unfinished
from qdebias.errors import SettingError
from qdebias.evaluation.evidence import Evidence, load_all
from qdebias.evaluation.method_scores import recall
from qdebias.runs.run import Snapshot, open_snapshot


def report(
    folder: Folder,
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("report.html"),
    method: Annotated[
        str | None, typer.Option("--method", "-k", help="What it is about. Default: paper, or the one that was used.")
    ] = None,
    before: Annotated[
        str, typer.Option(help="The method to compare with, if its questions were asked in the run.")
    ] = "vanilla",
    dataset: Annotated[
        str | None, typer.Option(help="Human scores: a dataset by name or a label file. Default: what was evaluated.")
    ] = None,
    *,
    labels: LabelOptions,
    gallery: Annotated[int, typer.Option(min=1, max=24, help="How many images each gallery shows.")] = 6,
    title: Annotated[str | None, typer.Option(help="What stands above.")] = None,
    resamples: Resamples = 1000,
    seed: Seed = 0,
) -> None:
    """Write a run as one HTML page that needs nothing else: scores, galleries, and each image's conditions.

    Where the run was evaluated against human scores, the page also has agreement, calibration and bias by content.
    Neither the model nor a network is needed; the pictures are read from where the images were.

    - `qdebias score photos --run runs/photos`, then `qdebias report runs/photos`
    - `qdebias score photos --run runs/photos --method vanilla` before it adds what debiasing changes
    - `qdebias evaluate koniq10k --root data/koniq10k --run runs/koniq`, then `qdebias report runs/koniq`
    """
    from qdebias.report.facts import read_facts
    from qdebias.report.page import write_page

    with open_snapshot(folder) as snapshot:
        say_unfinished(folder)
        chosen = method or _method(snapshot, seed)
        if dataset is None:
            if labels != Labelled():
                raise SettingError("--root, --subset and --labels are of a dataset; name it with --dataset")
            known = _evaluated(folder)
        else:
            data = labels.load(dataset)
            refuse_inputs(data, out=out)
            known = recall(snapshot, data, (before, chosen), seed=seed)
        facts = read_facts(snapshot, method=chosen, before=before, seed=seed, labels=known, resamples=resamples)
        refuse_inputs(map(Path, facts.paths), out=out)
        write_page(facts, snapshot, out, count=gallery, title=title)
    say(f"{len(facts.paths)} images, {len(facts.failures)} without a score, {out.stat().st_size / 1e6:.1f} MB in {out}")


def _method(snapshot: Snapshot, seed: int) -> str:
    """Return `paper` if it was used in the run, else the first method that was."""
    used = [entry.name for entry in snapshot.manifest.methods.values() if entry.seed == seed]
    if not used:
        raise SettingError(f"{snapshot.folder} was not used with seed {seed}; choose another with --seed")
    return "paper" if "paper" in used else used[0]


def _evaluated(folder: Path) -> Evidence | None:
    """Return what the run was evaluated against; None where it was not."""
    found = load_all(folder)
    if len(found) > 1:
        names = ", ".join(dict.fromkeys(f"{one.dataset} ({len(one.names)} images)" for one in found))
        raise SettingError(f"{folder} was evaluated against {names}; choose with --dataset and --root")
    return found[0] if found else None
