"""The scores of one dataset under several methods, and how well each method agrees with the human scores.

PLCC uses the scores. SRCC and KRCC rank their log-odds, log sum_i w_i Q_i - log sum_i w_i (1 - Q_i) with the weights
w_i and qualities Q_i of eq. (9), computed from the logits: they have the order of the exact scores, without the ties
that rounding makes or breaks where a model is certain. For one question with the values 1 and 0 they are the difference
of the two logits (at T = 1).
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from qdebias.equations import FloatArray
from qdebias.errors import SettingError, StoreError
from qdebias.evaluation.published import TITLES
from qdebias.evaluation.table import Agreement, Number
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


def read(method: Method, score: Score, readout: Readout) -> tuple[float, float]:
    """Return the score, in [0, 1], and what SRCC and KRCC rank."""
    if readout == "exact":
        return score.value, score.value if score.log_odds is None else score.log_odds
    literal = getattr(method, "literal", None)
    if literal is None:
        raise SettingError(f"the literal formula is not known for {type(method).__name__}; leave it out")
    value = float(literal(score))
    return value, value


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scores:
    """(N,) scores and (N,) what SRCC ranks, NaN for images that failed, with one line for each failure.

    Both are empty if the method was not run; `not_run` is the reason, and what to do about it.
    """

    value: FloatArray = field(default_factory=lambda: np.zeros(0))
    order: FloatArray = field(default_factory=lambda: np.zeros(0))
    errors: tuple[str, ...] = ()
    not_run: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evidence:
    """The scores of N images of a dataset by `model` (a name for `qdebias.load_backend`), in the order of the labels.

    `names` are relative to `root`; `quality` are the human scores, higher is better. `contents` is the "scene",
    "group" (reference photograph or prompt) and "subset" of each image, where the labels distinguish several. Images of
    one of the `groups` are resampled together, unless that is None. `results` has the scores under each method.
    """

    model: str
    dataset: str
    title: str
    summary: str
    root: str
    seed: int = 0
    notes: tuple[str, ...] = ()
    names: tuple[str, ...]
    contents: Mapping[str, tuple[str, ...]]
    quality: FloatArray
    groups: npt.NDArray[np.str_] | None = None
    results: Mapping[str, Scores] = field(default_factory=dict)

    @property
    def errors(self) -> tuple[str, ...]:
        """Why images failed, under any method, each reason once."""
        return tuple(dict.fromkeys(error for scores in self.results.values() for error in scores.errors))

    def scores(self, method: str, purpose: str = "this") -> Scores:
        """Return the scores under a method, or raise a SettingError that `purpose` needs them."""
        scores = self.results.get(method, Scores(not_run="not asked"))
        if scores.not_run:
            raise SettingError(f"{purpose} needs scores under the method {method}: {scores.not_run}")
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


def evidence_of(dataset: Dataset, results: Mapping[str, Scores], *, model: str, seed: int) -> Evidence:
    """Return the scores of a dataset under several methods as evidence."""
    groups = [item.group or item.path for item in dataset.items]
    columns = {kind: tuple(getattr(item, kind) for item in dataset.items) for kind in ("scene", "group", "subset")}
    entry = CATALOGUE.get(dataset.name)
    return Evidence(
        model=model,
        dataset=dataset.name,
        title=TITLES.get(dataset.name, entry.title if entry else dataset.name),
        summary=dataset.summary,
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
"""Files without a format are older; the method that they call `paper` is now `paper-eq7`."""


def save(evidence: Evidence, run: Path, *, part: str = "") -> Path:
    """Write the scores of a `Dataset.part` into a run folder, with those of other methods on the same images."""
    path = run / FOLDER / f"{'-'.join(filter(None, (evidence.dataset, part, f'seed{evidence.seed}')))}.json"
    old = load(path) if path.exists() else None
    if old is not None and old.names == evidence.names and np.array_equal(old.quality, evidence.quality):
        notes = tuple(dict.fromkeys([*old.notes, *evidence.notes]))
        evidence = replace(evidence, results={**old.results, **evidence.results}, notes=notes)
    values = {"format": FORMAT} | {one.name: getattr(evidence, one.name) for one in fields(evidence)}
    text = json.dumps(values | {"sum": _sum(values)}, default=_plain, allow_nan=False)
    with written(path, StoreError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, text + "\n")
    return path


def _plain(value: Any) -> object:  # noqa: ANN401
    """Return an array or scores as JSON has them: null for what is not finite."""
    if isinstance(value, Scores):
        names = ("value", "order", "errors")
        return {"not_run": value.not_run} if value.not_run else {name: getattr(value, name) for name in names}
    return [None if isinstance(one, float) and not math.isfinite(one) else one for one in value.tolist()]


def _sum(values: Mapping[str, Any]) -> str:
    return checksum(json.dumps(values, sort_keys=True, default=_plain).encode())


def load(path: Path) -> Evidence:
    """Return the scores in a file that `save` wrote."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values.pop("sum", None) != _sum(values):
            raise ValueError("it was changed since it was written")
        named = _present_name if values.pop("format", 1) < FORMAT else str
        results = {}
        for name, stored in values.pop("results").items():
            if "not_run" not in stored:  # null becomes NaN
                columns = {column: np.array(stored[column], dtype=np.float64) for column in ("value", "order")}
                stored.update(columns, errors=tuple(stored["errors"]))
            results[named(name)] = Scores(**stored)
        groups = values.pop("groups")
        return Evidence(
            names=tuple(values.pop("names")),
            notes=tuple(values.pop("notes")),
            contents={kind: tuple(column) for kind, column in values.pop("contents").items()},
            quality=np.array(values.pop("quality"), dtype=np.float64),
            groups=None if groups is None else np.array(groups, dtype=np.str_),
            results=results,
            **values,
        )
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StoreError(f"{path}: does not hold the scores behind a table ({error}); delete it") from error


