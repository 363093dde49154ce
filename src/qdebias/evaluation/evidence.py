"""What one model said about one dataset under several methods, and how well each of them agrees with people.

A score is a probability, and where a model is sure, rounding makes different scores equal or breaks the ties of equal
ones, which moves SRCC. So SRCC and KRCC rank the *log-odds* of the score,

    log sum_i w_i Q_i - log sum_i w_i (1 - Q_i)        with the weights w_i and qualities Q_i of eq. (9),

computed from the logits without ever rounding to 0 or 1. It has the order of the exact score, as it grows with it.
For one question with the values 1 and 0 it is the difference of the two logits (at T = 1): the order that a table
made from one prompt should have. The ties that remain are ties of the logits themselves. PLCC is of the score as it is.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from qdebias.equations import FloatArray
from qdebias.errors import SettingError, StoreError
from qdebias.evaluation.published import TITLES
from qdebias.evaluation.table import NOTHING, Cell, Number
from qdebias.inputs.datasets import CATALOGUE, Dataset
from qdebias.methods import presets
from qdebias.methods.plan import Failure, Method, Score
from qdebias.metrics.intervals import Resampling, pearson, resample, spearman
from qdebias.metrics.measures import LEAST, is_constant, refuse_own_scores
from qdebias.runs.lines import checksum
from qdebias.runs.manifest import is_preset, with_printed_fog
from qdebias.system.output import write_file, written

Readout: TypeAlias = Literal["exact", "literal"]
"""How scores are read from logits: "exact" as above, "literal" as scripts write it, exp / (exp + exp), rounded."""


class Reading(NamedTuple):
    """What is correlated: the score for PLCC, in [0, 1], and what SRCC and KRCC rank, which has its order."""

    score: float
    rank: float


def read(method: Method, score: Score, readout: Readout) -> Reading:
    """Return what of a score is correlated."""
    if readout == "exact":
        return Reading(score.value, score.value if score.log_odds is None else score.log_odds)
    literal = getattr(method, "literal", None)
    if literal is None:
        raise SettingError(f"the literal formula is not known for {type(method).__name__}; leave it out")
    value = float(literal(score))
    return Reading(value, value)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scores:
    """(N,) scores, (N,) what SRCC ranks (their log-odds), NaN where an image failed; and why it did, one line each."""

    value: FloatArray
    order: FloatArray
    errors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NotRun:
    """Why there are no scores under a method, and what to do about it, in one line."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evidence:
    """What `model` (as `qdebias.load_backend` took it) said about N images of a dataset, in the order of its labels.

    `names` are relative to `root`, `quality` are the human scores, higher is better. `contents` tells what the images
    show or where they are from, by "scene", "group" (of one reference photograph or prompt) and "subset", as far as the
    dataset tells them apart. Images of one of `groups` are resampled together, unless that is None.
    """

    model: str
    dataset: str
    title: str
    summary: str
    root: str
    names: tuple[str, ...]
    contents: Mapping[str, tuple[str, ...]]
    quality: FloatArray
    groups: npt.NDArray[np.str_] | None = None
    seed: int = 0
    results: Mapping[str, Scores | NotRun] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def errors(self) -> tuple[str, ...]:
        """Why images failed, under any method, each reason once."""
        scored = [scores for scores in self.results.values() if isinstance(scores, Scores)]
        return tuple(dict.fromkeys(error for scores in scored for error in scores.errors))

    def scores(self, method: str, what: str = "this") -> Scores:
        """Return the scores under a method, or raise SettingError: `what` needs them."""
        scores = self.results.get(method)
        if not isinstance(scores, Scores):
            raise SettingError(
                f"{what} needs scores under the method {method}: {scores.reason if scores else 'not asked'}"
            )
        return scores


def collect(method: Method, results: Iterable[Score | Failure]) -> Scores:
    """Return the scores of results that are in the order of the dataset."""
    errors, rows = [], []
    for result in results:
        if isinstance(result, Failure):
            errors.append(result.error)
        rows.append((np.nan, np.nan) if isinstance(result, Failure) else read(method, result, "exact"))
    value, order = np.array(rows, dtype=np.float64).reshape(-1, 2).T
    return Scores(value=value, order=order, errors=tuple(errors))


