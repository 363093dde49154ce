"""Asking a model what the tables need, through a run folder that keeps every answer.

What another method asked is not asked again: pairs, triples, single conditions, Average and Winner-Takes-All follow
from the answers to `paper`, without a call of the model and without decoding an image.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from qdebias.backends.base import Backend, identity_difference
from qdebias.errors import MissingPackageError
from qdebias.evaluation.tables.evidence import Evidence, NotRun, Scores, collect, evidence_of, first
from qdebias.evaluation.tables.joint import joint_method, unanswered
from qdebias.image import MAX_PIXELS
from qdebias.image.pool import ImagePool
from qdebias.inputs.datasets import Dataset
from qdebias.methods import presets
from qdebias.methods.method import Method, Pool, QDebias
from qdebias.metrics.lpips import Lpips
from qdebias.runs.asked import AskedBackend
from qdebias.runs.backend import StoredBackend
from qdebias.runs.derive import known_pixels
from qdebias.runs.run import Run
from qdebias.runs.scorer import Scorer, limited
from qdebias.runs.stored_scorer import StoredScorer

Progress = Callable[[str, int], None]
"""Is told the method and how many images are done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
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
        asked: Where the key of every question that the model is asked is noted, with the seconds that it took; None:
            nowhere.
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
    asked: dict[str, float] | None = None

    def gather(self, dataset: Dataset, recipes: Sequence[str], *, model: str, limit: int | None = None) -> Evidence:
        """Return what the model says about a dataset under each method.

        Args:
            dataset: From `qdebias.load_dataset`.
            recipes: Names of methods; those whose questions contain other methods' questions first.
            model: What the model is called.
            limit: Take only this many images, from the start.
        """
        part = first(dataset, limit)
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
        backend = StoredBackend(self._noted(self.backend), self.run)
        scorer = self.scorer(backend, joint)
        tell = self.teller(recipes[0])
        missing = unanswered(self.run, joint, dataset.paths, seed=self.seed)
        for done, _ in enumerate(scorer.score_many(missing, on_error="return"), start=1):
            if tell is not None:
                tell(done)

    def _scores(self, dataset: Dataset, recipe: str) -> Scores | NotRun:
        chosen = presets.get(recipe)
        method = chosen.method
        obstacle = _obstacle(method) or self._other_identity(recipe)
        if obstacle:
            return NotRun(reason=obstacle)
        pool = self._pool(dataset) if isinstance(method, QDebias) and method.mismatched else None
        scorer = self.scorer(self._noted(chosen.fit(self.backend)), method, pool)
        stored = StoredScorer(self.run, scorer, name=recipe, total=len(dataset))
        tell = self.teller(recipe)
        for asked, _ in enumerate(stored.ask(dataset.paths), start=1):
            if tell is not None:
                tell(asked + stored.skipped)
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

    def _noted(self, backend: Backend) -> Backend:
        return backend if self.asked is None else AskedBackend(backend, self.run.identity, self.asked)

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

    def telling(self, progress: Progress) -> "Asker":
        """Return the same with another listener."""
        return replace(self, progress=progress)

    def teller(self, recipe: str) -> Callable[[int], None] | None:
        """Return what is told how far one method is."""
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
        pixels = known_pixels(run.index, run.manifest, _name(path), seed=seed)
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


def _name(path: Path) -> str:
    return str(path.absolute())


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
