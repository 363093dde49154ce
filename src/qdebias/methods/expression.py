"""Methods by expression, and from files.

    EXPRESSION = START ["@" CONDITION {"," CONDITION}] {"+" PART}

    paper+levels5+logodds+t100
    paper@fog,package.module:rain+average

START is a preset, or "package.module:name" of your own method. After an "@" follow the conditional images that replace
those of the start. Conditions and parts come in any order. The canonical form of an expression is the
name of a preset where that is the same method; else its start and the parts that change something, in the order of
`KINDS`.

A file is an expression with your own questions, see docs/methods.md.
"""

import inspect
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FunctionType
from typing import Any, cast

import numpy as np

from qdebias.degrade import DEGRADATIONS, degradation_named, name_of
from qdebias.equations import equal_weight, mean_probability
from qdebias.errors import SettingError
from qdebias.methods.method import Method, QDebias
from qdebias.methods.parts import CONDITIONS, KINDS, MANY, NEED_CONDITIONS, NEEDS_SAME, NUMBERED, PARTS, Part
from qdebias.methods.recipe import Recipe
from qdebias.prompts import Question
from qdebias.system.named import import_named, is_import, nearest

SUFFIX = ".toml"

Presets = Mapping[str, Recipe]


def parse(text: str, presets: Presets) -> Recipe:
    """Return the method that an expression means, or refuse an unknown part, or two that do not go together."""
    head, *words = (word.strip() for word in text.split("+"))
    base, at, conditions = head.partition("@")
    start, *spelled = _spelled(base, presets).split("+")
    recipe = presets.get(start) or _imported(start, presets)
    if at:
        recipe = _degraded(recipe, conditions.split(","))
    return add_parts(recipe, words, presets, spelled=spelled, settled=bool(at))


def _spelled(name: str, presets: Presets) -> str:
    """Return the start of an expression, in full where it is a preset that is short for one with parts."""
    name = "paper" if name == "qdebias" else name
    return presets[name].spelled or name if name in presets else name


def add_parts(
    recipe: Recipe, words: Sequence[str], presets: Presets, *, spelled: Sequence[str] = (), settled: bool = False
) -> Recipe:
    """Return a method with parts added.

    Parts in `spelled` stand back where `words` decide the same. `settled` conditions were chosen by name, so that an
    aspect keeps them.
    """
    text = "+".join([recipe.name, *words])
    chosen = _chosen(text, words)
    kinds = {part.kind for part in chosen.values()} - {*MANY}
    implied = {name: part for name, part in _chosen(text, spelled).items() if part.kind not in kinds}
    parts = sorted({**implied, **chosen}.items(), key=lambda item: (KINDS.index(item[1].kind), item[0]))
    if not parts and not settled:
        return recipe
    method = recipe.method
    if not isinstance(method, QDebias):
        raise SettingError(f"method {recipe.name!r} cannot be changed by parts; use it alone, or start from another")
    changing: dict[str, Part] = {}
    for name, part in parts:
        try:
            if part.kind in NEED_CONDITIONS and not method.degradations:
                raise SettingError(
                    f"{NEED_CONDITIONS[part.kind]} need conditions, and this method asks about the image alone"
                )
            changed = part.change(method)
        except SettingError as error:
            raise SettingError(f"method {text!r}: {name}: {error}") from error
        if part.kind == "aspect" and settled:
            changed = replace(changed, degradations=method.degradations)
        if _lean(changed) != _lean(method):
            changing[name] = part
        method = changed
    return _named(recipe, _lean(method), changing, presets)


def _imported(name: str, presets: Presets) -> Recipe:
    if not is_import(name):
        raise SettingError(
            f"there is no method {name!r}{nearest(name, presets)}; choose one of {', '.join(presets)}, or name "
            f"your own as package.module:name; add parts with '+' if you like, such as paper+levels5, see "
            f"`qdebias methods`"
        )
    method = import_named(name, what="method")
    if isinstance(method, type | FunctionType):
        try:
            inspect.signature(method).bind()
        except (TypeError, ValueError) as error:
            raise SettingError(
                f"method {name} cannot be made without arguments ({error}); name one that can"
            ) from error
        method = method()
    if not (hasattr(method, "plan") and hasattr(method, "combine")):
        raise SettingError(f"method {name} is {method!r}, which has no plan and combine")
    return Recipe(name=name, method=cast(Method, method), summary="a method of your own", source=name)


def _degraded(recipe: Recipe, degradations: Sequence[str]) -> Recipe:
    """Return a method under other conditions, in the order of `DEGRADATIONS`."""
    if not isinstance(recipe.method, QDebias) or not recipe.method.degradations:
        raise SettingError(f"method {recipe.name!r} takes no degradations after an @; paper and its variants do")
    order = {name: place for place, name in enumerate(DEGRADATIONS)}
    names = sorted(map(name_of, degradations), key=lambda name: (order.get(name, len(order)), name))
    return replace(
        recipe,
        name=f"{recipe.name}@{','.join(names)}",
        method=replace(recipe.method, degradations=tuple(map(degradation_named, names))),
        summary=f"{recipe.name} with {' and '.join(names)}",
        source=f"{recipe.source}; the conditions are chosen by name",
    )