def first_items(dataset: Dataset, limit: int | None) -> Dataset:
    """Return the first images of a dataset, all of them where there is no limit."""
    if limit is not None and limit < 1:
        raise SettingError(f"limit must be 1 or more, got {limit}")
    return replace(dataset, items=dataset.items[:limit])


def evidence_of(
    whole: Dataset, results: Mapping[str, Scores | NotRun], *, model: str, seed: int, limit: int | None = None
) -> Evidence:
    """Return what a model said about the images, up to the limit, of a whole dataset."""
    dataset = first_items(whole, limit)
    cut = f"; only the first {limit:,} of them, as asked" if len(dataset) < len(whole) else ""
    groups = [item.group or item.path for item in dataset.items]
    columns = {kind: tuple(getattr(item, kind) for item in dataset.items) for kind in ("scene", "group", "subset")}
    entry = CATALOGUE.get(dataset.name)
    return Evidence(
        model=model,
        dataset=dataset.name,
        title=TITLES.get(dataset.name, entry.title if entry else dataset.name),
        summary=f"{whole.summary}{cut}",
        root=str(dataset.root.absolute()),
        names=tuple(item.path for item in dataset.items),
        contents={kind: column for kind, column in columns.items() if 1 < len(set(column)) < len(column)},
        quality=dataset.quality,
        groups=np.array(groups) if 1 < len(set(groups)) < len(groups) else None,
        seed=seed,
        results=results,
        notes=(f"Human scores of {dataset.name}: {dataset.label_variant}.", *dataset.notes),
    )


FOLDER = "tables"
FORMAT = 2
"""Files without one are older: what they call `paper` is `paper-eq7` now."""

_PLAIN = ("model", "dataset", "title", "summary", "root", "seed")


def save(evidence: Evidence, run: Path, *, part: str = "") -> Path:
    """Write the scores into a run folder, beside those of other methods about the same images; return the file."""
    path = run / FOLDER / f"{'-'.join(filter(None, (evidence.dataset, part, f'seed{evidence.seed}')))}.json"
    old = load(path) if path.exists() else None
    if old is not None and old.names == evidence.names and np.array_equal(old.quality, evidence.quality):
        notes = tuple(dict.fromkeys([*old.notes, *evidence.notes]))
        evidence = replace(evidence, results={**old.results, **evidence.results}, notes=notes)
    values: dict[str, Any] = {"format": FORMAT}
    values |= {name: getattr(evidence, name) for name in (*_PLAIN, "notes", "names", "contents")}
    values["quality"] = evidence.quality.tolist()
    values["groups"] = None if evidence.groups is None else evidence.groups.tolist()
    values["results"] = {}
    for name, result in evidence.results.items():
        if isinstance(result, NotRun):
            values["results"][name] = {"not_run": result.reason}
            continue
        columns = {"value": result.value.tolist(), "order": result.order.tolist()}
        listed = {kind: [one if np.isfinite(one) else None for one in column] for kind, column in columns.items()}
        values["results"][name] = {**listed, "errors": result.errors}
    with written(path, StoreError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, json.dumps(values | {"sum": _sum(values)}, allow_nan=False) + "\n")
    return path


def part_name(dataset: Dataset, limit: int | None) -> str:
    """Return what tells a part of a dataset from others, for the name of a file."""
    return "-".join(filter(None, (dataset.subset or "", f"first{limit}" if limit else "")))


