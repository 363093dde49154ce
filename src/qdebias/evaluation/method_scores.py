"""The scores of methods on a dataset: asked of a model through its run folder, or recalled from the answers there.

What another method asked is not asked again: pairs, triples, single conditions, Average and Winner-Takes-All follow
from the answers to `paper`, without a call of the model and without decoding an image.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from qdebias.backends.base import Backend, identity_difference
from qdebias.equations import equal_weight
from qdebias.errors import ImageError, MissingPackageError
from qdebias.evaluation.evidence import Evidence, NotRun, Scores, collect, evidence_of, first_items
from qdebias.image import MAX_PIXELS, load_image
from qdebias.image.pool import ImagePool
from qdebias.inputs.datasets import Dataset
from qdebias.methods import presets
from qdebias.methods.describe import describe
from qdebias.methods.method import Method, Pool, QDebias, Score
from qdebias.methods.outline import identity_digest
from qdebias.methods.plan import Failure
from qdebias.metrics.packages import Lpips, load_rival
from qdebias.runs.derive import Derivation, derivation, known_pixels
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
        self, dataset: Dataset, recipes: Sequence[str], *, model: str, limit: int | None = None
    ) -> Evidence:
        """Return what the model says about a dataset under each method.

        Args:
            dataset: From `qdebias.load_dataset`.
            recipes: Names of methods; those whose questions contain other methods' questions first.
            model: What the model is called.
            limit: Take only this many images, from the start.
        """
        part = first_items(dataset, limit)
        self._ask_together(part, recipes)
        results = {recipe: self._scores(part, recipe) for recipe in recipes}
        evidence = evidence_of(dataset, results, model=model, seed=self.seed, limit=limit)
        if "mismatched" not in results:
            return evidence
        source = f"images of {self.pool_name}" if self.pool_name else _others_of(dataset)
        note = f"Semantically inconsistent conditions of {evidence.title}: degraded {source}, chosen by seed."
        return replace(evidence, notes=(*evidence.notes, note))

    def _ask_together(self, dataset: Dataset, recipes: Sequence[str]) -> None:
        """Ask several prompts about the same pairs at once; what each method makes of it comes afterwards."""
        joint = joint_method([one for one in recipes if not self._other_identity(one)])
        if joint is None:
            return
        backend = StoredBackend(self.backend, self.run, self.answer_seconds)
        scorer = self.scorer(backend, joint)
        report_progress = self.progress_of(recipes[0])
        missing = unanswered(self.run, joint, dataset.paths, seed=self.seed)
        for done, _ in enumerate(scorer.score_many(missing, on_error="return"), start=1):
            if report_progress is not None:
                report_progress(done)

    def _scores(self, dataset: Dataset, recipe: str) -> Scores | NotRun:
        chosen = presets.get(recipe)
        method = chosen.method
        obstacle = _obstacle(method) or self._other_identity(recipe)
        if obstacle:
            return NotRun(reason=obstacle)
        pool = self._pool(dataset) if isinstance(method, QDebias) and method.mismatched else None
        scorer = self.scorer(chosen.fit(self.backend), method, pool)
        stored = StoredScorer(self.run, scorer, name=recipe, total=len(dataset), seconds=self.answer_seconds)
        report_progress = self.progress_of(recipe)
        for count, _ in enumerate(stored.ask(dataset.paths), start=1):
            if report_progress is not None:
                report_progress(count + stored.skipped)
        return collect(method, stored.results(dataset.paths))

    def scorer(self, backend: Backend, method: Method, pool: Pool | None = None) -> Scorer:
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

    def _other_identity(self, recipe: str) -> str:
        """Return why the answers under a method cannot be kept in this run, nothing where they can."""
        fitted = presets.get(recipe).fit(self.backend)
        identity = limited(fitted.fingerprint, self.max_side).identity
        differences = identity_difference(self.run.manifest.identity, identity)
        if not differences:
            return ""
        return f"{recipe} changes the model ({'; '.join(differences)}), so its answers belong into another run folder"

    def _pool(self, dataset: Dataset) -> Pool:
        found = dataset_pool(dataset, self.run, seed=self.seed, max_pixels=self.max_pixels)
        return self.pool or replace(found, max_side=self.max_side)

    def with_progress(self, progress: Progress) -> "ModelRun":
        """Return the same that reports its progress elsewhere."""
        return replace(self, progress=progress)

    def progress_of(self, recipe: str) -> Callable[[int], None] | None:
        """Return what is called with the number of images that are done under one method."""
        progress = self.progress
        return None if progress is None else lambda done: progress(recipe, done)


def dataset_pool(dataset: Dataset, run: Run, *, seed: int, max_pixels: int) -> ImagePool:
    """Return the images of a dataset as a pool of conditions of other content.

    Two images show the same where they have one scene, or else one reference photograph or prompt. Where the labels
    tell none of these, another image is taken to show something else.
    """
    contents = tuple(item.scene or item.group or item.name for item in dataset.items)
    content_of = {}
    for path, content in zip(dataset.paths, contents, strict=True):
        pixels = known_pixels(run.index, run.manifest, str(path.absolute()), seed=seed)
        if pixels is not None:
            content_of[pixels.image] = content
    return ImagePool(paths=tuple(dataset.paths), contents=contents, content_of=content_of, max_pixels=max_pixels)


def _others_of(dataset: Dataset) -> str:
    """Return what images of a dataset are conditions of other content, in words."""
    if any(item.scene for item in dataset.items):
        return "images of other scenes of the same dataset"
    if any(item.group for item in dataset.items):
        return "images of other references or prompts of the same dataset"
    return "other images of the same dataset, whose labels do not say what they show"


def _obstacle(method: Method) -> str:
    """Return why a method cannot be run on this machine, nothing where it can."""
    if isinstance(method, QDebias) and isinstance(method.distance, Lpips):
        try:
            method.distance.check()
        except MissingPackageError as error:
            return str(error)
    return ""


def pool_of(paths: Sequence[Path], *, max_pixels: int = MAX_PIXELS, max_side: int | None = None) -> ImagePool:
    """Return image files from elsewhere as a pool, as the paper has it; each shows something of its own."""
    names = tuple(map(str, paths))
    return ImagePool(paths=tuple(paths), contents=names, max_pixels=max_pixels, max_side=max_side)


def joint_method(recipes: Sequence[str]) -> QDebias | None:
    """Return a method that asks the prompts of several recipes at once; its own score is of no interest.

    It has the questions of those that show the same pairs of images as the first; None where there are not several.
    """
    methods = [one for one in (presets.get(recipe).method for recipe in recipes) if isinstance(one, QDebias)]
    paired = [one for one in methods if one.degradations and not one.mismatched and one.contrast is None]
    alike = [one for one in paired if _stripped(one) == _stripped(paired[0])]
    questions = tuple(dict.fromkeys(one.quality for one in alike))
    if len(questions) < 2:
        return None
    same = next((one.same for one in alike if one.same is not None), None)
    return replace(_stripped(alike[0]), quality=questions[0], ensemble=questions[1:], same=same)


def unanswered(run: Run, joint: QDebias, paths: Sequence[Path], *, seed: int) -> Iterator[Path]:
    """Yield the images about which not all of the questions are answered in the run."""
    found = derivation(run.index, run.identity, joint)
    for path in paths:
        pixels = known_pixels(run.index, run.manifest, str(path.absolute()), seed=seed)
        if pixels is None or found.answers(pixels) is None:
            yield path


def _stripped(method: QDebias) -> QDebias:
    """Return the method without what does not change the pairs of images: its questions and its arithmetic."""
    return QDebias(
        quality=presets.CONDITIONAL,
        degradations=method.degradations,
        weigh=equal_weight,
        placement=method.placement,
        query_first=method.query_first,
    )


def recall(
    snapshot: Snapshot, dataset: Dataset, recipes: Sequence[str], *, seed: int = 0, limit: int | None = None
) -> Evidence:
    """Return the scores under each method that follow from the stored answers about a dataset."""
    part = first_items(dataset, limit)
    results = {recipe: _recall_one(snapshot, part.paths, recipe, seed) for recipe in recipes}
    return evidence_of(dataset, results, model=snapshot.manifest.model, seed=seed, limit=limit)


def with_all_methods(snapshot: Snapshot, evidence: Evidence) -> Evidence:
    """Return the scores of an evaluation with those of every other method that the run has answers for."""
    paths = [Path(evidence.root, name) for name in evidence.names]
    entries = [entry for entry in snapshot.manifest.methods.values() if entry.seed == evidence.seed]
    further = {entry.name for entry in entries if recipe_of(entry) is not None} - evidence.results.keys()
    found = {name: _recall_one(snapshot, paths, name, evidence.seed) for name in sorted(further)}
    held = {name: scores for name, scores in found.items() if isinstance(scores, Scores)}
    return replace(evidence, results={**evidence.results, **held})


def _recall_one(snapshot: Snapshot, paths: Sequence[Path], recipe: str, seed: int) -> Scores | NotRun:
    method = presets.get(recipe).method
    found = derivation(snapshot.index, identity_digest(snapshot.manifest.identity), method)
    known = _methods(snapshot, method, seed) if not found.outline.shared else []
    results = [_result(snapshot, found, known, str(path.absolute()), seed) for path in paths]
    if not any(isinstance(result, Score) for result in results):
        return NotRun(reason=f"{recipe}: not all of its questions were asked in this run; use qdebias reproduce")
    return collect(method, results)


def _methods(snapshot: Snapshot, method: Method, seed: int) -> list[str]:
    """Return under which ids a method was used, the latest first: one for each pool of images."""
    settings = json.loads(json.dumps(describe(method)))
    entries = snapshot.manifest.methods.items()
    return [number for number, entry in entries if (entry.settings, entry.seed) == (settings, seed)][::-1]


def _result(snapshot: Snapshot, found: Derivation, known: Sequence[str], path: str, seed: int) -> Score | Failure:
    failure = Failure(name=path, error=f"{path}: was not asked about")
    if found.outline.shared:
        pixels = known_pixels(snapshot.index, snapshot.manifest, path, seed=seed)
        return (None if pixels is None else found.score(pixels)) or failure
    outcomes = [snapshot.index.outcome(path, number) for number in known]
    done = [outcome for outcome in outcomes if outcome is not None and outcome.error is None]
    return found.score_of(done[0]) if done else failure


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
