"""The scores of methods on a dataset: from a model through its run folder, or from the answers stored there alone.

Questions that another method asked are not asked again: pairs, triples, single conditions, Average and
Winner-Takes-All follow from the answers to `paper`, without calling the model or decoding an image.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from qdebias.backends.base import Backend, identity_difference
from qdebias.errors import MissingPackageError
from qdebias.evaluation.evidence import Evidence, Scores, collect, evidence_of
from qdebias.image import MAX_PIXELS
from qdebias.image.pool import ImagePool
from qdebias.inputs.datasets import Dataset
from qdebias.inputs.datasets.load import refuse_videos
from qdebias.methods import presets
from qdebias.methods.describe import describe
from qdebias.methods.outline import outline_of
from qdebias.methods.plan import Failure, Method, Pool, Score
from qdebias.methods.recipe import Recipe, joint
from qdebias.runs.derive import Derivation, known_pixels
from qdebias.runs.run import Run, Snapshot
from qdebias.runs.scorer import Scorer, limited
from qdebias.runs.status import recipe_of
from qdebias.runs.stored import StoredBackend, StoredScorer

Progress = Callable[[str, int], None]
"""Called with the method and the number of images that are done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRun:
    """A model with its run folder, which is open for writing and holds answers about images of `max_side`.

    Conditions of other content are images of `pool`, named `pool_name`, or else of the dataset itself. `answer_seconds`
    receives the seconds that each question takes the model, by its key.
    """

    run: Run
    backend: Backend
    seed: int = 0
    batch: int = 8
    max_pixels: int = MAX_PIXELS
    max_side: int | None = None
    pool: Pool | None = None
    pool_name: str = ""
    progress: Progress = lambda *_: None
    answer_seconds: dict[str, float] | None = None

    def score_dataset(self, dataset: Dataset, methods: Sequence[str | Recipe], *, model: str) -> Evidence:
        """Return the scores under each method; those whose questions contain others' questions come first."""
        refuse_videos(dataset)
        recipes = list(map(presets.get, methods))
        together = joint([one for one in recipes if not self._other_identity(one)])
        if together is not None:  # several prompts about the same pairs; each method is computed from them afterwards
            scorer = self.scorer(StoredBackend(self.backend, self.run, self.answer_seconds), together)
            derived = Derivation(self.run, together)
            missing = (
                path
                for path in dataset.paths
                if (pixels := known_pixels(self.run, str(path.absolute()), seed=self.seed)) is None
                or derived.answers(pixels) is None
            )
            for done, _ in enumerate(scorer.score_many(missing, on_error="return"), start=1):
                self.progress(recipes[0].name, done)
        results = {recipe.name: self._scores(dataset, recipe) for recipe in recipes}
        evidence = evidence_of(dataset, results, model=model, seed=self.seed)
        if "mismatched" not in results:
            return evidence
        source = "other images of the same dataset, whose labels do not describe their content"
        if self.pool_name:
            source = f"images of {self.pool_name}"
        elif any(item.scene for item in dataset.items):
            source = "images of other scenes of the same dataset"
        elif any(item.group for item in dataset.items):
            source = "images of other references or prompts of the same dataset"
        note = f"Semantically inconsistent conditions of {evidence.title}: degraded {source}, chosen by seed."
        return replace(evidence, notes=(*evidence.notes, note))

    def _scores(self, dataset: Dataset, recipe: Recipe) -> Scores:
        try:
            recipe.check()
        except MissingPackageError as error:
            return Scores(not_run=str(error))
        if obstacle := self._other_identity(recipe):
            return Scores(not_run=obstacle)
        outline = outline_of(recipe.method)
        pool = self.pool or self._pool(dataset) if outline is not None and outline.needs_pool else None
        scorer = self.scorer(self.backend, recipe, pool)
        stored = StoredScorer(self.run, scorer, total=len(dataset), seconds=self.answer_seconds)
        for count, _ in enumerate(stored.ask(dataset.paths), start=1):
            self.progress(recipe.name, count + stored.skipped)
        return collect(recipe.method, stored.results(dataset.paths))

    def _pool(self, dataset: Dataset) -> ImagePool:
        """Return the images of a dataset as conditions of other content, by scene or else reference or prompt."""
        contents = tuple(item.scene or item.group or item.name for item in dataset.items)
        known = (known_pixels(self.run, str(path.absolute()), seed=self.seed) for path in dataset.paths)
        return ImagePool(
            paths=tuple(dataset.paths),
            contents=contents,
            content_of={pixels.image: content for pixels, content in zip(known, contents, strict=True) if pixels},
            max_pixels=self.max_pixels,
            max_side=self.max_side,
        )

    def scorer(self, backend: Backend, method: Method | Recipe, pool: Pool | None = None) -> Scorer:
        """Return a scorer with the settings of this run."""
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
        """Return why the answers under a method cannot be stored in this run; empty if they can."""
        identity = limited(recipe.fit(self.backend).fingerprint, self.max_side).identity
        found = "; ".join(identity_difference(self.run.manifest.identity, identity))
        return found and f"{recipe.name} changes the model ({found}), so its answers belong in another run folder"


