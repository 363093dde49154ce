"""Methods compared on the same images: agreement with human scores, paired differences, and cost."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from qdebias.errors import SettingError
from qdebias.evaluation.evidence import Agreements, Evidence, Scores, evidence_of
from qdebias.evaluation.method_scores import ModelRun, recall, stored_methods
from qdebias.evaluation.table import Agreement, Cell, Column, Number, Table
from qdebias.inputs.datasets import Dataset
from qdebias.methods import presets
from qdebias.methods.outline import cost_of, outline_of
from qdebias.methods.recipe import Recipe
from qdebias.runs.derive import known_pixels
from qdebias.runs.records import read_scores
from qdebias.runs.run import open_snapshot

BEST = "best"
"""Instead of a method's name: the one with the highest SRCC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A method, its agreement with human scores, that minus the base method's, and its cost, as far as it is known.

    `forwards` is the number of questions about one image, each a forward pass; `asked` counts the questions that this
    call asked for it, beyond those of methods listed earlier. `rate` is how many images per second the model answers
    all of them about, measured on the images for which this call asked them all.
    """

    name: str
    agreement: Agreement
    gain: Agreement
    forwards: int | None = None
    asked: int | None = None
    rate: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Methods in the given order, compared with the one `against`; `asked` questions, None without a model."""

    evidence: Evidence
    against: str
    methods: tuple[Compared, ...]
    asked: int | None

    def table(self) -> Table:
        """Return the comparison as a table."""
        heads = ["Method", "SRCC", "PLCC", "ΔSRCC", "ΔPLCC", "Images"]
        notes = [
            f"ΔSRCC and ΔPLCC: minus {self.against} on the same images, with paired 95 % bootstrap intervals.",
            self.evidence.summary,
        ]
        if self.asked is not None:
            heads += ["Forward passes", "Questions asked", "Images/s"]
            notes.append(
                f"{self.asked:,} questions were asked; the other answers were stored, or shared with another method. "
                f"Images/s: time of the model alone, over the images for which all of a method's questions were asked."
            )
        rows = []
        for one in self.methods:
            texts = [str(one.agreement.count) if one.agreement.srcc else None]
            if self.asked is not None:
                texts += [None if count is None else str(count) for count in (one.forwards, one.asked)]
                texts.append(None if one.rate is None else f"{one.rate:.3g}")
            rows.append((Cell(one.name), *one.agreement.cells, *one.gain.cells, *map(Cell, texts)))
        return Table(
            title=f"{self.evidence.title}, {self.evidence.model}",
            columns=tuple(map(Column, heads)),
            rows=tuple(rows),
            notes=(*notes, *self.evidence.notes),
        )

    def values(self) -> dict[str, Any]:
        """Return the comparison as plain values, without paths and times; None is undefined."""
        methods = []
        for one in self.methods:
            values: dict[str, Any] = {"method": one.name}
            for suffix, agreement in (("", one.agreement), ("_difference", one.gain)):
                for measure in ("srcc", "plcc"):
                    number: Number | None = getattr(agreement, measure)
                    value, low, high = number.ends if number else (None, None, None)
                    values[f"{measure}{suffix}"] = value
                    values[f"{measure}{suffix}_interval"] = None if low is None else [low, high]
            values["count"], values["reason"] = one.agreement.count, next(iter(one.agreement.notes), None)
            values |= {"forwards": one.forwards, "asked": one.asked, "images_per_second": one.rate}
            methods.append(values)
        about = {name: getattr(self.evidence, name) for name in ("dataset", "summary", "model", "seed")}
        return about | {"against": self.against, "asked": self.asked, "methods": methods}

    def json(self) -> str:
        """Return `values` as one line of JSON."""
        return json.dumps(self.values(), ensure_ascii=False, allow_nan=False)


