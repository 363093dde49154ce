"""Finding files below a root, however they were unpacked: in other case, with accents apart, a folder too deep."""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from qdebias.errors import SettingError

LABEL_FOLDERS = (
    *("", "Data", "Annotations", "TestAnnotations", "database", "labels", "metadata", "meta_info", "jsons"),
    *("../jsons", "../meta_info"),
)
"""Folders of label files, below the root or one of the folders that may wrap everything."""


@dataclass(frozen=True, slots=True)
class Tree:
    """The files below a root, looked up without regard to case and form of accents; each folder is listed once."""

    root: Path
    _listed: dict[str, dict[str, list[str]]] = field(default_factory=dict, compare=False, repr=False)

    def find(self, path: str) -> str | None:
        """Return the true spelling of a path relative to the root, or None; an exact match goes before others.

        An absolute path of a file that is there stands for itself.
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
            found = _joined(found, part if part in alike else alike[0])
        return found

    def match(self, pattern: str) -> list[str]:
        """Return the files that a path stands for whose last component may have `*`, in sorted order."""
        folder, _, last = pattern.casefold().rpartition("/")
        found = self.find(folder)
        if found is None:
            return []
        names = sorted(name for alike in self._names(found).values() for name in alike)
        paths = [_joined(found, name) for name in names if fnmatchcase(name.casefold(), last)]
        return [path for path in paths if (self.root / path).is_file()]

    def wrappers(self, tops: Sequence[str]) -> list[str]:
        """Return the root ("") and the folders of the given names in it and, once more, in those."""
        found = [""]
        for _ in range(2):
            deeper = [self.find(f"{base}/{top}") for base in found for top in tops]
            found += [path for path in deeper if path and path not in found and (self.root / path).is_dir()]
        return found

    def top_level(self, most: int = 12) -> str:
        """Return what the root holds, for an error message."""
        names = sorted(name for alike in self._names("").values() for name in alike)
        more = f" and {len(names) - most} more" if len(names) > most else ""
        return ", ".join(names[:most]) + more if names else "nothing"

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


def _joined(*parts: str) -> str:
    return "/".join(part for part in parts if part)


def open_tree(root: Path, what: str) -> Tree:
    """Return the tree of a folder that has to exist; `what` it is meant to hold is for the error."""
    if not root.is_dir():
        raise SettingError(f"{root}: no such folder; root must be the folder that holds {what}")
    return Tree(root)


def find_labels(tree: Tree, tops: Sequence[str], file: str) -> list[str]:
    """Return the label files that a name, perhaps with `*`, stands for, from the first folder that has any."""
    places = (_joined(base, folder, file) for base in tree.wrappers(tops) for folder in LABEL_FOLDERS)
    return next((found for place in places if (found := tree.match(place))), [])


def find_images(
    tree: Tree, tops: Sequence[str], layouts: Iterable[tuple[str, ...]], names: Sequence[str]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return path by name for the images that are there, and the folders that they are in.

    The first layout (folders that are searched together) that has any of the images is the one that counts: images are
    never taken from two copies.
    """
    for layout in layouts:
        for base in tree.wrappers(tops):
            found = {}
            folders = [folder for one in layout if tree.find(folder := _joined(base, one)) is not None]
            for name in names:
                paths = (tree.find(_joined(folder, name)) for folder in folders)
                if (path := next((path for path in paths if path is not None), None)) is not None:
                    found[name] = path
            if found:
                return found, tuple(sorted({path.rpartition("/")[0] for path in found.values()}))
    return {}, ()
