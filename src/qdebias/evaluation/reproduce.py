"""From a dataset, a model and a run folder to the scores behind a table or figure, asked or remembered."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from qdebias.errors import SettingError
from qdebias.evaluation.evidence import Evidence, Scores, first_items, load_all, part_name, save
from qdebias.evaluation.method_scores import PREFIX, ModelRun, recall, rival_scores, with_all_methods
from qdebias.evaluation.paper_tables import TABLES, needed
from qdebias.inputs.datasets import Dataset
from qdebias.runs.run import open_snapshot
from qdebias.system.named import nearest

FIGURES = ("figure1", "figure4")

BIAS = "bias"
"""Stands for the offsets of `qdebias.evaluation.bias` in place of a table."""

PLAIN = "qbench"
"""The method whose bias the figures show: the paper made them with the prompt of Q-Bench."""


def recipes_of(what: str, dataset: str) -> tuple[str, ...]:
    """Return the methods that a table or figure is made of, `paper` first.

    Raises:
        SettingError: There is no such table or figure.
    """
    if what == BIAS:
        return ("paper", "vanilla")
    if what not in (*TABLES, *FIGURES):
        known = (*TABLES, *FIGURES)
        raise SettingError(f"{what!r} is not a table or figure; choose one of {', '.join(known)}{nearest(what, known)}")
    return ("paper", PLAIN) if what in FIGURES else needed(what, dataset)


def reproduce(
    what: str,
    dataset: Dataset,
    model_run: ModelRun,
    *,
    model: str,
    limit: int | None = None,
    rivals: Sequence[str] = (),
    device: str | None = None,
) -> Evidence:
    """Ask what is missing for a table or figure, and leave the scores behind it in the run folder.

    Args:
        what: One of `TABLES` or `FIGURES`, or `BIAS`.
        dataset: From `qdebias.load_dataset`.
        model_run: The model and its run folder.
        model: What the model is called.
        limit: Take only this many images, from the start.
        rivals: Metrics of pyiqa to be run as well, for Table 1. Scores of the same images that are in the run folder
            from an earlier time are taken from there.
        device: Where the rivals run.
    """
    evidence = model_run.score_dataset(dataset, recipes_of(what, dataset.name), model=model, limit=limit)
    results = dict(evidence.results)
    for name in rivals:
        key = PREFIX + name
        known = [one.results.get(key) for one in load_all(model_run.run.folder) if one.names == evidence.names]
        done = next((scores for scores in known if isinstance(scores, Scores)), None)
        progress = None if model_run.progress is None else partial(model_run.progress, key)
        results[key] = done or rival_scores(
            first_items(dataset, limit), name, device=device, max_pixels=model_run.max_pixels, progress=progress
        )
    evidence = replace(evidence, results=results)
    save(evidence, model_run.run.folder, part=part_name(dataset, limit))
    return evidence


def recall_evidence(
    runs: Sequence[Path], dataset: Dataset, wanted: Sequence[str], *, seed: int = 0, limit: int | None = None
) -> list[Evidence]:
    """Return what follows from the answers that runs hold about a dataset, without a model.

    Args:
        runs: Run folders.
        dataset: From `qdebias.load_dataset`.
        wanted: Names of tables.
        seed: Seed of the degradations.
        limit: Take only this many images, from the start.
    """
    recipes = tuple(dict.fromkeys(recipe for table in wanted for recipe in recipes_of(table, dataset.name)))
    found = []
    for folder in runs:
        with open_snapshot(folder) as snapshot:
            found.append((folder, recall(snapshot, dataset, recipes, seed=seed, limit=limit)))
    return _with_distinct_names(found)


def saved_evidence(runs: Sequence[Path]) -> list[Evidence]:
    """Return the scores that `reproduce` and `evaluate` left in run folders, and those of all other methods there.

    Raises:
        SettingError: There are none.
        StoreError: A file of them is damaged.
    """
    found = []
    for folder in runs:
        if held := load_all(folder):
            with open_snapshot(folder) as snapshot:
                found += [(folder, with_all_methods(snapshot, evidence)) for evidence in held]
    if not found:
        raise SettingError(
            f"{', '.join(map(str, runs))}: qdebias reproduce left no scores in there; use that, or give --dataset and "
            f"--root to compute them from the answers"
        )
    return _with_distinct_names(found)


def _with_distinct_names(found: Sequence[tuple[Path, Evidence]]) -> list[Evidence]:
    """Name folder, part and seed beside the model where model and dataset alone do not tell two of them apart."""
    keys = [(evidence.model, evidence.dataset) for _, evidence in found]
    return [
        evidence
        if keys.count((evidence.model, evidence.dataset)) == 1
        else replace(evidence, model=f"{evidence.model} ({folder.name}: {len(evidence.names)}, seed {evidence.seed})")
        for folder, evidence in found
    ]
