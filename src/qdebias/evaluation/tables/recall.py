"""What a run folder knows about a dataset, without a model and without an image."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from qdebias.evaluation.tables.evidence import Evidence, NotRun, Scores, collect, evidence_of, first
from qdebias.inputs.datasets import Dataset
from qdebias.methods import presets
from qdebias.methods.describe import describe
from qdebias.methods.keys import identity_digest
from qdebias.methods.method import Method, Score
from qdebias.methods.plan import Failure
from qdebias.runs.derive import Derivation, derivation, known_pixels
from qdebias.runs.retry import recipe_of
from qdebias.runs.snapshot import Snapshot


def recall(
    snapshot: Snapshot, dataset: Dataset, recipes: Sequence[str], *, seed: int = 0, limit: int | None = None
) -> Evidence:
    """Return what follows from the stored answers about a dataset.

    Args:
        snapshot: The run.
        dataset: The images and what people said about them.
        recipes: Names of methods.
        seed: Seed of the degradations.
        limit: Take only this many images, from the start.
    """
    part = first(dataset, limit)
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
