"""From a dataset and a model, or from run folders and files of scores, to a comparison."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from qdebias.errors import SettingError
from qdebias.evaluation.compare.given import read_given
from qdebias.evaluation.compare.spent import Spent, spent_on
from qdebias.evaluation.compare.table import Comparison, check, compare
from qdebias.evaluation.tables import Agreements, Asker, Evidence, NotRun, Scores, recall
from qdebias.evaluation.tables.evidence import evidence_of, first
from qdebias.inputs.datasets import Dataset
from qdebias.methods import presets
from qdebias.methods.cost import Cost, cost_of
from qdebias.runs.retry import recipe_of
from qdebias.runs.snapshot import Snapshot, open_snapshot


def compare_asked(
    dataset: Dataset,
    methods: Sequence[str],
    asker: Asker,
    *,
    model: str,
    limit: int | None = None,
    against: str | None = None,
    resamples: int = 1000,
) -> Comparison:
    """Compare methods on a dataset, asking the model only what its run folder does not hold yet.

    Args:
        dataset: From `qdebias.load_dataset`.
        methods: Names of methods, in the order in which they are to be listed.
        asker: The model and its run folder.
        model: What the model is called.
        limit: Take only this many images, from the start.
        against: See `compare`.
        resamples: How many bootstrap resamples the intervals have; 0 for no intervals.

    Raises:
        SettingError: There is no such method; or see `compare`.
        StoreError: The run folder cannot be written.
        BackendError: The model cannot answer.
    """
    check(methods, against)
    evidence, spent, asked = _ask(dataset, methods, asker, model=model, limit=limit)
    agreements = Agreements(evidence, resamples=resamples)
    return compare(agreements, methods, against=against, spent=spent, asked=asked)


def compare_models(
    dataset: Dataset,
    chosen: Mapping[str, Sequence[str]],
    open_asker: Callable[[str], AbstractContextManager[Asker]],
    *,
    limit: int | None = None,
    against: str | None = None,
    resamples: int = 1000,
) -> Comparison:
    """Compare models on a dataset, each under its methods; one model is loaded at a time.

    With one model this is `compare_asked`.

    Args:
        dataset: From `qdebias.load_dataset`.
        chosen: Names of methods by the name of the model, in the order in which they are to be listed. A row is called
            "METHOD (MODEL)".
        open_asker: Loads a model and opens the run folder of its own.
        limit: As for `compare_asked`.
        against: Name of a row; as for `compare`.
        resamples: As for `compare_asked`.

    Raises:
        SettingError: As for `compare_asked`.
        StoreError: As for `compare_asked`.
        BackendError: As for `compare_asked`.
    """
    if len(chosen) == 1:
        ((model, methods),) = chosen.items()
        check(methods, against)
        with open_asker(model) as asker:
            name = asker.backend.fingerprint.identity.get("model", model)
            return compare_asked(dataset, methods, asker, model=name, limit=limit, against=against, resamples=resamples)
    rows = [f"{method} ({model})" for model, methods in chosen.items() for method in methods]
    check(rows, against)
    results: dict[str, Scores | NotRun] = {}
    spent: dict[str, Spent] = {}
    asked, seed = 0, 0
    for model, methods in chosen.items():
        with open_asker(model) as asker:
            one, spent_here, asked_here = _ask(dataset, methods, asker, model=model, limit=limit)
            seed = asker.seed
        results |= {f"{method} ({model})": one.results[method] for method in methods}
        spent |= {f"{method} ({model})": spent_here[method] for method in methods}
        asked += asked_here
    evidence = evidence_of(dataset, results, model=", ".join(chosen), seed=seed, limit=limit)
    return compare(Agreements(evidence, resamples=resamples), rows, against=against, spent=spent, asked=asked)


def _ask(
    dataset: Dataset, methods: Sequence[str], asker: Asker, *, model: str, limit: int | None
) -> tuple[Evidence, dict[str, Spent], int]:
    """Return what one model says, what was spent on each method, and how many questions were asked."""
    asked: dict[str, float] = {}
    asker = replace(asker, asked=asked)
    evidence = asker.gather(dataset, in_asking_order(methods), model=model, limit=limit)
    spent = spent_on(asker.run, methods, first(dataset, limit).paths, asked, seed=asker.seed)
    return evidence, spent, len(asked)


def in_asking_order(methods: Sequence[str]) -> list[str]:
    """Return the methods that ask the most questions first: those that others' questions are a part of.

    A method that asks two questions about a pair of images shares all that the model computes about the pair; asked
    after a method that needs one of them, it would look at the pair again.
    """
    costs = {name: cost_of(presets.get(name).method) for name in methods}
    return sorted(methods, key=lambda name: -(costs[name] or Cost(forwards=0, encodings=0)).forwards)


def compare_stored(
    sources: Sequence[Path],
    dataset: Dataset,
    methods: Sequence[str] = (),
    *,
    seed: int = 0,
    limit: int | None = None,
    against: str | None = None,
    lower: Sequence[str] = (),
    resamples: int = 1000,
) -> Comparison:
    """Compare what is there already, without a model: answers in run folders, and files of scores.

    Args:
        sources: Run folders, and files as `qdebias.runs.scores.read_scores` takes them. Where there are several, a
            method of a run is named with its folder; a file is named by its name without the suffix.
        dataset: The images, and what people said about them.
        methods: Which methods of the run folders; none: all that were used there with this seed.
        seed: Seed of the degradations.
        limit: Take only this many images, from the start.
        against: See `compare`.
        lower: Names of files in which lower scores are better: they are turned over.
        resamples: How many bootstrap resamples the intervals have; 0 for no intervals.

    Raises:
        SettingError: A source cannot be read, or two of them have one name; or see `compare`.
        StoreError: A run folder is damaged.
    """
    part = first(dataset, limit)
    results: dict[str, Scores | NotRun] = {}
    for source in sources:
        found = _of_run(source, part, methods, seed) if source.is_dir() else {source.stem: read_given(source, part)}
        if source.is_dir() and len(sources) > 1:
            found = {f"{name} ({source.name})": scores for name, scores in found.items()}
        repeated = results.keys() & found.keys()
        if repeated:
            raise SettingError(f"two sources are called {sorted(repeated)[0]!r}; rename one of them")
        results |= found
    for name in lower:
        scores = results.get(name)
        if not isinstance(scores, Scores):
            raise SettingError(
                f"{name!r} is no source whose scores could be turned over; there are {', '.join(results)}"
            )
        results[name] = replace(scores, value=-scores.value, order=-scores.order)
    where = ", ".join(source.name for source in sources)
    evidence = evidence_of(dataset, results, model=where, seed=seed, limit=limit)
    return compare(Agreements(evidence, resamples=resamples), list(results), against=against)


def _of_run(folder: Path, dataset: Dataset, methods: Sequence[str], seed: int) -> dict[str, Scores | NotRun]:
    with open_snapshot(folder) as snapshot:
        chosen = list(methods) or _used(snapshot, seed)
        return dict(recall(snapshot, dataset, chosen, seed=seed).results)


def _used(snapshot: Snapshot, seed: int) -> list[str]:
    """Return the methods that were used in a run, as far as their names bring them back."""
    entries = [entry for entry in snapshot.manifest.methods.values() if entry.seed == seed]
    return list(dict.fromkeys(entry.name for entry in entries if recipe_of(entry) is not None))
