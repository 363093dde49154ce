"""Methods beside each other on the same images: agreement with people, which difference is chance, and the cost.

They are asked of a model, or come from run folders and files of scores.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from qdebias.errors import SettingError
from qdebias.evaluation.evidence import (
    Agreement,
    Agreements,
    Evidence,
    NotRun,
    Scores,
    agreement_cells,
    evidence_of,
    first_items,
)
from qdebias.evaluation.method_scores import ModelRun, recall
from qdebias.evaluation.table import Cell, Column, Table
from qdebias.inputs.datasets import Dataset
from qdebias.methods import presets
from qdebias.methods.outline import cost_of, outline_of
from qdebias.methods.recipe import Recipe
from qdebias.runs.derive import known_pixels
from qdebias.runs.records import read_scores
from qdebias.runs.run import open_snapshot
from qdebias.runs.status import recipe_of

BEST = "best"
"""In place of a method's name: the one with the highest SRCC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What was spent on a method; None where its questions are not known before the images are seen.

    `forwards` are its questions about one image, each a forward pass; `asked` those of this call that neither the run
    held, nor a method listed before it asks. `rate` is how many images a second the model answers all of them about,
    measured on the images of which all of them were asked in this call.
    """

    forwards: int | None = None
    asked: int | None = None
    rate: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A method, its agreement or why there is none, that minus the base's (None for the base itself), and its cost."""

    name: str
    agreement: Agreement | NotRun
    gain: Agreement | NotRun | None
    usage: Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Methods beside each other, in the order in which they were named, and how they differ from the one `against`.

    `asked` is how many questions the model was asked for it, None where there was no model.
    """

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
                f"{self.asked:,} questions were asked; the other answers were stored, or shared by another method. "
                f"Images/s: while the model answered, over the images of which all of a method's questions were asked."
            )
        rows = []
        for one in self.methods:
            texts = [str(one.agreement.count) if isinstance(one.agreement, Agreement) else None]
            if self.asked is not None:
                texts += [None if count is None else str(count) for count in (one.usage.forwards, one.usage.asked)]
                texts.append(None if one.usage.rate is None else f"{one.usage.rate:.3g}")
            cells = *agreement_cells(one.agreement), *agreement_cells(one.gain), *map(Cell, texts)
            rows.append((Cell(one.name), *cells))
        return Table(
            title=f"{self.evidence.title}, {self.evidence.model}",
            columns=tuple(map(Column, heads)),
            rows=tuple(rows),
            notes=(*notes, *self.evidence.notes),
        )

    def values(self) -> dict[str, Any]:
        """Return the comparison as plain values, without paths and times; what is not defined is None."""
        methods = []
        for one in self.methods:
            values: dict[str, Any] = {"method": one.name}
            for suffix, found in (("", one.agreement), ("_difference", one.gain)):
                for measure in ("srcc", "plcc"):
                    number = getattr(found, measure, None)
                    value, low, high = (None, None, None) if number is None else number.ends
                    values[f"{measure}{suffix}"] = value
                    values[f"{measure}{suffix}_interval"] = None if low is None else [low, high]
            values["count"] = getattr(one.agreement, "count", 0)
            values["reason"] = getattr(one.agreement, "reason", None)
            values |= {"forwards": one.usage.forwards, "asked": one.usage.asked, "images_per_second": one.usage.rate}
            methods.append(values)
        about = {name: getattr(self.evidence, name) for name in ("dataset", "summary", "model", "seed")}
        return about | {"against": self.against, "asked": self.asked, "methods": methods}

    def json(self) -> str:
        """Return `values` as one line of JSON."""
        return json.dumps(self.values(), ensure_ascii=False, allow_nan=False)


def compare(
    evidence: Evidence,
    methods: Sequence[str],
    *,
    resamples: int,
    against: str | None = None,
    usage: Mapping[str, Usage] | None = None,
    asked: int | None = None,
) -> Comparison:
    """Compare methods of an evidence; differences are to `against`, which may be `BEST`, or else to the first."""
    check(methods, against, least=1)
    agreements, base = Agreements(evidence, resamples=resamples), against or methods[0]
    if base == BEST:
        found = {name: one.srcc.value for name in methods if isinstance(one := agreements.of(name), Agreement)}
        base = max(found, key=lambda name: found[name], default=methods[0])
    compared = [
        Compared(
            name=name,
            agreement=agreements.of(name),
            gain=None if name == base else agreements.of(name, base),
            usage=(usage or {}).get(name, Usage()),
        )
        for name in methods
    ]
    return Comparison(evidence=evidence, against=base, methods=tuple(compared), asked=asked)


def check(methods: Sequence[str], against: str | None, *, least: int = 2) -> None:
    """Refuse what cannot be compared, before anything is asked; see `compare`."""
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
    limit: int | None = None,
    against: str | None = None,
    resamples: int = 1000,
) -> Comparison:
    """Compare models, each under its methods, on the first images of a dataset; no resamples mean no intervals.

    One model is loaded at a time, and asked only what its run folder does not hold yet. Where there are several, a row
    is called "METHOD (MODEL)".
    """
    several, pairs = len(chosen) > 1, [(model, method) for model, methods in chosen.items() for method in methods]
    rows = {pair: f"{pair[1]} ({pair[0]})" if several else pair[1] for pair in pairs}
    check([rows[pair] for pair in pairs], against)
    results: dict[str, Scores | NotRun] = {}
    usage: dict[str, Usage] = {}
    asked, name = 0, ", ".join(chosen)
    for model, methods in chosen.items():
        seconds: dict[str, float] = {}
        with open_model_run(model) as opened:
            model_run = replace(opened, answer_seconds=seconds)
            found = model_run.score_dataset(dataset, most_questions_first(methods), model=name, limit=limit)
            spent = _usage(model_run, spelled(methods), first_items(dataset, limit).paths, seconds)
            own_name = model_run.backend.fingerprint.identity.get("model", model)
        results |= {rows[model, method]: found.results[method] for method in methods}
        usage |= {rows[model, method]: spent[method] for method in methods}
        asked += len(seconds)
    evidence = replace(found, model=name if several else own_name, results=results)
    return compare(evidence, list(results), against=against, usage=usage, asked=asked, resamples=resamples)


def _usage(
    model_run: ModelRun, recipes: Sequence[Recipe], paths: Sequence[Path], seconds: Mapping[str, float]
) -> dict[str, Usage]:
    """Return what was spent on each method, given the seconds that each question took, by its key."""
    run, left, usage = model_run.run, set(seconds), {}
    for recipe in recipes:
        outline, cost = outline_of(recipe.method), cost_of(recipe.method)
        if outline is None or cost is None:
            usage[recipe.name] = Usage()
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
        usage[recipe.name] = Usage(forwards=cost.forwards, asked=len(own), rate=rate)
    return usage


def spelled(methods: Sequence[str]) -> list[Recipe]:
    """Return methods under the names that they are given here."""
    return [replace(presets.get(name), name=name) for name in methods]


def most_questions_first(methods: Sequence[str]) -> list[Recipe]:
    """Return the methods that ask the most questions first: those that others' questions are a part of.

    A method that asks two questions about a pair of images shares all that the model computes about the pair; asked
    after a method that needs one of them, it would look at the pair again.
    """

    def forwards(recipe: Recipe) -> int:
        cost = cost_of(recipe.method)
        return 0 if cost is None else cost.forwards

    return sorted(spelled(methods), key=forwards, reverse=True)


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

    A source is a run folder, or a file as `qdebias.runs.records.read_scores` takes it. Where there are several, a
    method of a run is named with its folder; a file is named by its name without the suffix, and where that is in
    `lower`, its scores are turned over. Without `methods` all that the runs used with this seed are compared.
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
        if repeated := results.keys() & found.keys():
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
    return compare(evidence, list(results), against=against, resamples=resamples)


def _file_scores(path: Path, dataset: Dataset) -> Scores:
    """Return the scores that a file gives to the images of a dataset; images that it leaves out have none.

    An image is found by its path, absolute or as the labels name it, or else by its file name where no two images of
    the dataset share it.
    """
    places: list[dict[str, int]] = []
    for known in (
        [str(path.absolute()) for path in dataset.paths],
        [item.path for item in dataset.items],
        [item.name for item in dataset.items],
        [Path(item.path).name for item in dataset.items],
    ):
        counts = Counter(known)
        places.append({name: place for place, name in enumerate(known) if counts[name] == 1})
    value, errors, rows = np.full(len(dataset), np.nan), [], dict[int, str]()
    for one in read_scores(path):
        names = (str(Path(one.path).absolute()), one.path, one.path, Path(one.path).name)
        place = next((held[name] for held, name in zip(places, names, strict=True) if name in held), None)
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
