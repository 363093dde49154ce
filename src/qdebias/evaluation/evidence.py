"""What one model said about one dataset under several methods, and how well each of them agrees with people."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qdebias.equations import FloatArray
from qdebias.errors import SettingError, StoreError
from qdebias.evaluation.published import TITLES
from qdebias.evaluation.readout import Reading, read
from qdebias.evaluation.report import Report
from qdebias.inputs.datasets import CATALOGUE, Dataset
from qdebias.methods import presets
from qdebias.methods.plan import Failure, Method, Score
from qdebias.runs.lines import checksum
from qdebias.runs.manifest import is_preset, with_printed_fog
from qdebias.system.output import write_file, written


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scores:
    """The scores of N images under one method; NaN where an image failed.

    Attributes:
        value: (N,) scores, higher is better.
        order: (N,) what SRCC ranks: the log-odds of the scores, see `qdebias.evaluation.readout`.
        errors: Why images failed, one line each.
    """

    value: FloatArray
    order: FloatArray
    errors: tuple[str, ...] = ()

    @property
    def failed(self) -> int:
        """How many images have no score."""
        return int(np.isnan(self.value).sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class NotRun:
    """Why there are no scores under a method, and what to do about it.

    Attributes:
        reason: In one line.
    """

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evidence:
    """One model on one dataset.

    Attributes:
        model: What `qdebias.load_backend` took.
        dataset: Name of the dataset.
        title: As it is printed.
        summary: How much of the dataset this is.
        root: The folder of the dataset, absolute.
        names: (N,) the images, in the order of the label file, relative to the root.
        contents: What the images show or where they are from: by "scene", "group" (of one reference photograph or
            prompt) and "subset", as far as the dataset tells them apart, (N,) names.
        quality: (N,) human scores, higher is better.
        groups: (N,) images of one group are resampled together; None where each stands for itself.
        seed: Seed of the degradations.
        results: Scores by the name of the method in `qdebias.methods.presets`.
        notes: What a reader has to know, such as which labels these are.
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


def collect(method: Method, results: Iterable[Score | Failure]) -> Scores:
    """Return the scores of results that are in the order of the dataset."""
    unknown, errors, readings = Reading(score=np.nan, rank=np.nan), [], []
    for result in results:
        if isinstance(result, Failure):
            errors.append(result.error)
        readings.append(unknown if isinstance(result, Failure) else read(method, result, "exact"))
    value, order = np.array([(one.score, one.rank) for one in readings], dtype=np.float64).reshape(-1, 2).T
    return Scores(value=value, order=order, errors=tuple(errors))


def evaluated_evidence(whole: Dataset, report: Report, *, model: str) -> Evidence:
    """Return the scores of an evaluation as evidence, so that tables, bias and reports can start from it."""
    value, order = (_array([getattr(row, name) for row in report.rows]) for name in ("score", "rank"))
    errors = tuple(row.error for row in report.rows if row.error is not None)
    scores = Scores(value=value, order=order, errors=errors)
    return evidence_of(whole, {report.method: scores}, model=model, seed=report.seed, limit=report.limit)


def first_items(dataset: Dataset, limit: int | None) -> Dataset:
    """Return the first images of a dataset, all of them where there is no limit.

    Raises:
        SettingError: The limit is less than 1.
    """
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
    """Write the scores and return the file.

    Raises:
        StoreError: The folder cannot be written, or holds a damaged file of that name.
    """
    path = run / FOLDER / f"{'-'.join(filter(None, (evidence.dataset, part, f'seed{evidence.seed}')))}.json"
    old = load(path) if path.exists() else None
    if old is not None and old.names == evidence.names and np.array_equal(old.quality, evidence.quality):
        notes = tuple(dict.fromkeys([*old.notes, *evidence.notes]))
        evidence = replace(evidence, results={**old.results, **evidence.results}, notes=notes)
    values: dict[str, Any] = {"format": FORMAT}
    values |= {name: getattr(evidence, name) for name in (*_PLAIN, "notes", "names", "contents")}
    values |= {
        "quality": evidence.quality.tolist(),
        "groups": None if evidence.groups is None else evidence.groups.tolist(),
        "results": {
            name: {"not_run": result.reason}
            if isinstance(result, NotRun)
            else {"value": _listed(result.value), "order": _listed(result.order), "errors": result.errors}
            for name, result in evidence.results.items()
        },
    }
    with written(path, StoreError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, json.dumps(values | {"sum": _sum(values)}, allow_nan=False) + "\n")
    return path


def part_name(dataset: Dataset, limit: int | None) -> str:
    """Return what tells a part of a dataset from others, for the name of a file."""
    return "-".join(filter(None, (dataset.subset or "", f"first{limit}" if limit else "")))


def load(path: Path) -> Evidence:
    """Return the scores of a file.

    Raises:
        StoreError: It cannot be read, or is no such file.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values.pop("sum", None) != _sum(values):
            raise ValueError("it was changed since it was written")
        named = _named_now if values.get("format", 1) < FORMAT else str
        return Evidence(
            **{name: values[name] for name in _PLAIN},
            names=tuple(values["names"]),
            contents={kind: tuple(column) for kind, column in values["contents"].items()},
            quality=np.array(values["quality"], dtype=np.float64),
            groups=None if values["groups"] is None else np.array(values["groups"], dtype=np.str_),
            results={named(name): _result(result) for name, result in values["results"].items()},
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


def _result(values: Mapping[str, Any]) -> Scores | NotRun:
    if "not_run" in values:
        return NotRun(reason=values["not_run"])
    return Scores(value=_array(values["value"]), order=_array(values["order"]), errors=tuple(values["errors"]))


def _listed(column: FloatArray) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in column]


def _array(values: Sequence[float | None]) -> FloatArray:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
