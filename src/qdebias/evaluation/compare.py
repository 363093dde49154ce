"""From a dataset and a model, or from run folders and files of scores, to a comparison."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np

from qdebias.errors import SettingError
from qdebias.evaluation.agreement import Agreements
from qdebias.evaluation.comparison import Comparison, Usage, check, compare, usage_of
from qdebias.evaluation.evidence import Evidence, NotRun, Scores, evidence_of, first_items
from qdebias.evaluation.method_scores import ModelRun, recall
from qdebias.inputs.datasets import Dataset
from qdebias.methods import presets
from qdebias.methods.outline import Cost, cost_of
from qdebias.methods.recipe import Recipe
from qdebias.runs.records import read_scores
from qdebias.runs.run import open_snapshot
from qdebias.runs.status import recipe_of


def compare_methods(
    dataset: Dataset,
    methods: Sequence[str],
    model_run: ModelRun,
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
        model_run: The model and its run folder.
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
    evidence, usage, asked = _ask(dataset, methods, model_run, model=model, limit=limit)
    agreements = Agreements(evidence, resamples=resamples)
    return compare(agreements, methods, against=against, usage=usage, asked=asked)


def compare_models(
    dataset: Dataset,
    chosen: Mapping[str, Sequence[str]],
    open_model_run: Callable[[str], AbstractContextManager[ModelRun]],
    *,
    limit: int | None = None,
    against: str | None = None,
    resamples: int = 1000,
) -> Comparison:
    """Compare models on a dataset, each under its methods; one model is loaded at a time.

    With one model this is `compare_methods`.

    Args:
        dataset: From `qdebias.load_dataset`.
        chosen: Names of methods by the name of the model, in the order in which they are to be listed. A row is called
            "METHOD (MODEL)".
        open_model_run: Loads a model and opens the run folder of its own.
        limit: As for `compare_methods`, whose errors it raises too.
        against: Name of a row; as for `compare`.
        resamples: As for `compare_methods`.
    """
    if len(chosen) == 1:
        ((model, methods),) = chosen.items()
        check(methods, against)
        with open_model_run(model) as model_run:
            name = model_run.backend.fingerprint.identity.get("model", model)
            return compare_methods(
                dataset, methods, model_run, model=name, limit=limit, against=against, resamples=resamples
            )
    rows = [f"{method} ({model})" for model, methods in chosen.items() for method in methods]
    check(rows, against)
    results: dict[str, Scores | NotRun] = {}
    usage: dict[str, Usage] = {}
    asked, seed = 0, 0
    for model, methods in chosen.items():
        with open_model_run(model) as model_run:
            one, usage_here, asked_here = _ask(dataset, methods, model_run, model=model, limit=limit)
            seed = model_run.seed
        results |= {f"{method} ({model})": one.results[method] for method in methods}
        usage |= {f"{method} ({model})": usage_here[method] for method in methods}
        asked += asked_here
    evidence = evidence_of(dataset, results, model=", ".join(chosen), seed=seed, limit=limit)
    return compare(Agreements(evidence, resamples=resamples), rows, against=against, usage=usage, asked=asked)


def _ask(
    dataset: Dataset, methods: Sequence[str], model_run: ModelRun, *, model: str, limit: int | None
) -> tuple[Evidence, dict[str, Usage], int]:
    """Return what one model says, what was spent on each method, and how many questions were asked."""
    seconds: dict[str, float] = {}
    model_run = replace(model_run, answer_seconds=seconds)
    recipes = spelled(methods)
    evidence = model_run.score_dataset(dataset, most_questions_first(recipes), model=model, limit=limit)
    usage = usage_of(model_run.run, recipes, first_items(dataset, limit).paths, seconds, seed=model_run.seed)
    return evidence, usage, len(seconds)


def spelled(methods: Sequence[str]) -> list[Recipe]:
    """Return methods under the names that they are given here."""
    return [replace(presets.get(name), name=name) for name in methods]


def most_questions_first(recipes: Sequence[Recipe]) -> list[Recipe]:
    """Return the methods that ask the most questions first: those that others' questions are a part of.

    A method that asks two questions about a pair of images shares all that the model computes about the pair; asked
    after a method that needs one of them, it would look at the pair again.
    """
    nothing = Cost(forwards=0, encodings=0)
    return sorted(recipes, key=lambda recipe: -(cost_of(recipe.method) or nothing).forwards)


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
        sources: Run folders, and files as `qdebias.runs.records.read_scores` takes them. Where there are several, a
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
    part = first_items(dataset, limit)
    results: dict[str, Scores | NotRun] = {}
    for source in sources:
        found: dict[str, Scores | NotRun] = {}
        if source.is_dir():
            with open_snapshot(source) as snapshot:
                entries = [entry for entry in snapshot.manifest.methods.values() if entry.seed == seed]
                used = dict.fromkeys(entry.name for entry in entries if recipe_of(entry) is not None)
                held = recall(snapshot, part, spelled(methods or list(used)), seed=seed).results
            found = {f"{name} ({source.name})" if len(sources) > 1 else name: held[name] for name in held}
        else:
            found[source.stem] = _file_scores(source, part)
        repeated = results.keys() & found.keys()
        if repeated:
            raise SettingError(f"two sources are called {sorted(repeated)[0]!r}; rename one of them")
        results |= found
    for name in lower:
        scores = results.get(name)
        if not isinstance(scores, Scores):
            raise SettingError(
                f"{name!r} is not a source whose scores could be reversed; there are {', '.join(results)}"
            )
        results[name] = replace(scores, value=-scores.value, order=-scores.order)
    where = ", ".join(source.name for source in sources)
    evidence = evidence_of(dataset, results, model=where, seed=seed, limit=limit)
    return compare(Agreements(evidence, resamples=resamples), list(results), against=against)


def _file_scores(path: Path, dataset: Dataset) -> Scores:
    """Return the scores that a file gives to the images of a dataset; images that it leaves out have none.

    An image is found by its path, absolute or as the labels name it, or else by its file name where no two images of
    the dataset share it.
    """
    known = (
        [str(path.absolute()) for path in dataset.paths],
        [item.path for item in dataset.items],
        [item.name for item in dataset.items],
        [Path(item.path).name for item in dataset.items],
    )
    counts = [Counter(names) for names in known]
    places = [
        {name: place for place, name in enumerate(names) if count[name] == 1}
        for names, count in zip(known, counts, strict=True)
    ]
    value = np.full(len(dataset), np.nan)
    errors = []
    rows: dict[int, str] = {}
    for one in read_scores(path):
        names = (str(Path(one.path).absolute()), one.path, one.path, Path(one.path).name)
        place = next((held[name] for held, name in zip(places, names, strict=True) if name in held), None)
        if place is None:
            continue
        if place in rows:
            raise SettingError(f"{path}: {rows[place]!r} and {one.path!r} are the same image of {dataset.name}")
        rows[place] = one.path
        if one.score is None:
            errors.append(one.error or "")
        else:
            value[place] = one.score
    if not rows:
        raise SettingError(
            f"{path}: names none of the {len(dataset):,} images of {dataset.name}, such as {dataset.items[0].path}"
        )
    return Scores(value=value, order=value, errors=tuple(errors))
