"""Trying again what failed in a run, by the folder alone."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from qdebias.backends.base import Backend
from qdebias.errors import SettingError
from qdebias.image import MAX_PIXELS
from qdebias.image.downsize import max_side_of
from qdebias.inputs.images import image_named
from qdebias.methods import presets
from qdebias.methods.describe import describe
from qdebias.methods.method import Method
from qdebias.methods.presets import Recipe
from qdebias.runs.manifest import MethodEntry
from qdebias.runs.outcome import Outcome
from qdebias.runs.run import Run
from qdebias.runs.scorer import Scorer
from qdebias.runs.stored_scorer import StoredScorer


@dataclass(frozen=True, slots=True, kw_only=True)
class Retried:
    """An image that was tried again.

    Attributes:
        method: Under which method.
        outcome: What became of it this time.
    """

    method: str
    outcome: Outcome


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
) -> Iterator[Retried]:
    """Try images again, and yield what became of each.

    Args:
        run: The run.
        backend: Its model.
        failed: From `failed_images`.
        batch: How many images are handed to the backend at a time.
        max_pixels: Larger images are refused.
        column: The column of images, for those that came out of tables.

    Raises:
        SettingError: A method cannot be had by its name: it is no preset, or is another one by now.
        BackendError: The model cannot answer.
        StoreError: The disk refuses.
    """
    scorers = {}
    for method in failed:
        entry = run.manifest.methods[method]
        scorer = Scorer(
            backend=backend,
            method=_preset(entry),
            seed=entry.seed,
            batch=batch,
            max_pixels=max_pixels,
            max_side=max_side_of(run.manifest.identity),
        )
        scorers[method] = StoredScorer(run, scorer, name=entry.name)
    for method, stored in scorers.items():
        images = (image_named(name, column=column) for name in failed[method])
        for outcome in stored.ask(images, retry=True):
            yield Retried(method=run.manifest.methods[method].name, outcome=outcome)


def recipe_of(entry: MethodEntry) -> Recipe | None:
    """Return the recipe of the name under which a method was used, None where the name means nothing here."""
    try:
        return presets.get(entry.name)
    except SettingError:
        return None


def _preset(entry: MethodEntry) -> Method:
    recipe = recipe_of(entry)
    if recipe is None or describe(recipe.method) != entry.settings or entry.pool is not None:
        raise SettingError(
            f"method {entry.name!r} of this run is none that its name alone brings back; retry in Python: "
            f"StoredScorer(run, Scorer(...), name={entry.name!r}).ask(paths, retry=True)"
        )
    return recipe.method