def compare(evidence: Evidence, methods: Sequence[str], *, resamples: int, against: str | None = None) -> Comparison:
    """Compare methods of an evidence; the differences are to `against` (which may be `BEST`), or else to the first."""
    check(methods, against, least=1)
    agreements = Agreements(evidence, resamples=resamples)
    found = {name: agreements.of(name) for name in methods}
    base = against or methods[0]
    if base == BEST:
        base = max(found, key=lambda name: number.value if (number := found[name].srcc) else -np.inf)
    gains = {name: agreements.of(name, base) for name in methods if name != base} | {base: Agreement()}
    compared = tuple(Compared(name=name, agreement=found[name], gain=gains[name]) for name in methods)
    return Comparison(evidence=evidence, against=base, methods=compared, asked=None)


def check(methods: Sequence[str], against: str | None, *, least: int = 2) -> None:
    """Refuse a comparison that is not possible, before the model is called; see `compare`."""
    if len(methods) < least or len(set(methods)) < len(methods):
        raise SettingError(f"a comparison needs two or more different methods, got {', '.join(methods) or 'none'}")
    if against not in (None, BEST, *methods):
        raise SettingError(
            f"the differences cannot be to {against!r}, which is not compared; "
            f"choose {BEST} or one of {', '.join(methods)}"
        )


def compare_models(
    dataset: Dataset,
    chosen: Mapping[str, Sequence[str]],
    open_model_run: Callable[[str], AbstractContextManager[ModelRun]],
    *,
    against: str | None = None,
    resamples: int = 1000,
) -> Comparison:
    """Compare models, each under its methods, on a dataset; without resamples there are no intervals.

    One model is loaded at a time, and asked only what its run folder does not contain yet. If there are several models,
    a row is named "METHOD (MODEL)".
    """
    several, pairs = len(chosen) > 1, [(model, method) for model, methods in chosen.items() for method in methods]
    rows = {pair: f"{pair[1]} ({pair[0]})" if several else pair[1] for pair in pairs}
    check([rows[pair] for pair in pairs], against)
    results: dict[str, Scores] = {}
    costs: dict[str, dict[str, Any]] = {}
    asked, name = 0, ", ".join(chosen)
    for model, methods in chosen.items():
        seconds: dict[str, float] = {}
        with open_model_run(model) as opened:
            model_run = replace(opened, answer_seconds=seconds)
            evidence = model_run.score_dataset(dataset, most_questions_first(methods), model=name)
            spent = _costs(model_run, spelled(methods), dataset.paths, seconds)
            own_name = model_run.backend.fingerprint.identity.get("model", model)
        results |= {rows[model, method]: evidence.results[method] for method in methods}
        costs |= {rows[model, method]: spent[method] for method in methods}
        asked += len(seconds)
    evidence = replace(evidence, model=name if several else own_name, results=results)
    made = compare(evidence, list(results), against=against, resamples=resamples)
    return replace(made, asked=asked, methods=tuple(replace(one, **costs[one.name]) for one in made.methods))


def _costs(
    model_run: ModelRun, recipes: Sequence[Recipe], paths: Sequence[Path], seconds: Mapping[str, float]
) -> dict[str, dict[str, Any]]:
    """Return the cost of each method, see `Compared`, given the seconds that each question took, by its key."""
    run, left, costs = model_run.run, set(seconds), dict[str, dict[str, Any]]()
    for recipe in recipes:
        outline, cost = outline_of(recipe.method), cost_of(recipe.method)
        costs[recipe.name] = {}
        if outline is None or cost is None:  # its questions depend on the images
            continue
        images: list[list[str]] = []  # the keys of the questions about each
        for path in paths if seconds else ():
            if pixels := known_pixels(run, str(path.absolute()), seed=model_run.seed):
                rows = outline.keys(run.identity, pixels.image, pixels.conditions) or ()
                images.append([key for row in rows for key in row])
        own = left.intersection(key for keys in images for key in keys)
        left -= own
        timed = [sum(seconds[key] for key in keys) for keys in images if keys and all(key in seconds for key in keys)]
        rate = len(timed) / sum(timed) if sum(timed) > 0 else None
        costs[recipe.name] = {"forwards": cost.forwards, "asked": len(own), "rate": rate}
    return costs