def pool_of(paths: Sequence[Path], *, max_pixels: int = MAX_PIXELS, max_side: int | None = None) -> ImagePool:
    """Return image files from elsewhere as a pool, as in the paper; the content of each is different."""
    names = tuple(map(str, paths))
    return ImagePool(paths=tuple(paths), contents=names, max_pixels=max_pixels, max_side=max_side)


def recall(snapshot: Snapshot, dataset: Dataset, methods: Sequence[str | Recipe], *, seed: int = 0) -> Evidence:
    """Return the scores under each method that follow from the stored answers about a dataset."""
    results = {one.name: _recall_one(snapshot, dataset.paths, one, seed) for one in map(presets.get, methods)}
    return evidence_of(dataset, results, model=snapshot.manifest.model, seed=seed)


def stored_methods(snapshot: Snapshot, seed: int) -> list[Recipe]:
    """Return the methods that a run used with a seed, under the names that they have there."""
    entries = {entry.name: entry for entry in snapshot.manifest.methods.values() if entry.seed == seed}
    return [replace(found, name=name) for name, entry in entries.items() if (found := recipe_of(entry)) is not None]


def with_all_methods(snapshot: Snapshot, evidence: Evidence) -> Evidence:
    """Return the scores of an evaluation with those of every other method that the run has answers for."""
    paths, results = [Path(evidence.root, name) for name in evidence.names], dict(evidence.results)
    for recipe in sorted(stored_methods(snapshot, evidence.seed), key=lambda recipe: recipe.name):
        if recipe.name not in results:
            scores = _recall_one(snapshot, paths, recipe, evidence.seed)
            results |= {} if scores.not_run else {recipe.name: scores}
    return replace(evidence, results=results)


def _recall_one(snapshot: Snapshot, paths: Sequence[Path], recipe: Recipe, seed: int) -> Scores:
    derived, entries = Derivation(snapshot, recipe.method), snapshot.manifest.methods.items()
    settings = json.loads(json.dumps(describe(recipe.method)))
    ids = [number for number, entry in entries if (entry.settings, entry.seed) == (settings, seed)]
    results: list[Score | Failure] = []
    for path in (str(path.absolute()) for path in paths):
        score: Score | Failure | None
        if derived.outline.shared:
            pixels = known_pixels(snapshot, path, seed=seed)
            score = None if pixels is None else derived.score(pixels)
        else:
            outcomes = [snapshot.index.outcome(path, number) for number in reversed(ids)]  # latest first, one per pool
            done = [outcome for outcome in outcomes if outcome is not None and outcome.error is None]
            score = derived.result(done[0]) if done else None
        results.append(score or Failure(name=path, error=f"{path}: has no stored answers"))
    if not any(isinstance(result, Score) for result in results):
        reason = f"{recipe.name}: not all of its questions were asked in this run; use qdebias reproduce"
        return Scores(not_run=reason)
    return collect(recipe.method, results)
