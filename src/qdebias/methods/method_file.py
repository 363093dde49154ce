"""Methods from files: an expression, and questions of one's own.

method = "paper"                      # a preset, or a whole expression
parts = ["levels5", "logodds"]        # may be left out

[quality]                             # may be left out: the preset's own
text = "The visual quality of the first image is poor. How about that of the second image? Good or poor?"
answer_prefix = "The quality of the image is"
options = [" good", " poor"]
values = [1, 0]

[same]                                # likewise
"""

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from qdebias.errors import SettingError
from qdebias.methods.expression import SPELLED, parse
from qdebias.methods.method import QDebias
from qdebias.methods.recipe import Recipe
from qdebias.prompts import Question

SUFFIX = ".toml"

_KEYS = {"method", "parts", "quality", "same"}
_OF_A_QUESTION = {"text", "answer_prefix", "options", "values"}


def read_file(path: Path, presets: Mapping[str, Recipe]) -> Recipe:
    """Return the method that a file describes; it is called by the file's name.

    Args:
        path: A TOML file.
        presets: The presets by name.

    Raises:
        SettingError: The file cannot be read, or says something that is not understood.
    """
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SettingError(f"{path}: is no method that can be read ({reason}); see docs/methods.md") from error
    try:
        return replace(_recipe(said, presets), name=str(path))
    except SettingError as error:
        raise SettingError(f"{path}: {error}") from error


def _recipe(said: Mapping[str, Any], presets: Mapping[str, Recipe]) -> Recipe:
    _check_keys(said, _KEYS, "a method")
    method, parts = said.get("method", "paper"), said.get("parts", [])
    if not isinstance(method, str) or not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        raise SettingError(f"method is a text and parts a list of texts, got {method!r} and {parts!r}")
    base = SPELLED.get(method.split("+")[0], method).split("+")[0]
    if base in presets:
        presets = {**presets, base: _with_questions(presets[base], said)}
    return parse("+".join([method, *parts]), presets)


def _with_questions(recipe: Recipe, said: Mapping[str, Any]) -> Recipe:
    """Return the preset with the questions of the file in the place of its own."""
    own = {name: _question(name, said[name]) for name in ("quality", "same") if name in said}
    if not own:
        return recipe
    method = recipe.method
    if not isinstance(method, QDebias) or ("same" in own and not method.degradations):
        raise SettingError(
            f"method {recipe.name!r} does not ask {' and '.join(own)}; leave it out, or begin with paper"
        )
    asked = replace(method, quality=own.get("quality", method.quality), same=own.get("same", method.same))
    return replace(recipe, method=asked)


def _question(name: str, said: Any) -> Question:  # noqa: ANN401 (whatever the file has there)
    if not isinstance(said, dict):
        raise SettingError(f"{name} is a table with {', '.join(sorted(_OF_A_QUESTION))}, got {said!r}")
    _check_keys(said, _OF_A_QUESTION, name)
    text, prefix = said.get("text"), said.get("answer_prefix", "")
    options, values = said.get("options", []), said.get("values", [])
    if not isinstance(text, str) or not isinstance(prefix, str):
        raise SettingError(f"{name} needs a text, and answer_prefix is one, got {text!r} and {prefix!r}")
    if not _list_of(options, str) or not _list_of(values, int | float):
        raise SettingError(f"{name} needs a list of options and one value for each, got {options!r} and {values!r}")
    return Question(text=text, answer_prefix=prefix, options=tuple(options), values=tuple(map(float, values)))


def _list_of(value: object, kind: Any) -> bool:  # noqa: ANN401 (a class or a union of some)
    return isinstance(value, list) and all(isinstance(item, kind) and not isinstance(item, bool) for item in value)


def _check_keys(said: Mapping[str, Any], known: set[str], what: str) -> None:
    unknown = sorted(set(said) - known)
    if unknown:
        raise SettingError(f"{what} has no {', '.join(unknown)}; there are {', '.join(sorted(known))}")