def _part_named(word: str) -> tuple[str, Part] | None:
    """Return a part and its canonical name, None if there is no such part."""
    if word in PARTS:
        return word, PARTS[word]
    for prefix, part in CONDITIONS.items():
        if word.startswith(prefix):
            name = word.removeprefix(prefix)
            return prefix + name_of(name), replace(part, change=partial(part.change, degradation_named(name)))
    found = re.fullmatch(r"([a-z]+?)(\d+(?:\.\d+)?)", word)
    if found is None or found[1] not in NUMBERED:
        return None
    number = float(found[2])
    if number == float("inf"):
        raise SettingError(f"{found[1]}: a number of {len(found[2])} digits is too large")
    part = NUMBERED[found[1]]
    return found[1] + np.format_float_positional(number, trim="-"), replace(part, change=partial(part.change, number))


def known_parts() -> str:
    """Return every part by its kind, in one line."""
    parts = [*PARTS.items(), *((f"{prefix}CONDITION", part) for prefix, part in CONDITIONS.items())]
    parts += [(f"{prefix}NUMBER", part) for prefix, part in NUMBERED.items()]
    return "; ".join(f"{kind}: {', '.join(name for name, part in parts if part.kind == kind)}" for kind in KINDS)


def _chosen(text: str, words: Iterable[str]) -> dict[str, Part]:
    """Return the parts by their names, checked one against another."""
    chosen: dict[str, Part] = {}
    for word in words:
        found = _part_named(word)
        if found is None:
            raise SettingError(
                f"method {text!r}: there is no part {word!r}{nearest(word, PARTS)}. There are: {known_parts()}"
            )
        name, part = found
        rival = next((known for known, other in chosen.items() if other.kind == part.kind and known != name), None)
        if rival is not None and part.kind not in MANY:
            raise SettingError(f"method {text!r}: {rival!r} and {name!r} both decide the {part.kind}; keep one of them")
        chosen[name] = part
    return chosen


def _lean(method: QDebias) -> QDebias:
    """Leave out what changes no score, so that one method has one form however it was named."""
    if len(method.degradations) < 2:
        return replace(method, same=None, suits=None, weigh=equal_weight, mean=mean_probability, distance=None)
    return method if method.weigh in NEEDS_SAME else replace(method, same=None)


def _named(base: Recipe, method: QDebias, parts: Mapping[str, Part], presets: Presets) -> Recipe:
    """Return the preset that is this method, with its conditions in any order; else a recipe named by its parts."""

    def unordered(method: Method) -> object:
        if not isinstance(method, QDebias):
            return method
        return replace(method, degradations=tuple(sorted(method.degradations, key=repr)))

    for preset in presets.values():
        if preset.cut == base.cut and unordered(preset.method) == unordered(method):
            return preset
    summary = "; ".join([base.summary, *(f"{name}: {part.summary}" for name, part in parts.items())])
    source = "; ".join(dict.fromkeys([base.source, *(part.source for part in parts.values())]))
    return replace(base, name="+".join([base.name, *parts]), method=method, summary=summary, source=source)


def read_file(path: Path, presets: Presets) -> Recipe:
    """Return the method that a file describes; it is called by the file's name."""
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SettingError(f"{path}: is not a readable method file ({reason}); see docs/methods.md") from error
    try:
        return replace(_described(said, presets), name=str(path))
    except SettingError as error:
        raise SettingError(f"{path}: {error}") from error


def _described(said: Mapping[str, Any], presets: Presets) -> Recipe:
    _check_keys(said, {"method", "parts", "quality", "same"}, "a method")
    text, parts = said.get("method", "paper"), said.get("parts", [])
    if not isinstance(text, str) or not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        raise SettingError(f"method is a text and parts a list of texts, got {text!r} and {parts!r}")
    start = _spelled(text.split("+")[0], presets).split("+")[0]
    own: dict[str, Any] = {name: _question(name, said[name]) for name in ("quality", "same") if name in said}
    if own and start in presets:
        recipe, method = presets[start], presets[start].method
        if not isinstance(method, QDebias) or ("same" in own and not method.degradations):
            raise SettingError(f"method {start!r} does not ask {' and '.join(own)}; leave it out, or start from paper")
        presets = {**presets, start: replace(recipe, method=replace(method, **own))}
    return parse("+".join([text, *parts]), presets)


def _question(name: str, said: Any) -> Question:  # noqa: ANN401 (whatever the file has there)
    known = {"text", "answer_prefix", "options", "values"}
    if not isinstance(said, dict):
        raise SettingError(f"{name} is a table with {', '.join(sorted(known))}, got {said!r}")
    _check_keys(said, known, name)
    text, prefix = said.get("text"), said.get("answer_prefix", "")
    options, values = said.get("options", []), said.get("values", [])
    if not isinstance(text, str) or not isinstance(prefix, str):
        raise SettingError(f"{name} needs a text, and answer_prefix is one, got {text!r} and {prefix!r}")
    lists = isinstance(options, list) and isinstance(values, list)
    if not lists or {*map(type, options)} - {str} or {*map(type, values)} - {int, float}:
        raise SettingError(f"{name} needs a list of options and one value for each, got {options!r} and {values!r}")
    return Question(text=text, answer_prefix=prefix, options=tuple(options), values=tuple(map(float, values)))


def _check_keys(said: Mapping[str, Any], known: set[str], what: str) -> None:
    unknown = sorted(set(said) - known)
    if unknown:
        raise SettingError(f"{what} has no {', '.join(unknown)}; there are {', '.join(sorted(known))}")
