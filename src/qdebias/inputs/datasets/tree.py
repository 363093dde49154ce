"""Finding files below a root, however they were unpacked: in other case, with accents apart, a folder too deep."""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import chain
from pathlib import Path

from qdebias.errors import SettingError

LABEL_FOLDERS = (
    "",
    "Data",
    "Annotations",
    "TestAnnotations",
    "database",
    "labels",
    "metadata",
    "meta_info",
    "jsons",
    "../jsons",
    "../meta_info",
)
"""Where label files are looked for, below the root or one of the folders that may wrap everything."""


@dataclass(frozen=True, slots=True)
class Tree:
    """The files below a root, looked up without regard to case and form of accents; each folder is listed once.

    Attributes:
        root: An existing folder.
    """

    root: Path
    _listed: dict[str, dict[str, list[str]]] = field(default_factory=dict, compare=False, repr=False)

    def find(self, path: str) -> str | None:
        """Return the true spelling of a path relative to the root, or None; an exact match goes before others.

        An absolute path of a file that is there stands for itself.

        Raises:
            SettingError: Several differ from it by case or accents alone.
        """
        if Path(path).is_absolute() and Path(path).exists():
            return str(Path(path))
        found = ""
        for part in path.replace("\\", "/").split("/"):
            if part in ("", "."):
                continue
            alike = [part] if part == ".." else self._names(found).get(_folded(part), [])
            if not alike:
                return None
            if part not in alike and len(alike) > 1:
                raise SettingError(
                    f"{self.root / found}: {part!r} may be {' or '.join(map(repr, alike))}, which differ by case or "
                    f"accents alone; write the name as it is on disk"
                )
            true = part if part in alike else alike[0]
            found = f"{found}/{true}" if found else true
        return found

    def match(self, pattern: str) -> list[str]:
        """Return the files that a path stands for whose last component may have `*`, in sorted order."""
        folder, _, last = pattern.rpartition("/")
        found = self.find(folder)
        if found is None:
            return []
        names = sorted(name for name in self._all(found) if fnmatchcase(name.casefold(), last.casefold()))
        return [path for name in names if (self.root / (path := f"{found}/{name}" if found else name)).is_file()]

    def wrappers(self, tops: Sequence[str]) -> list[str]:
        """Return the root ("") and the folders of the given names in it and, once more, in those."""
        found = [""]
        for _ in range(2):
            deeper = [self.find(f"{base}/{top}") for base in found for top in tops]
            found += [path for path in deeper if path and path not in found and (self.root / path).is_dir()]
        return found

    def top_level(self, most: int = 12) -> str:
        """Say what the root holds, for an error message."""
        names = sorted(self._all(""))
        more = f" and {len(names) - most} more" if len(names) > most else ""
        return ", ".join(names[:most]) + more if names else "nothing"

    def _all(self, folder: str) -> Iterator[str]:
        return chain.from_iterable(self._names(folder).values())

    def _names(self, folder: str) -> dict[str, list[str]]:
        """Return the entries of a folder, sorted, by their folded names."""
        if folder not in self._listed:
            place = self.root / folder
            try:
                own = sorted(child.name for child in place.iterdir()) if place.is_dir() else []
            except OSError as error:
                raise SettingError(f"{place}: cannot be listed ({error.strerror})") from error
            folded = self._listed[folder] = {}
            for name in own:
                folded.setdefault(_folded(name), []).append(name)
        return self._listed[folder]


def _folded(name: str) -> str:
    """Return a name without regard to case, and composed: a file unpacked on a Mac has its accents apart."""
    return unicodedata.normalize("NFC", name).casefold()


def open_tree(root: Path, what: str) -> Tree:
    """Return the tree of a folder that has to exist; `what` it is meant to hold is for the error."""
    if not root.is_dir():
        raise SettingError(f"{root}: no such folder; root must be the folder that holds {what}")
    return Tree(root)


def find_labels(tree: Tree, tops: Sequence[str], file: str) -> list[str]:
    """Return the label files that a name, perhaps with `*`, stands for, from the first folder that has any."""
    for base in tree.wrappers(tops):
        for folder in LABEL_FOLDERS:
            found = tree.match("/".join(part for part in (base, folder, file) if part))
            if found:
                return found
    return []


def find_images(
    tree: Tree, tops: Sequence[str], layouts: Iterable[tuple[str, ...]], names: Sequence[str]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return path by name for the images that are there, and the folders that they are in.

    The first layout that has any of the images is the one that counts: images are never taken from two copies. A
    layout is the folders that belong together, below the root or one of the folders (`tops`) that may wrap
    everything.
    """
    for layout in layouts:
        for base in tree.wrappers(tops):
            folders = ["/".join(part for part in (base, folder) if part) for folder in layout]
            folders = [folder for folder in folders if tree.find(folder) is not None]
            found = {name: path for name in names if (path := _first(tree, folders, name)) is not None}
            if found:
                used = {path.rpartition("/")[0] for path in found.values()}
                return found, tuple(sorted(used))
    return {}, ()


def _first(tree: Tree, folders: Sequence[str], name: str) -> str | None:
    for folder in folders:
        path = tree.find(f"{folder}/{name}" if folder else name)
        if path is not None:
            return path
    return None
