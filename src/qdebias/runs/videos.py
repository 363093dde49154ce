"""Rows of videos: the mean over frames that were scored as images."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from statistics import fmean, pstdev

from qdebias.inputs.video import is_video
from qdebias.runs.records import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoRecord(Record):
    """The score of a video, which is the mean over its frames.

    Attributes:
        frames: How many frames were scored.
        frame_deviation: Standard deviation of their scores.
        worst: The lowest of them.
        worst_frame: Which frame that is, by its time in the video, such as "3.203s".
    """

    frames: int | None = None
    frame_deviation: float | None = None
    worst: float | None = None
    worst_frame: str | None = None


def video_records(rows: Iterable[Record]) -> Iterator[Record]:
    """Yield one row a video for the rows of its frames, which follow each other; any other row as it is.

    A video of which a frame failed has no score.
    """
    for video, frames in groupby(rows, lambda row: _video_of(row.path)):
        if video is None:
            yield from frames
        else:
            yield _video_record(video, list(frames))


def _video_of(path: str) -> str | None:
    container, mark, _ = path.rpartition("!")
    return container if mark and is_video(container) else None


def _video_record(path: str, rows: Sequence[Record]) -> VideoRecord:
    first = rows[0]
    row = VideoRecord(
        path=path, score=None, error=None, model=first.model, method=first.method, seed=first.seed, frames=len(rows)
    )
    errors = [row.error for row in rows if row.error is not None]
    if errors:
        why = f"{path}: {len(errors)} of {len(rows)} frames could not be scored; the first: {errors[0]}"
        return replace(row, error=why)
    scores = [row.score for row in rows if row.score is not None]
    worst = min(rows, key=lambda row: math.inf if row.score is None else row.score)
    return replace(
        row,
        score=fmean(scores),
        frame_deviation=pstdev(scores),
        worst=worst.score,
        worst_frame=worst.path.rpartition("!")[2],
    )
