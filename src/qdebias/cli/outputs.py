"""No command writes over what it reads: checked once for all of them, before anything is read."""

import glob
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from qdebias.errors import SettingError
from qdebias.inputs.datasets_folder import is_dataset
from qdebias.inputs.folders import looks_like_image

OUTPUTS = ("out", "plot")
"""The options that name a file to write."""

_RUN_FILES = ("run.json", "answers.jsonl", "images.jsonl", "index.sqlite", "lock", "lock.holder")


def check_outputs(options: Mapping[str, object]) -> None:
    """Check the options of a command by their names.

    Raises:
        SettingError: A file to be written is one of those that are read, by whatever name, or two outputs are one.
    """
    outputs = {name: Path(str(options[name])) for name in OUTPUTS if options.get(name)}
    inputs = [text for name, value in options.items() if name not in OUTPUTS for text in _texts(value)]
    for name, out in outputs.items():
        for text in inputs:
            if _overlaps(out, text):
                raise SettingError(f"--{name} {out} is, or lies among, what the command reads ({text}); choose another")
    if len(outputs) == 2 and len({_real(out) for out in outputs.values()}) == 1:
        raise SettingError(f"--out and --plot are the same file, {outputs['out']}; choose two")


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str | Path):
        yield str(value)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def _overlaps(out: Path, text: str) -> bool:
    """Whether a file to be written is what an argument names, or one of the files in its folder that may be read."""
    if os.path.isdir(text):  # noqa: PTH112 (a name that the system refuses is none)
        return _is_read_in(out, Path(text))
    if _is_same(out, text):
        return True
    return glob.has_magic(text) and any(_is_same(out, match) for match in glob.iglob(text, recursive=True))  # noqa: PTH207


def _is_read_in(out: Path, folder: Path) -> bool:
    real, inside = _real(out), _real(folder)
    if real.parent == inside and real.name.casefold() in _RUN_FILES:
        return True
    return real.is_relative_to(inside) and out.exists() and (looks_like_image(real.name) or is_dataset(folder))


def _is_same(out: Path, text: str) -> bool:
    try:
        return os.path.samefile(out, text)  # noqa: PTH121
    except (OSError, ValueError):
        return _real(out) == _real(Path(text))


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))
