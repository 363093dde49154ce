"""The settings of methods in run folders of earlier versions, as this version describes them.

Answers are stored by model, images and question, so they serve any version. A method is recognised by its settings,
and these are brought up to date when run.json is read.
"""

import re
from typing import Any

from qdebias.equations import equal_weight, similarity_weight
from qdebias.methods.describe import describe
from qdebias.methods.method import Vanilla
from qdebias.methods.presets import RECIPES
from qdebias.prompts import Question

_RENAMED = {
    "qdebias.probability.semantic_weight": "qdebias.equations.semantic_weight",
    "qdebias.probability.equal_weight": "qdebias.equations.equal_weight",
    "qdebias.probability.winner_weight": "qdebias.equations.winner_weight",
    "qdebias.methods.pooling.by_semantics": "qdebias.equations.semantic_weight",
    "qdebias.methods.pooling.equally": "qdebias.equations.equal_weight",
    "qdebias.methods.pooling.by_winner": "qdebias.equations.winner_weight",
    "qdebias.methods.pooling.by_likeness": "qdebias.equations.similarity_weight",
    "qdebias.methods.pooling.by_confidence": "qdebias.equations.certainty_weight",
    "qdebias.methods.pooling.by_median": "qdebias.equations.median_weight",
    "qdebias.methods.pooling.mean_quality": "qdebias.equations.mean_probability",
    "qdebias.methods.pooling.mean_log_odds": "qdebias.equations.mean_log_odds",
    "qdebias.methods.prior.ContentFree": "qdebias.methods.content.ContentFree",
    "qdebias.methods.prior.blank": "qdebias.methods.content.blank",
    "qdebias.methods.prior.noise": "qdebias.methods.content.noise",
    "qdebias.methods.content.suits": "qdebias.methods.content.suits",
}
_MOVED = {"method", "content", "readouts", "sources", "recipe", "fitted"}
"""Modules that stood right under qdebias and now stand under qdebias.methods."""


def upgraded(settings: Any) -> Any:  # noqa: ANN401 (JSON)
    """Return the settings of a method, from `describe` of this version or an earlier one, as this version has them."""
    found = _renamed(settings)
    match found.get("is") if isinstance(found, dict) else None:
        case "qdebias.methods.method.QDebias":
            changed = {}
        case "qdebias.methods.method.Vanilla":
            changed = {"quality": found.pop("question"), "degradations": [], "weigh": describe(equal_weight)}
        case "qdebias.methods.composed.Composed":
            first, *others = found.pop("quality")
            changed = {"quality": first, "ensemble": others, "distance": (found.pop("likeness") or {}).get("distance")}
        case "qdebias.methods.seeds.OverSeeds":
            found, changed = upgraded(found["base"]), {"seeds": found["count"]}
        case "qdebias.ablations.SimilarityWeighted":
            changed = {"distance": found["distance"], "weigh": describe(similarity_weight)}
            found = upgraded(found["base"])
        case "qdebias.ablations.Mismatched":
            found, changed = upgraded(found["base"]), {"mismatched": True}
        case _:
            return settings
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
    if isinstance(value, list):
        return [_renamed(item) for item in value]
    if isinstance(value, dict):
        renamed = {key: _renamed(item) for key, item in value.items()}
        return {**renamed, "is": _moved(renamed["is"])} if "is" in renamed else renamed
    return value


def _moved(name: str) -> str:
    name = _RENAMED.get(name, name).replace("qdebias.rivals.", "qdebias.metrics.")
    package, _, rest = name.partition(".")
    return f"{package}.methods.{rest}" if package == "qdebias" and rest.partition(".")[0] in _MOVED else name
