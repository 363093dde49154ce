"""run.json: the model of a run folder, its questions and methods.

The file is replaced as a whole whenever something is added to it, which is seldom: a new question, method or session.
Answers are stored by model, images and question, so they serve any version of qdebias. A method is recognised by its
settings, and those that an earlier version wrote are brought up to date when run.json is read.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from qdebias.equations import equal_weight, similarity_weight
from qdebias.errors import StoreError
from qdebias.methods.describe import Description, describe, stable_name
from qdebias.methods.method import Vanilla
from qdebias.methods.presets import RECIPES
from qdebias.prompts import Question
from qdebias.runs.lines import checksum, writing
from qdebias.system.output import write_file

FORMAT = 1
NAME = "run.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodEntry:
    """A method that was used in the run."""

    name: str  # of the preset, or of the class
    seed: int
    conditions: tuple[str, ...]  # names of its conditional images, see Outline.conditions
    settings: Description
    pool: str | None = None  # digest of the pool that its conditional images are taken from
    total: int | None = None  # how many images there were to score last time; None where that is not known


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The content of run.json."""

    model: str  # what load_backend took
    identity: Mapping[str, str]
    sessions: tuple[Mapping[str, Any], ...] = ()  # when each process began to write, and in which environment
    questions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # by question_id
    methods: Mapping[str, MethodEntry] = field(default_factory=dict)  # by method_id


def read_manifest(folder: Path) -> Manifest:
    """Return run.json of the folder; a StoreError if there is none, or a damaged one."""
    path = folder / NAME
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StoreError(f"{folder} is not a run folder; name a folder that was given as --run") from error
    except UnicodeDecodeError as error:
        raise StoreError(f"{path}: does not describe a run ({error}); restore an intact copy") from error
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror or error})") from error
    try:
        values = json.loads(text)
        if values.pop("format") != FORMAT:
            raise StoreError(f"{path}: was written by another version of qdebias; use that one, or another folder")
        if values.pop("sum", None) != _checksum(values):
            raise StoreError(f"{path}: was changed since it was written; restore an intact copy")
        methods = {}
        for key, entry in values.pop("methods").items():
            settings = upgraded(entry["settings"])
            now = {"settings": settings, "name": renamed(entry["name"], settings)}
            methods[key] = MethodEntry(**entry | now | {"conditions": tuple(entry["conditions"])})
        return Manifest(**values | {"sessions": tuple(values["sessions"]), "methods": methods})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StoreError(f"{path}: does not describe a run ({error}); choose another folder") from error


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace run.json: readers and crashes see the old one or the new one, never a part."""
    path, values = folder / NAME, asdict(manifest)
    text = json.dumps({"format": FORMAT, "sum": _checksum(values)} | values, indent=1)
    with writing(path):
        write_file(path, f"{text}\n")
        if os.name != "nt":  # make the names of new files outlive a loss of power, too
            handle = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def _checksum(values: Mapping[str, Any]) -> str:
    return checksum(json.dumps(values, sort_keys=True).encode())


_RENAMED = {
    "by_semantics": "semantic_weight",
    "equally": "equal_weight",
    "by_winner": "winner_weight",
    "by_likeness": "similarity_weight",
    "by_confidence": "certainty_weight",
    "by_median": "median_weight",
    "mean_quality": "mean_probability",
}
"""What functions were called once."""


def upgraded(settings: Any) -> Any:  # noqa: ANN401 (JSON)
    """Return the settings of a method, from `describe` of this version or an earlier one, as this version has them."""
    found = _renamed(settings)
    match found.get("is") if isinstance(found, dict) else None:
        case "qdebias.method.QDebias":
            changed = {}
        case "qdebias.Vanilla":
            changed = {"quality": found.pop("question"), "degradations": [], "weigh": describe(equal_weight)}
        case "qdebias.Composed":
            first, *others = found.pop("quality")
            changed = {"quality": first, "ensemble": others, "distance": (found.pop("likeness") or {}).get("distance")}
        case "qdebias.OverSeeds":
            found, changed = upgraded(found["base"]), {"seeds": found["count"]}
        case "qdebias.SimilarityWeighted":
            changed = {"distance": found["distance"], "weigh": describe(similarity_weight)}
            found = upgraded(found["base"])
        case "qdebias.Mismatched":
            found, changed = upgraded(found["base"]), {"mismatched": True}
        case _:
            return found
    return {**_DEFAULTS, **found, **changed, "is": _DEFAULTS["is"]}


def renamed(name: str, settings: Any) -> str:  # noqa: ANN401 (JSON)
    """Return what a method is called now: what was `paper` is `paper-eq7`, as its fog is not rescaled."""
    degradations = settings.get("degradations") if isinstance(settings, dict) else None
    if not isinstance(degradations, list) or not is_preset(name) or "eq7" in name:
        return name
    printed = any(isinstance(one, dict) and one.get("rescale") is False for one in degradations)
    return with_printed_fog(name) if printed else name


def is_preset(name: str) -> bool:
    """Tell whether a name begins with that of a preset, and names nothing that would have to be imported."""
    return re.split("[+@]", name)[0] in RECIPES and ":" not in name


def with_printed_fog(name: str) -> str:
    """Return the name of the same method with fog as eq. (7) prints it."""
    return "paper-eq7" if name == "paper" else f"{name}+eq7"


_DEFAULTS: Any = describe(Vanilla(question=Question(text="any", options=("a", "b"), values=(1.0, 0.0))))
"""What a setting is that an earlier version did not have."""


def _renamed(value: Any) -> Any:  # noqa: ANN401 (JSON)
    """Return settings with every class and function of qdebias called by its stable name."""
    match value:
        case list():
            return [_renamed(item) for item in value]
        case {"is": str(name)} if name.startswith("qdebias."):
            bare = name.rpartition(".")[2]
            return {key: _renamed(item) for key, item in value.items()} | {"is": stable_name(_RENAMED.get(bare, bare))}
        case dict():
            return {key: _renamed(item) for key, item in value.items()}
    return value
