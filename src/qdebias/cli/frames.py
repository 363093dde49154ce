"""`qdebias frames`: one score for each folder of frames."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from qdebias.backends.load import load_backend
from qdebias.cli.console import Device, Dtype, Megapixels, one_line, say, track, user_errors
from qdebias.cli.outputs import refuse_inputs
from qdebias.errors import ImageError
from qdebias.inputs import find_inputs
from qdebias.methods import presets
from qdebias.methods.method import Score
from qdebias.methods.plan import Failure
from qdebias.runs.records import Record, columns_of, open_writer, record, words_of
from qdebias.runs.scorer import Scorer


def frames(
    folders: Annotated[
        list[Path], typer.Argument(help="Folders, each with the frames of one video as images, by name in their order.")
    ],
    model: Annotated[
        str, typer.Option("--model", "-m", help="A model that was trained on frames, such as qrealign-mini.")
    ],
    method: Annotated[
        str, typer.Option("--method", "-k", help="A method without conditions, such as qrealign-video+spaced.")
    ] = "qrealign-video",
    count: Annotated[
        int, typer.Option(min=1, help="How many frames, at equal distances from the first to the last; all if fewer.")
    ] = 8,
    out: Annotated[Path | None, typer.Option(help="Also write the rows to this .csv, .jsonl or .parquet.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON Lines, one object a folder.")] = False,
    device: Device = None,
    dtype: Dtype = None,
    max_megapixels: Megapixels = 50.0,
) -> None:
    """Score videos by their frames: one prompt shows several frames of a folder, and gives it one score.

    - `ffmpeg -i clip.mp4 clip/%05d.png` takes a video apart
    - `qdebias frames clip/ other/ --model qrealign-mini` prints score and folder
    """
    failed = 0
    with user_errors(), ExitStack() as stack:
        columns = columns_of(Record, words_of(presets.get(method).method))
        inputs = {folder: find_inputs([str(folder)]) for folder in folders}
        for found in inputs.values():
            refuse_inputs(found.images, out=out)
        write = stack.enter_context(open_writer(out, columns)) if out else None
        backend = load_backend(model, device=device, dtype=dtype)
        scorer = Scorer(backend=backend, method=method, max_pixels=round(max_megapixels * 1e6))
        for folder, found in track(inputs.items(), total=len(inputs)):
            row = record(str(folder), _score(scorer, chosen(found.paths, count)), model=model, method=method, seed=0)
            if write:
                write(row)
            score = "failed" if row.score is None else f"{row.score:.4f}"
            typer.echo(row.json(columns) if json else f"{score}\t{one_line(row.path)}")
            if row.error is not None:
                failed += 1
                say(f"failed: {one_line(row.error)}", style="red")
    raise typer.Exit(1 if failed else 0)


def chosen(paths: Sequence[Path], count: int) -> list[Path]:
    """Return so many of the paths at equal distances from the first to the last, or all if there are no more."""
    places = np.linspace(0, len(paths) - 1, min(count, len(paths))).round().astype(int)
    return [paths[place] for place in places]


def _score(scorer: Scorer, paths: Sequence[Path]) -> Score | Failure:
    try:
        return scorer.score_frames(paths)
    except ImageError as error:
        return Failure(name="", error=str(error))
