"""How far a run is, and trying again what failed in it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from qdebias.backends.base import Backend
from qdebias.errors import SettingError
from qdebias.image import MAX_PIXELS, max_side_of
from qdebias.inputs.images import find_image
from qdebias.methods import presets
from qdebias.methods.describe import describe
from qdebias.methods.recipe import Recipe
from qdebias.runs.index import IMAGES
from qdebias.runs.lines import Outcome, parsed
from qdebias.runs.manifest import MethodEntry
from qdebias.runs.run import Run, Snapshot
from qdebias.runs.scorer import Scorer
from qdebias.runs.stored import StoredScorer
from qdebias.system.output import holder, is_locked

_TAIL = 1 << 18  # bytes of images.jsonl from which the rate is taken: about the last thousand images


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodStatus:
    """How far one method is."""

    name: str
    seed: int
    done: int  # images whose answers are stored
    failed: int  # images that could not be scored
    left: int | None  # of the total that was to be scored last time; None: not known


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """How far a run is."""

    model: str
    identity: Mapping[str, str]
    answers: int  # how many are stored
    sessions: int  # how many processes have written so far
    started: str  # when the last of them began, as ISO 8601; empty where there was none
    writer: str | None  # who is writing now
    rate: float | None  # images per second that were looked at in the last session; None where there are too few
    methods: tuple[MethodStatus, ...]  # in the order of first use


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
    """Return images per second that needed the model, over the last lines of one session."""
    if not path.exists():
        return None
    with path.open("rb") as file:
        start = file.seek(max(0, path.stat().st_size - _TAIL))
        lines = file.read().splitlines(keepends=True)[1 if start else 0 :]
    rows = [row for line in lines if (row := parsed(line)) is not None]
    times = [row["time"] for row in rows if row["session"] == rows[-1]["session"] and row["asked"]]
    if len(times) < 2 or times[-1] <= times[0]:
        return None
    return float((len(times) - 1) / (times[-1] - times[0]))


def failed_images(run: Run) -> dict[str, list[str]]:
    """Return for each method, by id, the names of the images that failed under it."""
    failed = {
        method: [outcome.path for outcome in run.index.outcomes_under(method) if outcome.error is not None]
        for method in run.manifest.methods
    }
    return {method: names for method, names in failed.items() if names}


def retry_failures(
    run: Run,
    backend: Backend,
    failed: Mapping[str, Sequence[str]],
    *,
    batch: int = 8,
    max_pixels: int = MAX_PIXELS,
    column: str | None = None,
) -> Iterator[Outcome]:
    """Try the images of `failed_images` again, and yield their outcomes; `column` is that of the images in tables.

    A SettingError before anything is asked if a method of the run is not what its name means now.
    """
    stored = {}
    for method in failed:
        entry = run.manifest.methods[method]
        recipe = recipe_of(entry)
        if recipe is None or describe(recipe.method) != entry.settings or entry.pool is not None:
            raise SettingError(
                f"method {entry.name!r} of this run cannot be restored from its name alone; retry in Python: "
                f"StoredScorer(run, Scorer(...), name={entry.name!r}).ask(paths, retry=True)"
            )
        scorer = Scorer(
            backend=backend,
            method=recipe.method,
            seed=entry.seed,
            batch=batch,
            max_pixels=max_pixels,
            max_side=max_side_of(run.manifest.identity),
        )
        stored[method] = StoredScorer(run, scorer, name=entry.name)
    for method, names in failed.items():
        yield from stored[method].ask((find_image(name, column=column) for name in names), retry=True)


def recipe_of(entry: MethodEntry) -> Recipe | None:
    """Return the recipe of the name under which a method was used, None where the name means nothing here."""
    try:
        return presets.get(entry.name)
    except SettingError:
        return None
