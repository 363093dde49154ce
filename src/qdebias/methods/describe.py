"""A method in words: for files, where they stay the same from one process to the next, and for a reader.

What qdebias defines is named by `stable_name` and its settings, so that run folders, fits and plans outlive a module
that moves; what a user defines by its source text as well, so that another text is another method.
"""

import hashlib
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import PurePath
from types import FunctionType
from typing import TypeAlias

import numpy as np

from qdebias.errors import SettingError
from qdebias.prompts import Question

Description: TypeAlias = "str | int | float | bool | list[Description] | dict[str, Description] | None"

_PLACES = {
    "qdebias.content": ("ContentFree", "blank", "noise", "suits"),
    "qdebias.degrade.brightness": ("Brightness",),
    "qdebias.degrade.contrast": ("Contrast",),
    "qdebias.degrade.fog": ("Fog",),
    "qdebias.degrade.gaussian_blur": ("GaussianBlur",),
    "qdebias.degrade.gaussian_noise": ("GaussianNoise",),
    "qdebias.degrade.jpeg": ("Jpeg",),
    "qdebias.degrade.pixelate": ("Pixelate",),
    "qdebias.degrade.saturate": ("Saturate",),
    "qdebias.degrade.spatter": ("Spatter", "Water"),
    "qdebias.degrade.zoom_blur": ("ZoomBlur",),
    "qdebias.equations": (
        "certainty_weight",
        "equal_weight",
        "mean_log_odds",
        "mean_probability",
        "median_weight",
        "semantic_weight",
        "similarity_weight",
        "winner_weight",
    ),
    "qdebias.fitted": ("Features",),
    "qdebias.method": ("QDebias",),
    "qdebias.pool": ("ImagePool",),
    "qdebias.prompts": ("Question", "StateQuestion", "TopQuestion"),
    "qdebias.rivals.lpips": ("Lpips",),
}
"""Where stood, when descriptions were first written into files, what they name; not where it stands now."""

_STABLE = {name: f"{place}.{name}" for place, names in _PLACES.items() for name in names}


def stable_name(name: str) -> str:
    """Return what a class or function of qdebias, with or without a module, is called in descriptions."""
    bare = name.rpartition(".")[2]
    return _STABLE.get(bare, f"qdebias.{bare}")


def describe(value: object) -> Description:
    """Return a description of a method, degradation or setting, unique and ready for JSON, or refuse it."""
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, tuple | list):
        return [describe(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): describe(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        content = f"{value.dtype} {value.shape} ".encode() + np.ascontiguousarray(value).tobytes()
        return hashlib.blake2b(content, digest_size=8).hexdigest()
    if isinstance(value, FunctionType) and value.__closure__ is None and value.__name__ != "<lambda>":
        return _named(value)
    if is_dataclass(value) and not isinstance(value, type):
        settings = {
            field.name: describe(getattr(value, field.name)) for field in fields(value) if field.init and field.compare
        }
        return _named(type(value)) | settings
    raise SettingError(
        f"a run folder cannot recognise {value!r} when it is resumed; use a function with a name, or an object of a "
        f"dataclass"
    )


def _named(thing: type | FunctionType) -> dict[str, Description]:
    if thing.__module__.split(".")[0] == "qdebias":
        return {"is": stable_name(thing.__name__)}
    name: dict[str, Description] = {"is": f"{thing.__module__}.{thing.__qualname__}"}
    try:
        source = inspect.getsource(thing)
    except (OSError, TypeError) as error:
        raise SettingError(
            f"a run folder needs the source text of {name['is']} to notice changes, and it has none; "
            f"define it in a file"
        ) from error
    return name | {"source": hashlib.blake2b(source.encode(), digest_size=8).hexdigest()}


def setting_lines(method: object) -> Iterator[str]:
    """Yield one line for each setting of a method that is in use, questions in full and nested methods indented."""
    if not is_dataclass(method):
        yield repr(method)
        return
    for field in fields(method):
        value = getattr(method, field.name)
        if field.init and (value or value != field.default):
            yield from _value_lines(field.name, value)


def _value_lines(name: str, value: object) -> Iterator[str]:
    if isinstance(value, Question):
        yield f"{name}:"
        yield f"  user: {value.text}"
        yield f"  assistant: {value.answer_prefix}[{' | '.join(map(repr, value.options))}]"
        yield f"  values: {', '.join(map(str, value.values))}"
    elif isinstance(value, tuple):
        yield f"{name}:" if value else f"{name}: none"
        for item in value:
            kind = "question" if isinstance(item, Question) else "method" if hasattr(item, "plan") else ""
            yield from (f"  {line}" for line in (_value_lines(kind, item) if kind else [str(item)]))
    elif hasattr(value, "plan"):
        yield f"{name}:"
        yield from (f"  {line}" for line in setting_lines(value))
    else:
        yield f"{name}: {getattr(value, '__name__', value)}"
