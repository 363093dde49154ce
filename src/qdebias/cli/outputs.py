"""No command writes over what it reads: checked once for all of them, before anything is read."""

import glob
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from qdebias.errors import SettingError
from qdebias.inputs import Images
from qdebias.inputs.addresses import true_name
from qdebias.inputs.datasets import Dataset
from qdebias.inputs.folders import kind_of
from qdebias.inputs.items import NamedImages
from qdebias.inputs.tables import is_dataset
from qdebias.runs.records import check_suffix

OUTPUTS = ("out", "plot", "sheet")
"""The options that name a file to write."""

_WORDS = ("what", "title", "form", "by", "kind", "subset", "against", "table", "aspect")
"""The options that name no file."""

_ROWS = ("score", "frames", "evaluate", "rank", "burst", "export")
_TEXTS = ("compare", "tables", "bias", "calibrate", "fit", "verify")

_RUN_FILES = ("run.json", "answers.jsonl", "images.jsonl", "index.sqlite", "lock", "lock.holder")
LISTS = ("kept", "rejected", "failed")
"""The files of `filter --out`, without suffix."""


def check_outputs(options: Mapping[str, object], command: str = "") -> None:
    """Refuse, by the names of a command's options, to write what is read, by whatever name, or one file twice."""
    outputs = {name: Path(str(options[name])) for name in OUTPUTS if options.get(name)}
    if not outputs:
        return
    inputs = [(name, text) for name, value in options.items() if name not in OUTPUTS + _WORDS for text in _texts(value)]
    for option, out in outputs.items():
        if not options.get("ray"):
            _check_form(command, option, out)
        for written in [out, *(out / f"{name}.csv" for name in LISTS)] if command == "filter" else [out]:
            for name, text in inputs:
                if _overlaps(written, text, is_model=name == "model"):
                    raise _refusal(option, written, text)
    if len(outputs) == 2 and _is_same(*outputs.values()):
        raise SettingError(
            f"{' and '.join(f'--{name}' for name in outputs)} are the same file, {outputs['out']}; choose two"
        )


def refuse_inputs(inputs: Images | Dataset | Iterable[Path], **outputs: Path | Sequence[Path] | None) -> None:
    """Check outputs, by the name of their option, against what the arguments of a command were found to mean."""
    named = [
        (name, out) for name, outs in outputs.items() for out in ([outs] if isinstance(outs, Path) else outs or ())
    ]
    for argument in map(_local, inputs.arguments) if isinstance(inputs, Images) else ():
        for name, out in named:
            if _overlaps(out, argument):
                raise _refusal(name, out, argument)
    present = {_identity(out): (name, out) for name, out in named if out.is_file()}
    for file in _files(inputs) if present else ():
        if (found := present.get(_identity(file))) is not None:
            raise _refusal(*found, file)


def _check_form(command: str, option: str, out: Path) -> None:
    """Say before hours of work that a file cannot be written."""
    if option == "sheet":
        if out.suffix.lower() != ".png" or not out.parent.is_dir():
            raise SettingError(f"--sheet {out}: name a .png in a folder that is there")
    elif option == "plot" or command == "explain":
        from qdebias.report.figure import check_format

        check_format(out)
    elif command != "reproduce" and kind_of(out.name) == "image":
        raise SettingError(f"--out {out} is the name of an image, and {command} writes none; choose another")
    if command in _ROWS and option == "out":
        check_suffix(out)
    if command in _ROWS + _TEXTS and option == "out" and not out.parent.is_dir():
        raise SettingError(f"--out {out}: there is no folder {out.parent}; make it, or choose another")


def _refusal(option: str, out: Path, text: object) -> SettingError:
    return SettingError(f"--{option} {out} is, or lies among, what the command reads ({text}); choose another")


def _files(inputs: Images | Dataset | Iterable[Path]) -> Iterator[str | Path]:
    if isinstance(inputs, Dataset):
        yield from (*inputs.label_files, *inputs.paths)
    elif isinstance(inputs, Images):
        for piece in inputs.pieces():
            names = piece.names if isinstance(piece, NamedImages) else (piece.names[0].partition("!")[0],)
            yield from map(_local, names)
    else:
        yield from inputs


def _local(name: str) -> str:
    """Return the path in an address of a local file, and any path as the disk spells it; another address stays."""
    scheme, mark, path = name.partition("://")
    return true_name(path if mark and scheme in ("file", "local") else name)


def _identity(path: str | Path) -> tuple[int, int] | None:
    """Return what a file is to the system, by whatever name; None where there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def _texts(value: object) -> Iterator[str]:
    for item in value if isinstance(value, list | tuple) else [value]:
        if isinstance(item, str | Path):
            yield _local(str(item))


def _overlaps(out: Path, text: str, *, is_model: bool = False) -> bool:
    """Whether a file to be written is what an argument names, or one of the files in its folder that may be read."""
    text = text.removeprefix("hf:").removeprefix("vllm:") if is_model else text
    if not os.path.isdir(text):  # noqa: PTH112 (a name that the system refuses is none)
        matches = glob.iglob(text, recursive=True) if glob.has_magic(text) else ()  # noqa: PTH207
        return _is_same(out, text) or any(_is_same(out, name) for name in matches)
    folder, real, inside = Path(text), Path(os.path.realpath(out)), Path(os.path.realpath(text))
    if real.parent == inside and real.name.casefold() in _RUN_FILES:
        return True
    if not (real.is_relative_to(inside) and out.is_file()):
        return False
    in_run = (folder / "run.json").is_file() and real.parent.name == "tables"
    return is_model or in_run or kind_of(real.name) == "image" or is_dataset(folder)


def _is_same(out: Path, text: str | Path) -> bool:
    try:
        return os.path.samefile(out, text)  # noqa: PTH121
    except (OSError, ValueError):
        return os.path.realpath(out) == os.path.realpath(text)
