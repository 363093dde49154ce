"""`load_dataset`: from a name and a folder to images with human scores."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from os import PathLike
from pathlib import Path

from qdebias.errors import SettingError
from qdebias.inputs.addresses import true_name, true_path
from qdebias.inputs.datasets.dataset import SPLITS, Dataset, Entry, Item
from qdebias.inputs.datasets.dataset import entry as entry_of
from qdebias.inputs.datasets.labels import read_form, read_labels, recognise
from qdebias.inputs.datasets.readers import read_records
from qdebias.inputs.datasets.tree import Tree, find_images, open_tree
from qdebias.inputs.items import container_kind
from qdebias.metrics.mos import Direction

SAMPLE = "sample"  # the subset of the rows and images that are present

_SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".xlsx", ".parquet", ".gz")


def load_dataset(
    name: "str | PathLike[str]",
    *,
    root: "str | PathLike[str] | None" = None,
    subset: str | None = None,
    labels: "str | PathLike[str] | None" = None,
    direction: Direction | None = None,
    column: str | None = None,
    images: bool = True,
) -> Dataset:
    """Load a dataset's human scores and find its images.

    Everything is checked: that the labels are complete and on a scale they can be on, and that every image is there.
    A part is loaded only if `subset` names it, and the result holds the size of the whole.

    Args:
        name: One of `CATALOGUE`, such as "koniq10k"; or the path of a label file with columns img_path and gt_score
            (also: mos, split, subset, scene, reference, group), as .csv, .tsv, .json, .jsonl, .xlsx or .parquet.
        root: The folder of the dataset, in one of the layouts in which it is found; for a label file the folder that
            img_path is relative to, by default the file's own.
        subset: None for everything; a split or subset by its name, such as "test" or "ss01"; or "sample" for the
            rows and images that are present.
        labels: A label file to be used instead of the one below the root, or a folder to look for it.
        direction: For a label file of one's own: whether "higher" (the default) or "lower" scores are better.
        column: For a label file of one's own: the column of human scores; None: gt_score, mos, dmos or score.
        images: Whether the images have to be there; without them only scores that exist can be compared.

    Raises:
        SettingError: The name is unknown, or labels or images are missing, incomplete or wrong. The message
            lists what is missing and what was found, and where to get the dataset.
    """
    if not isinstance(name, str | PathLike):
        raise SettingError(
            f"{name!r} is not a dataset; give its name, the path of a label file, or what load_dataset gave"
        )
    if Path(name).suffix.lower() in _SUFFIXES:
        path = Path(true_name(str(name)))
        if labels is not None:
            raise SettingError(f"{path} is a label file itself; leave labels (--labels) out")
        entry, full = _read_own(path, direction, column)
        tree = open_tree(path.parent if root is None else Path(root), f"the images of {path.name}")
        return _with_images(entry, tree, full, subset, images=images)
    entry = entry_of(str(name))
    if direction is not None:
        raise SettingError(
            f"direction is known for {entry.name} ({entry.direction} is better); leave it (--direction) out"
        )
    if column is not None:
        raise SettingError(f"the columns of {entry.name} are known; leave column (--column) out")
    if root is None:
        raise SettingError(f"{entry.name} needs root (--root), the folder that holds it; get it from {entry.source}")
    tree = open_tree(Path(root), entry.title)
    full = read_labels(entry, tree, None if labels is None else Path(labels))
    return _with_images(entry, tree, full, subset, images=images)


def refuse_videos(dataset: Dataset) -> None:
    """Refuse to ask a model about a dataset of videos."""
    if dataset.items and container_kind(dataset.items[0].name) == "video":
        raise SettingError(
            f"{dataset.name} holds videos; score their frames with `qdebias score VIDEOS --out scores.csv`, then "
            f"`qdebias compare scores.csv --mos {dataset.name}` says how well they agree with people"
        )


def _read_own(path: Path, direction: Direction | None, column: str | None) -> tuple[Entry, Dataset]:
    """Return the entry of a label file of the user's own, and the dataset without images."""
    if not path.is_file():
        raise SettingError(f"{path}: no such label file")
    records = read_records(path)
    form = recognise(records, path, column)
    if form.score.casefold() == "dmos" and direction is None:
        raise SettingError(
            f"{path}: for a column {form.score}, direction (--direction) must say whether higher or lower is better"
        )
    form = replace(form, reader=lambda _: records)  # not read twice
    entry = Entry(
        name=(path.with_suffix("") if path.suffix.lower() == ".gz" else path).stem,
        title=path.name,
        count=None,
        direction=direction or "higher",
        scales=(),
        depth=None,
        labels=(form,),
        images=(("",), ("images",)),
        source="whoever made the file",
    )
    full = read_form(entry, form, [(form.files[0], path)], Tree(path.parent))
    if isinstance(full, str):
        raise SettingError(full)
    if column is None and form.score.casefold() == "score" and all(0 <= item.mos <= 1 for item in full.items):
        raise SettingError(
            f"{path}: its scores are called {form.score} and all lie in [0, 1], as those that qdebias writes; if they "
            f"are of people, name their column (--column {form.score}), or call it mos"
        )
    return entry, full


