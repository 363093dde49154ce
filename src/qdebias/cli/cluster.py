"""`qdebias score --ray`: its options, and what it says while it runs."""

import os
import time
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from qdebias.cli.console import one_line, say
from qdebias.cli.runs import say_left_out
from qdebias.errors import SettingError
from qdebias.inputs import Images
from qdebias.inputs.addresses import unsigned
from qdebias.inputs.items import SIZE
from qdebias.integrations.ray import Progress, Workers, score_on_ray
from qdebias.runs.options import Options

_EVERY = 10.0
"""Seconds between two lines about how far it is."""

Ray = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="Score with workers of Ray, into the folder --out: `local` takes this machine, `auto` the cluster that it "
        "belongs to, HOST:PORT the head of that. The same command resumes where it stopped.",
    ),
]
Actors = Annotated[
    int | None,
    typer.Option(
        "--actors",
        min=1,
        help="How many workers, each with a model. Default: as many as fit.",
    ),
]
Gpus = Annotated[
    float | None,
    typer.Option(
        "--gpus",
        min=0,
        help="GPUs of a worker; 0.5 puts two on one. Default: 1 if the cluster has any.",
    ),
]
Chunk = Annotated[
    int,
    typer.Option(
        "--chunk",
        min=1,
        help="Images per result file, which is what the death of a worker costs.",
    ),
]
CHUNK = SIZE


def score_on_cluster(
    images: Images, options: Options, workers: Workers, *, out: str | None, chunk: int, refused: Mapping[str, object]
) -> int:
    """Score on a cluster and return how many images failed.

    Args:
        images: The images.
        options: How they are scored.
        workers: Where.
        out: The folder of the run.
        chunk: Most images in a chunk.
        refused: Options that do not go with it, and what they were given as.

    Raises:
        SettingError: One of them was given, or no folder.
    """
    given = [name for name, value in refused.items() if value]
    if given:
        raise SettingError(f"--ray writes scores/*.parquet into the folder --out; leave out {', '.join(given)}")
    if out is None:
        raise SettingError("--ray needs --out FOLDER: a folder that all machines see, or s3://bucket/folder")
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):  # Ray's own words about each death
        done = score_on_ray(images, out=out, setting=options, workers=workers, chunk=chunk, on_progress=_Teller())
    say_left_out(images)
    before = f", {done.skipped:,} of {done.chunks:,} chunks were done before" if done.skipped else ""
    died = f", {done.deaths} workers died" if done.deaths else ""
    say(f"{_images(done)}{before}{died}, written to {unsigned(out).rstrip('/')}/scores")
    return done.failed


class _Teller:
    """Says now and then how far the run is, and how workers died: lines, as they go into the logs of a cluster."""

    def __init__(self) -> None:
        self._next = time.monotonic() + _EVERY
        self._deaths = 0

    def __call__(self, progress: Progress) -> None:
        if progress.deaths > self._deaths:
            self._deaths = progress.deaths
            say(f"worker {self._deaths} died and is replaced: {one_line(progress.last_death)}", style="yellow")
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _EVERY
        done = progress.skipped + progress.done
        awaited = f", {progress.awaited} awaited" if progress.awaited else ""
        say(f"{done:,} of {progress.chunks:,} chunks; {_images(progress)}; {progress.at_work} workers{awaited}")


def _images(progress: Progress) -> str:
    rate = progress.images / max(progress.seconds, 1e-9)
    return f"{progress.images:,} images, {progress.failed:,} failed, {rate:.2f} images/s"