def load(path: Path) -> Evidence:
    """Return the scores of a file of `save`."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values.pop("sum", None) != _sum(values):
            raise ValueError("it was changed since it was written")
        named = _named_now if values.get("format", 1) < FORMAT else str
        results: dict[str, Scores | NotRun] = {}
        for name, found in values["results"].items():
            if "not_run" in found:
                results[named(name)] = NotRun(reason=found["not_run"])
                continue
            value, order = (np.array(found[column], dtype=np.float64) for column in ("value", "order"))  # null: NaN
            results[named(name)] = Scores(value=value, order=order, errors=tuple(found["errors"]))
        return Evidence(
            **{name: values[name] for name in _PLAIN},
            names=tuple(values["names"]),
            contents={kind: tuple(column) for kind, column in values["contents"].items()},
            quality=np.array(values["quality"], dtype=np.float64),
            groups=None if values["groups"] is None else np.array(values["groups"], dtype=np.str_),
            results=results,
            notes=tuple(values["notes"]),
        )
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StoreError(f"{path}: does not hold the scores behind a table ({error}); delete it") from error


def load_all(run: Path) -> list[Evidence]:
    """Return everything that `save` wrote into a run folder."""
    return [load(path) for path in sorted((run / FOLDER).glob("*.json"))]


def _named_now(name: str) -> str:
    """Return what a method of an older file is called now; its fog was not rescaled, but for that of `released`."""
    printed = with_printed_fog(name)
    if not is_preset(name) or name.startswith("released"):
        return name
    try:
        presets.get(printed)
    except SettingError:  # it has no fog
        return name
    return printed


def _sum(values: Mapping[str, Any]) -> str:
    return checksum(json.dumps(values, sort_keys=True).encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """SRCC of `Scores.order` and PLCC of `Scores.value`, without a fit, of so many images; or a difference of such."""

    srcc: Number
    plcc: Number
    count: int


def agreement_cells(found: Agreement | NotRun | None) -> tuple[Cell, Cell]:
    """Return SRCC and PLCC as cells of a table, or why there are none; empty ones for None."""
    if found is None:
        return NOTHING, NOTHING
    if isinstance(found, NotRun):
        return (Cell("not run", (found.reason,)),) * 2
    return Cell(found.srcc), Cell(found.plcc)


def number_of(values: FloatArray, *, signed: bool = True) -> Number:
    """Return (1 + B,) a value and its resamples as a number with its 95 % interval, without one for B = 0."""
    if len(values) == 1:
        return Number(float(values[0]), signed=signed)
    interval = Resampling(count=len(values) - 1, seed=0, level=0.95).interval(values[1:])
    return Number(float(values[0]), interval.low, interval.high, signed)


class Agreements:
    """The agreement of each method of an evidence; what was computed once is kept.

    Every method is resampled in the same way, so the difference of two methods within each resample is a paired
    bootstrap. Resamples and their seed are those of `qdebias.correlate`; without resamples there are no intervals.
    """

    def __init__(self, evidence: Evidence, *, resamples: int = 1000) -> None:
        self.evidence = evidence
        self._resamples = resamples
        self._known: dict[tuple[str, bytes], FloatArray | NotRun] = {}

    def of(self, *recipes: str) -> Agreement | NotRun:
        """Return SRCC and PLCC of a method, or minus those of a second, on the images that have all of their scores."""
        chosen = np.ones(len(self.evidence.names), dtype=np.bool_)
        for recipe in recipes:
            scores = self.evidence.results.get(recipe, NotRun(reason=f"the method {recipe} was not asked in this run"))
            if isinstance(scores, NotRun):
                return scores
            chosen &= np.isfinite(scores.value)
        found = []
        for recipe in recipes:
            key = recipe, chosen.tobytes()
            if key not in self._known:
                self._known[key] = self._resample(recipe, chosen)
            one = self._known[key]
            if isinstance(one, NotRun):
                return one
            found.append(one)
        srcc, plcc = (number_of(row, signed=len(found) > 1) for row in found[0] - sum(found[1:]))
        return Agreement(srcc=srcc, plcc=plcc, count=int(chosen.sum()))

    def _resample(self, recipe: str, chosen: npt.NDArray[np.bool_]) -> FloatArray | NotRun:
        """Return (2, 1 + B): SRCC and PLCC of the chosen images, and of each resample of them."""
        scores, quality, groups = self.evidence.scores(recipe), self.evidence.quality[chosen], self.evidence.groups
        order, value = scores.order[chosen], scores.value[chosen]
        refuse_own_scores(value, quality, recipe)
        if len(quality) < LEAST:
            return NotRun(reason=f"{recipe}: {len(quality)} images with scores are too few for a correlation")
        if any(map(is_constant, (quality, order, value))):
            return NotRun(reason=f"{recipe}: all scores are equal, so no correlation is defined")
        statistics = {"srcc": spearman(order, quality), "plcc": pearson(value, quality)}
        found = [statistic(np.ones((1, len(quality)))) for statistic in statistics.values()]
        if self._resamples:
            kept = None if groups is None else groups[chosen]
            resampling = Resampling(count=self._resamples, seed=0, level=0.95, groups=kept)
            drawn = resample(statistics, resampling, len(quality)).values()
            found = [np.concatenate(pair) for pair in zip(found, drawn, strict=True)]
        return np.array(found)
