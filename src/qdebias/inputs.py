"""Which images are meant by what was typed: files, folders and patterns."""

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from qdebias.engine import Failure
from qdebias.errors import SettingError

SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm", ".avif"))
"""Suffixes by which a search through a folder recognises an image; a file that is named is tried whatever its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """The images of a run.

    Attributes:
        paths: Each image once, in the order in which it was named; within a folder sorted by path.
        failures: What was named and holds no image, or could not be looked into.
    """

    paths: tuple[Path, ...]
    failures: tuple[Failure, ...]


def find_inputs(arguments: Sequence[str]) -> Inputs:
    """Return the images that are meant by paths of files, folders (searched recursively) and patterns such as "*.jpg".

    Hidden files and folders below a named folder are left out. A named file that does not exist stays in the list, so
    that it fails with a row of its own like any other bad image.

    Raises:
        SettingError: Nothing at all was found.
    """
    paths: list[Path] = []
    failures: list[Failure] = []
    for argument in arguments:
        found, problems = _find(argument)
        paths += found
        failures += problems
    if not any(path.exists() for path in paths):
        missing = [Failure(name=str(path), error=f"{path}: no such file") for path in paths]
        raise SettingError("nothing to score: " + "; ".join(failure.error for failure in (*failures, *missing)))
    return Inputs(paths=tuple(dict.fromkeys(paths)), failures=tuple(failures))


def _find(argument: str) -> tuple[list[Path], list[Failure]]:
    path = Path(argument)
    if path.is_dir():
        problems: list[Failure] = []
        found = sorted(_walk(path, problems))
        if not found and not problems:
            problems.append(Failure(name=argument, error=f"{argument}: no image in this folder"))
        return found, problems
    if not path.exists() and glob.has_magic(argument):
        matches = sorted(Path(match) for match in glob.glob(argument, recursive=True))  # noqa: PTH207 (may be absolute)
        if not matches:
            return [], [Failure(name=argument, error=f"{argument}: no file matches this pattern")]
        return [match for match in matches if not match.is_dir()], []
    return [path], []


def _walk(folder: Path, problems: list[Failure]) -> Iterator[Path]:
    def note(error: OSError) -> None:
        problems.append(Failure(name=str(error.filename), error=f"{error.filename}: {error.strerror}"))

    for parent, folders, files in os.walk(folder, onerror=note):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith("."):
                yield Path(parent, name)
