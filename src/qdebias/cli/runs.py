"""`qdebias status`, `qdebias retry`, `qdebias export`, and what the other commands share about run folders."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from qdebias.cli.console import one_line, progress, say
from qdebias.engine import Failure, Scorer
from qdebias.method import Score
from qdebias.store import Run
from qdebias.stored import StoredScorer


def score_into(
    run: Run, scorer: Scorer, paths: Sequence[Path], *, method: str, retry: bool = False
) -> Iterator[Score | Failure]:
    """Ask what is missing under a progress bar, then yield the result of each image."""
    for note in run.notes:
        say(f"{run.folder}: {one_line(note)}", style="yellow")
    stored = StoredScorer(run, scorer, name=method, total=len(paths))
    with progress(total=len(paths)) as show:
        for asked, _ in enumerate(stored.ask(paths, retry=retry), start=1):
            show(asked + stored.skipped)
    if stored.skipped:
        say(f"{stored.skipped} images were done before")
    yield from stored.results(paths)