def spelled(methods: Sequence[str]) -> list[Recipe]:
    """Return methods under the names that are used here."""
    return [replace(presets.get(name), name=name) for name in methods]


def most_questions_first(methods: Sequence[str]) -> list[Recipe]:
    """Return the methods with the most questions first, so that a pair of images is encoded once for all of them."""
    costs = [(cost.forwards if (cost := cost_of(recipe.method)) else 0, recipe) for recipe in spelled(methods)]
    return [recipe for _, recipe in sorted(costs, key=lambda pair: pair[0], reverse=True)]


def compare_stored(
    sources: Sequence[Path],
    dataset: Dataset,
    methods: Sequence[str] = (),
    *,
    seed: int = 0,
    against: str | None = None,
    lower: Sequence[str] = (),
    resamples: int = 1000,
) -> Comparison:
    """Compare stored results without a model: answers in run folders, and files of scores.

    A source is a run folder, or a file that `qdebias.runs.records.read_scores` reads. If there are several sources, the
    name of a method includes its run folder; a file is named by its name without the suffix, and the scores of those in
    `lower` are negated. Without `methods`, all that the runs used with this seed are compared.
    """
    results: dict[str, Scores] = {}
    for source in sources:
        found: dict[str, Scores] = {}
        if source.is_dir():
            with open_snapshot(source) as snapshot:
                recipes = spelled(methods) if methods else stored_methods(snapshot, seed)
                held = recall(snapshot, dataset, recipes, seed=seed).results
            found = {f"{name} ({source.name})" if len(sources) > 1 else name: held[name] for name in held}
        else:
            found[source.stem] = _file_scores(source, dataset)
        if repeated := results.keys() & found.keys():
            raise SettingError(f"two sources are called {sorted(repeated)[0]!r}; rename one of them")
        results |= found
    for name in lower:
        scores = results.get(name)
        if scores is None or scores.not_run:
            raise SettingError(f"{name!r} is not a source with scores to negate; choose one of {', '.join(results)}")
        results[name] = replace(scores, value=-scores.value, order=-scores.order)
    evidence = evidence_of(dataset, results, model=", ".join(source.name for source in sources), seed=seed)
    return compare(evidence, list(results), against=against, resamples=resamples)


def _file_scores(path: Path, dataset: Dataset) -> Scores:
    """Return the scores that a file gives to the images of a dataset, NaN for images that it does not list.

    An image is found by its path, absolute or as in the labels, or else by its file name if that is unique.
    """
    names, paths = [item.name for item in dataset.items], [item.path for item in dataset.items]
    exact = _places(names) | _places(paths) | _places([str(path.absolute()) for path in dataset.paths])
    short = _places([Path(path).name for path in paths])
    value, errors, rows = np.full(len(dataset), np.nan), [], dict[int, str]()
    for one in read_scores(path):
        absolute, name = str(Path(one.path).absolute()), Path(one.path).name
        place = exact.get(absolute, exact.get(one.path, short.get(name)))
        if place is None:
            continue
        if place in rows:
            raise SettingError(f"{path}: {rows[place]!r} and {one.path!r} are the same image of {dataset.name}")
        rows[place] = one.path
        value[place] = np.nan if one.score is None else one.score
        errors += [one.error or ""] if one.score is None else []
    if not rows:
        raise SettingError(
            f"{path}: names none of the {len(dataset):,} images of {dataset.name}, such as {dataset.items[0].path}"
        )
    return Scores(value=value, order=value, errors=tuple(errors))


def _places(names: Sequence[str]) -> dict[str, int]:
    """Return the index of each name that occurs once."""
    counts = Counter(names)
    return {name: place for place, name in enumerate(names) if counts[name] == 1}
