"""The scores of methods on a dataset: asked of a model through its run folder, or recalled from the answers there.

What another method asked is not asked again: pairs, triples, single conditions, Average and Winner-Takes-All follow
from the answers to `paper`, without a call of the model and without decoding an image.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from qdebias.backends.base import Backend, identity_difference
from qdebias.errors import ImageError, MissingPackageError
from qdebias.evaluation.evidence import Evidence, NotRun, Scores, collect, evidence_of, first_items
from qdebias.image import MAX_PIXELS, load_image
from qdebias.image.pool import ImagePool
from qdebias.inputs.datasets import Dataset
from qdebias.inputs.datasets.load import refuse_videos
from qdebias.methods import presets
from qdebias.methods.describe import describe
from qdebias.methods.outline import outline_of
from qdebias.methods.plan import Failure, Method, Pool, Score
from qdebias.methods.recipe import Recipe, joint
from qdebias.metrics.packages import load_rival
from qdebias.runs.derive import Derivation, known_pixels
from qdebias.runs.run import Run, Snapshot
from qdebias.runs.scorer import Scorer, limited
from qdebias.runs.status import recipe_of
from qdebias.runs.stored import StoredBackend, StoredScorer

Progress = Callable[[str, int], None]
"""Is told the method and how many images are done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRun:
    """A model with its run folder.

    Attributes:
        run: The folder, open for writing.
        backend: The model.
        seed: Seed of the degradations.
        batch: How many images are handed to the model at a time.
        max_pixels: Larger images are refused before they are decoded.
        max_side: Larger images are made smaller, see `qdebias.Scorer`; the run folder is of this size.
        pool: Images for conditions of other content; None: those of the dataset itself.
        pool_name: What the pool is called in the notes.
        progress: Is told how far it is.
        answer_seconds: Gets the seconds that each question took, by its key, where the model is asked; or None.
    """

    run: Run
    backend: Backend
    seed: int = 0
    batch: int = 8
    max_pixels: int = MAX_PIXELS
    max_side: int | None = None
    pool: Pool | None = None
    pool_name: str = ""
    progress: Progress | None = None
    answer_seconds: dict[str, float] | None = None

    def score_dataset(
        self, dataset: Dataset, methods: Sequence[str | Recipe], *, model: str, limit: int | None = None
    ) -> Evidence:
        """Return what the model says about a dataset under each method.

        Args:
            dataset: From `qdebias.load_dataset`.
            methods: Names of methods, or these; those whose questions contain other methods' questions first.
            model: What the model is called.
            limit: Take only this many images, from the start.
        """
        refuse_videos(dataset)
        part, recipes = first_items(dataset, limit), list(map(presets.get, methods))
        self._ask_together(part, recipes)
        results = {recipe.name: self._scores(part, recipe) for recipe in recipes}
        evidence = evidence_of(dataset, results, model=model, seed=self.seed, limit=limit)
        if "mismatched" not in results:
            return evidence
        source = f"images of {self.pool_name}" if self.pool_name else _others_of(dataset)
        note = f"Semantically inconsistent conditions of {evidence.title}: degraded {source}, chosen by seed."
        return replace(evidence, notes=(*evidence.notes, note))

    def _ask_together(self, dataset: Dataset, recipes: Sequence[Recipe]) -> None:
        """Ask several prompts about the same pairs at once; what each method makes of it comes afterwards."""
        together = joint([one for one in recipes if not self._other_identity(one)])
        if together is None:
            return
        scorer = self.scorer(StoredBackend(self.backend, self.run, self.answer_seconds), together)
        derived = Derivation(self.run, together)
        missing = (path for path in dataset.paths if not self._is_answered(derived, path))
        for done, _ in enumerate(scorer.score_many(missing, on_error="return"), start=1):
            self._tell(recipes[0], done)

    def _is_answered(self, derived: Derivation, path: Path) -> bool:
        pixels = known_pixels(self.run, str(path.absolute()), seed=self.seed)
        return pixels is not None and derived.answers(pixels) is not None

    def _scores(self, dataset: Dataset, recipe: Recipe) -> Scores | NotRun:
        try:
            recipe.check()
        except MissingPackageError as error:
            return NotRun(reason=str(error))
        if obstacle := self._other_identity(recipe):
            return NotRun(reason=obstacle)
        outline, pool = outline_of(recipe.method), None
        if outline is not None and outline.needs_pool:
            pool = self.pool or self._pool(dataset)
        stored = StoredScorer(
            self.run, self.scorer(self.backend, recipe, pool), total=len(dataset), seconds=self.answer_seconds
        )
        for count, _ in enumerate(stored.ask(dataset.paths), start=1):
            self._tell(recipe, count + stored.skipped)
        return collect(recipe.method, stored.results(dataset.paths))

    def _pool(self, dataset: Dataset) -> ImagePool:
        """Return the images of a dataset as conditions of other content.

        Two images show the same where they have one scene, or else one reference photograph or prompt. Where the labels
        tell none of these, another image is taken to show something else.
        """
        contents = tuple(item.scene or item.group or item.name for item in dataset.items)
        known = (known_pixels(self.run, str(path.absolute()), seed=self.seed) for path in dataset.paths)
        return ImagePool(
            paths=tuple(dataset.paths),
            contents=contents,
            content_of={pixels.image: content for pixels, content in zip(known, contents, strict=True) if pixels},
            max_pixels=self.max_pixels,
            max_side=self.max_side,
        )

    def _tell(self, recipe: Recipe, done: int) -> None:
        if self.progress is not None:
            self.progress(recipe.name, done)

    def scorer(self, backend: Backend, method: Method | Recipe, pool: Pool | None = None) -> Scorer:
        """Return what scores images as this run has them."""
        return Scorer(
            backend=backend,
            method=method,
            seed=self.seed,
            batch=self.batch,
            max_pixels=self.max_pixels,
            pool=pool,
            max_side=self.max_side,
        )

    def _other_identity(self, recipe: Recipe) -> str:
        """Return why the answers under a method cannot be kept in this run, nothing where they can."""
        identity = limited(recipe.fit(self.backend).fingerprint, self.max_side).identity
        found = "; ".join(identity_difference(self.run.manifest.identity, identity))
        return found and f"{recipe.name} changes the model ({found}), so its answers belong into another run folder"


