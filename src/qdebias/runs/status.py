"""How far a run is, for people who wait for it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from qdebias.runs.lines import Row, parsed
from qdebias.runs.lock import holder, is_locked
from qdebias.runs.reading import IMAGES
from qdebias.runs.snapshot import Snapshot

_TAIL = 1 << 18
"""Bytes of images.jsonl from which the rate is taken: about the last thousand images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodStatus:
    """How far one method is.

    Attributes:
        name: Its name.
        seed: Seed of its degradations.
        done: Images whose answers are stored.
        failed: Images that could not be scored; `qdebias retry` tries them again.
        left: Images that remain of those it was last asked for, if all images so far are among them; None where it is
            not known for how many it was asked.
    """

    name: str
    seed: int
    done: int
    failed: int
    left: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """How far a run is.

    Attributes:
        model: What answers.
        identity: Its identity.
        answers: How many answers are stored.
        sessions: How many processes have written so far.
        started: When the last of them began, as ISO 8601; empty where there was none.
        writer: Who is writing now; None where nobody is.
        rate: Images per second, over the newest images of the last session that had to be looked at; None where there
            are too few.
        methods: Every method that was used, in the order of first use.
    """

    model: str
    identity: Mapping[str, str]
    answers: int
    sessions: int
    started: str
    writer: str | None
    rate: float | None
    methods: tuple[MethodStatus, ...]


def unfinished(snapshot: Snapshot) -> tuple[MethodStatus, ...]:
    """Return the methods of a run that have images left."""
    return tuple(method for method in run_status(snapshot).methods if method.left)


def run_status(snapshot: Snapshot) -> RunStatus:
    """Return how far a run is."""
    manifest, counts = snapshot.manifest, snapshot.index.counts()
    methods = []
    for method, entry in manifest.methods.items():
        done, failed = counts.get(method, (0, 0))
        left = None if entry.total is None else max(0, entry.total - done - failed)
        methods.append(MethodStatus(name=entry.name, seed=entry.seed, done=done, failed=failed, left=left))
    return RunStatus(
        model=manifest.model,
        identity=manifest.identity,
        answers=snapshot.index.answer_count(),
        sessions=len(manifest.sessions),
        started=manifest.sessions[-1]["started"] if manifest.sessions else "",
        writer=holder(snapshot.folder) if is_locked(snapshot.folder) else None,
        rate=_rate(snapshot.folder / IMAGES),
        methods=tuple(methods),
    )


def _rate(path: Path) -> float | None:
    """Return images asked about per second, between the oldest and the newest of the last lines of one session."""
    rows = _last_rows(path)
    times = [row["time"] for row in rows if row["session"] == rows[-1]["session"] and row["asked"]]
    if len(times) < 2 or times[-1] <= times[0]:
        return None
    return float((len(times) - 1) / (times[-1] - times[0]))


def _last_rows(path: Path) -> list[Row]:
    if not path.exists():
        return []
    with path.open("rb") as file:
        start = file.seek(max(0, path.stat().st_size - _TAIL))
        lines = file.read().splitlines(keepends=True)
    return [row for line in lines[1 if start else 0 :] if (row := parsed(line)) is not None]
