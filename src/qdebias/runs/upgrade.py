"""The settings of methods in run folders of earlier versions, as this version describes them.

Answers are stored by model, images and question, so they serve any version. A method is recognised by its settings,
and these are brought up to date when run.json is read.
"""

import re
from typing import Any

from qdebias.equations import equal_weight, similarity_weight
from qdebias.methods.describe import describe, stable_name
from qdebias.methods.method import Vanilla
from qdebias.methods.presets import RECIPES
from qdebias.prompts import Question

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
    match settings:
        case {"degradations": [*conditions]} if is_preset(name) and "eq7" not in name:
            printed = any(isinstance(one, dict) and one.get("rescale") is False for one in conditions)
            return with_printed_fog(name) if printed else name
    return name


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
    if isinstance(value, list):
        return [_renamed(item) for item in value]
    if not isinstance(value, dict):
        return value
    name = value.get("is")
    if not isinstance(name, str) or not name.startswith("qdebias."):
        return {key: _renamed(item) for key, item in value.items()}
    bare = name.rpartition(".")[2]
    return {key: _renamed(item) for key, item in value.items()} | {"is": stable_name(_RENAMED.get(bare, bare))}