def load_all(run: Path) -> list[Evidence]:
    """Return everything that `save` wrote into a run folder."""
    return [load(path) for path in sorted((run / FOLDER).glob("*.json"))]


def _present_name(name: str) -> str:
    """Return the present name of a method in an older file: only the fog of `released` was rescaled."""
    printed = with_printed_fog(name)
    if not is_preset(name) or name.startswith("released"):
        return name
    try:
        presets.get(printed)
    except SettingError:  # it has no fog
        return name
    return printed


def number_of(values: FloatArray, *, signed: bool = True) -> Number:
    """Return a value and its B resamples, (1 + B,), as a number with a 95 % interval; for B = 0 without one."""
    if len(values) == 1:
        return Number(float(values[0]), signed=signed)
    interval = Resampling(count=len(values) - 1, seed=0, level=0.95).interval(values[1:])
    return Number(float(values[0]), interval.low, interval.high, signed)


class Agreements:
    """The agreement of each method of an evidence with the human scores, each computed once.

    All methods use the resamples of `qdebias.correlate`, so differences within each resample are a paired bootstrap.
    """

    def __init__(self, evidence: Evidence, *, resamples: int = 1000) -> None:
        self.evidence = evidence
        self._resamples = resamples
        self._known: dict[tuple[str, bytes], FloatArray | str] = {}

    def of(self, *methods: str) -> Agreement:
        """Return SRCC and PLCC of a method, or minus those of a second one, on the images that all of them scored."""
        chosen = np.ones(len(self.evidence.names), dtype=np.bool_)
        for method in methods:
            missing = Scores(not_run=f"the method {method} was not asked in this run")
            scores = self.evidence.results.get(method, missing)
            if scores.not_run:
                return Agreement(notes=(scores.not_run,))
            chosen &= np.isfinite(scores.value)
        rows = []
        for method in methods:
            key = method, chosen.tobytes()
            if key not in self._known:
                self._known[key] = self._resample(method, chosen)
            row = self._known[key]
            if isinstance(row, str):
                return Agreement(notes=(row,))
            rows.append(row)
        srcc, plcc = (number_of(row, signed=len(rows) > 1) for row in rows[0] - sum(rows[1:]))
        return Agreement(srcc=srcc, plcc=plcc, count=int(chosen.sum()))

    def _resample(self, method: str, chosen: npt.NDArray[np.bool_]) -> FloatArray | str:
        """Return (2, 1 + B), SRCC and PLCC of the chosen images and of each resample of them, or why there are none."""
        scores, quality, groups = self.evidence.scores(method), self.evidence.quality[chosen], self.evidence.groups
        order, value = scores.order[chosen], scores.value[chosen]
        refuse_own_scores(value, quality, method)
        if len(quality) < LEAST:
            return f"{method}: {len(quality)} images with scores are too few for a correlation"
        if any(map(is_constant, (quality, order, value))):
            return f"{method}: all scores are equal, so no correlation is defined"
        statistics = {"srcc": spearman(order, quality), "plcc": pearson(value, quality)}
        rows = [statistic(np.ones((1, len(quality)))) for statistic in statistics.values()]
        if self._resamples:
            kept = None if groups is None else groups[chosen]
            resampling = Resampling(count=self._resamples, seed=0, level=0.95, groups=kept)
            drawn = resample(statistics, resampling, len(quality)).values()
            rows = [np.concatenate(pair) for pair in zip(rows, drawn, strict=True)]
        return np.array(rows)
