"""The scores behind a table, kept beside the answers so that any number of it can be computed again.

`RUN/tables/<dataset>.json` has the images, what people said about them, and for each method the score of each image
and what SRCC ranks. It is replaced as a whole; methods that are there already and were not computed anew stay.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from qdebias.equations import FloatArray
from qdebias.errors import SettingError, StoreError
from qdebias.evaluation.tables.evidence import Evidence, NotRun, Scores
from qdebias.inputs.datasets import Dataset
from qdebias.methods import presets
from qdebias.runs.lines import checksum
from qdebias.runs.upgrade import is_preset, with_printed_fog
from qdebias.system.output import write_file

FOLDER = "tables"
FORMAT = 2
"""Files without one are older: what they call `paper` is `paper-eq7` now."""

_PLAIN = ("model", "dataset", "title", "summary", "root", "seed")


def save(evidence: Evidence, run: Path, *, part: str = "") -> Path:
    """Write the scores and return the file.

    Args:
        evidence: What to keep.
        run: The run folder.
        part: What tells this part of the dataset from others, such as the name of the subset.

    Raises:
        StoreError: The folder cannot be written, or holds a damaged file of that name.
    """
    path = run / FOLDER / f"{'-'.join(filter(None, (evidence.dataset, part, f'seed{evidence.seed}')))}.json"
    old = load(path) if path.exists() else None
    if old is not None and _same_images(old, evidence):
        notes = tuple(dict.fromkeys([*old.notes, *evidence.notes]))
        evidence = replace(evidence, results={**old.results, **evidence.results}, notes=notes)
    values = _values(evidence)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, json.dumps(values | {"sum": _sum(values)}, allow_nan=False) + "\n")
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror or error})") from error
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


def _same_images(first: Evidence, second: Evidence) -> bool:
    return first.names == second.names and np.array_equal(first.quality, second.quality)


def _values(evidence: Evidence) -> dict[str, Any]:
    return (
        {"format": FORMAT}
        | {name: getattr(evidence, name) for name in _PLAIN}
        | {
            "notes": list(evidence.notes),
            "names": list(evidence.names),
            "contents": {kind: list(column) for kind, column in evidence.contents.items()},
            "quality": evidence.quality.tolist(),
            "groups": None if evidence.groups is None else evidence.groups.tolist(),
            "results": {name: _result_values(result) for name, result in evidence.results.items()},
        }
    )


def _result_values(result: Scores | NotRun) -> dict[str, Any]:
    if isinstance(result, NotRun):
        return {"not_run": result.reason}
    return {"value": _listed(result.value), "order": _listed(result.order), "errors": list(result.errors)}


def _result(values: Mapping[str, Any]) -> Scores | NotRun:
    if "not_run" in values:
        return NotRun(reason=values["not_run"])
    return Scores(value=_array(values["value"]), order=_array(values["order"]), errors=tuple(values["errors"]))


def _listed(column: FloatArray) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in column]


def _array(values: list[float | None]) -> FloatArray:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