def _with_images(entry: Entry, tree: Tree, dataset: Dataset, subset: str | None, *, images: bool) -> Dataset:
    """Choose the part of a dataset that was requested, find its images, and check that none is missing."""
    part, chosen = _choose(entry, dataset, subset)
    found, folders = {item.name: item.name for item in chosen}, tuple[str, ...]()
    if images:
        found, folders = find_images(tree, entry.tops, entry.images, list(found))
    present = [item for item in chosen if item.name in found]
    if len(present) < len(chosen) and (part != SAMPLE or not found):
        missing = [item.name for item in chosen if item.name not in found]
        looked = " or ".join(" + ".join(folder or "." for folder in layout) for layout in entry.images)
        others = f"the others are in {', '.join(folder or '.' for folder in folders)}"
        remedy = "" if part == SAMPLE else f", or ask for subset {SAMPLE!r} (--subset {SAMPLE}) to use what is there"
        raise SettingError(
            f"{tree.root}: {len(missing):,} of {len(chosen):,} images of {entry.title} are missing: "
            f"{_listed(missing)}; {others if folders else f'looked in {looked}'}; the folder holds "
            f"{tree.top_level()}; name the folder that holds them as root (--root), or get them from "
            f"{entry.source}{remedy}"
        )
    items = [replace(item, path=found[item.name]) for item in present]
    kept, notes = _each_file_once(tree.root, items, dataset.label_files[0]) if images else (items, [])
    full = dataset.full_count - len(items) + len(kept)
    return replace(
        dataset,
        root=tree.root,
        items=tuple(kept),
        subset=part,
        subset_count=full if part is None else entry.parts.get(part),
        full_count=full,
        image_folders=folders,
        notes=(*dataset.notes, *notes),
    )


def _each_file_once(root: Path, items: Sequence[Item], labels: Path) -> tuple[list[Item], list[str]]:
    """Return the items with each file once, and notes on those that were one: by case, a link or another way.

    Several with different scores are refused; the message names both.
    """
    seen: dict[str, Item] = {}
    notes, real_folder = [], lru_cache(maxsize=1024)(os.path.realpath)
    for item in items:
        file = true_path(str(root / item.path), real_folder)
        other = seen.setdefault(file, item)
        if other is item:
            continue
        if other.mos != item.mos:
            raise SettingError(
                f"{labels}: {other.name!r} and {item.name!r}, with the scores {other.mos:g} and {item.mos:g}, are both "
                f"the file {file}; correct the names, or keep only one of the rows"
            )
        notes.append(f"{other.name} and {item.name} are one file with the same score; used once")
    return list(seen.values()), notes


def _choose(entry: Entry, dataset: Dataset, subset: str | None) -> tuple[str | None, list[Item]]:
    """Return a subset's name in lower case, and its items; "training" is "train" where no subset is called so."""
    items, full = dataset.items, dataset.full_count
    sizes = Counter(label for item in items for label in {item.split, item.subset} if label)
    listed = [f"{label} ({size:,} of {entry.parts.get(label, size):,})" for label, size in sorted(sizes.items())]
    parts = ", ".join([*listed[:40], f"{SAMPLE} (whatever is there)"])
    if subset is None:
        if len(items) != full:
            files = _listed([str(file) for file in dataset.label_files])
            raise SettingError(
                f"{files}: {len(items):,} images, but {entry.title} has {full:,}; complete it from "
                f"{entry.source}, or ask for a part (--subset): {parts}"
            )
        return None, list(items)
    part = subset.casefold()
    if part not in {label.casefold() for label in sizes}:
        part = SPLITS.get(part, part)
    chosen = [item for item in items if part in (SAMPLE, item.split.casefold(), item.subset.casefold())]
    if not chosen:
        raise SettingError(f"{dataset.label_files[0]}: no image of subset {part!r}; there are {parts}")
    return part, chosen


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