def _others_of(dataset: Dataset) -> str:
    """Return what images of a dataset are conditions of other content, in words."""
    if any(item.scene for item in dataset.items):
        return "images of other scenes of the same dataset"
    if any(item.group for item in dataset.items):
        return "images of other references or prompts of the same dataset"
    return "other images of the same dataset, whose labels do not say what they show"


def pool_of(paths: Sequence[Path], *, max_pixels: int = MAX_PIXELS, max_side: int | None = None) -> ImagePool:
    """Return image files from elsewhere as a pool, as the paper has it; each shows something of its own."""
    names = tuple(map(str, paths))
    return ImagePool(paths=tuple(paths), contents=names, max_pixels=max_pixels, max_side=max_side)


def recall(
    snapshot: Snapshot, dataset: Dataset, methods: Sequence[str | Recipe], *, seed: int = 0, limit: int | None = None
) -> Evidence:
    """Return the scores under each method that follow from the stored answers about a dataset."""
    paths = first_items(dataset, limit).paths
    results = {one.name: _recall_one(snapshot, paths, one, seed) for one in map(presets.get, methods)}
    return evidence_of(dataset, results, model=snapshot.manifest.model, seed=seed, limit=limit)


def with_all_methods(snapshot: Snapshot, evidence: Evidence) -> Evidence:
    """Return the scores of an evaluation with those of every other method that the run has answers for."""
    paths = [Path(evidence.root, name) for name in evidence.names]
    entries = [entry for entry in snapshot.manifest.methods.values() if entry.seed == evidence.seed]
    further = {entry.name: recipe for entry in entries if (recipe := recipe_of(entry)) is not None}
    found = {
        name: _recall_one(snapshot, paths, replace(recipe, name=name), evidence.seed)
        for name, recipe in sorted(further.items())
        if name not in evidence.results
    }
    held = {name: scores for name, scores in found.items() if isinstance(scores, Scores)}
    return replace(evidence, results={**evidence.results, **held})


def _recall_one(snapshot: Snapshot, paths: Sequence[Path], recipe: Recipe, seed: int) -> Scores | NotRun:
    derived, entries = Derivation(snapshot, recipe.method), snapshot.manifest.methods.items()
    settings = json.loads(json.dumps(describe(recipe.method)))
    known = [number for number, entry in entries if (entry.settings, entry.seed) == (settings, seed)][::-1]
    results = [_result(derived, known, str(path.absolute()), seed) for path in paths]
    if not any(isinstance(result, Score) for result in results):
        return NotRun(reason=f"{recipe.name}: not all of its questions were asked in this run; use qdebias reproduce")
    return collect(recipe.method, results)


def _result(derived: Derivation, known: Sequence[str], path: str, seed: int) -> Score | Failure:
    """Return the score of an image; `known` are the ids of the method, the latest first: one for each pool."""
    failure = Failure(name=path, error=f"{path}: was not asked about")
    if derived.outline.shared:
        pixels = known_pixels(derived.run, path, seed=seed)
        return (None if pixels is None else derived.score(pixels)) or failure
    outcomes = [derived.run.index.outcome(path, number) for number in known]
    done = [outcome for outcome in outcomes if outcome is not None and outcome.error is None]
    return derived.result(done[0]) if done else failure


PREFIX = "rival "
"""What stands before the name of a rival in `Evidence.results`."""


def rival_scores(
    dataset: Dataset,
    name: str,
    *,
    device: str | None = None,
    max_pixels: int = MAX_PIXELS,
    progress: Callable[[int], None] | None = None,
) -> Scores | NotRun:
    """Return the scores of a metric of pyiqa, higher is better, or why there are none.

    Raises:
        SettingError: There is no such metric.
    """
    try:
        rival = load_rival(name, device=device)
    except MissingPackageError as error:
        return NotRun(reason=str(error))
    values, errors = [], []
    for done, path in enumerate(dataset.paths, start=1):
        try:
            values.append(rival(load_image(path, max_pixels=max_pixels)))
        except ImageError as error:
            values.append(np.nan)
            errors.append(str(error))
        if progress is not None:
            progress(done)
    column = np.array(values, dtype=np.float64)
    return Scores(value=column, order=column, errors=tuple(errors))
