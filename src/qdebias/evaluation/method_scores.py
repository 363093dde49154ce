"""The scores of methods on a dataset: asked of a model through its run folder, or recalled from the answers there.

What another method asked is not asked again: pairs, triples, single conditions, Average and Winner-Takes-All follow
from the answers to `paper`, without a call of the model and without decoding an image.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from qdebias.backends.base import Backend, identity_difference
from qdebias.errors import MissingPackageError
from qdebias.evaluation.evidence import Evidence, NotRun, Scores, collect, evidence_of, first_items
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
"""Is told the method and how many images are done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRun:
    """A model with its run folder, which is open for writing and of images of `max_side`.

    Conditions of other content are images of `pool`, which is called `pool_name`, or else of the dataset itself.
    `answer_seconds` gets the seconds that each question took, by its key, where the model is asked.
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

    def score_dataset(
        self, dataset: Dataset, methods: Sequence[str | Recipe], *, model: str, limit: int | None = None
    ) -> Evidence:
        """Return what the model, called `model`, says about the first images of a dataset under each method.

        Methods whose questions contain other methods' questions are named first.
        """
        refuse_videos(dataset)
        part, recipes = first_items(dataset, limit), list(map(presets.get, methods))
        together = joint([one for one in recipes if not self._other_identity(one)])
        if together is not None:  # prompts about the same pairs; what each method makes of it comes afterwards
            scorer = self.scorer(StoredBackend(self.backend, self.run, self.answer_seconds), together)
            derived = Derivation(self.run, together)
            missing = (
                path
                for path in part.paths
                if (pixels := known_pixels(self.run, str(path.absolute()), seed=self.seed)) is None
                or derived.answers(pixels) is None
            )
            for done, _ in enumerate(scorer.score_many(missing, on_error="return"), start=1):
                self.progress(recipes[0].name, done)
        results = {recipe.name: self._scores(part, recipe) for recipe in recipes}
        evidence = evidence_of(dataset, results, model=model, seed=self.seed, limit=limit)
        if "mismatched" not in results:
            return evidence
        source = "other images of the same dataset, whose labels do not say what they show"
        if self.pool_name:
            source = f"images of {self.pool_name}"
        elif any(item.scene for item in dataset.items):
            source = "images of other scenes of the same dataset"
        elif any(item.group for item in dataset.items):
            source = "images of other references or prompts of the same dataset"
        note = f"Semantically inconsistent conditions of {evidence.title}: degraded {source}, chosen by seed."
        return replace(evidence, notes=(*evidence.notes, note))

    def _scores(self, dataset: Dataset, recipe: Recipe) -> Scores | NotRun:
        try:
            recipe.check()
        except MissingPackageError as error:
            return NotRun(reason=str(error))
        if obstacle := self._other_identity(recipe):
            return NotRun(reason=obstacle)
        outline = outline_of(recipe.method)
        pool = self.pool or self._pool(dataset) if outline is not None and outline.needs_pool else None
        scorer = self.scorer(self.backend, recipe, pool)
        stored = StoredScorer(self.run, scorer, total=len(dataset), seconds=self.answer_seconds)
        for count, _ in enumerate(stored.ask(dataset.paths), start=1):
            self.progress(recipe.name, count + stored.skipped)
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
    results = dict(evidence.results)
    for name, recipe in sorted(further.items()):
        if name not in results:
            scores = _recall_one(snapshot, paths, replace(recipe, name=name), evidence.seed)
            results |= {name: scores} if isinstance(scores, Scores) else {}
    return replace(evidence, results=results)


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
