"""`load_dataset`: the one way from a name and a folder to images with human scores."""

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from os import PathLike
from pathlib import Path

from qdebias.errors import SettingError
from qdebias.inputs.addresses import true_name, true_path
from qdebias.inputs.datasets.dataset import SPLITS, Dataset, Entry, Item
from qdebias.inputs.datasets.dataset import entry as entry_of
from qdebias.inputs.datasets.labels import LabelledImages, merge, read_labels, recognise, to_items
from qdebias.inputs.datasets.readers import read_records
from qdebias.inputs.datasets.tree import Tree, find_images, open_tree
from qdebias.inputs.items import container_kind
from qdebias.metrics.mos import Direction

SAMPLE = "sample"  # the subset that takes whatever rows and images are there

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
    A part is loaded only when `subset` asks for it, and the result says of how much it is a part.

    Args:
        name: One of `CATALOGUE`, such as "koniq10k"; or the path of a label file with columns img_path and gt_score
            (also: mos, split, subset, scene, reference, group), as .csv, .tsv, .json, .jsonl, .xlsx or .parquet.
        root: The folder of the dataset, in one of the layouts in which it is found; for a label file the folder that
            img_path is relative to, by default the file's own.
        subset: None for everything; a split or subset by its name, such as "test" or "ss01"; or "sample" for whatever
            rows and images are there.
        labels: A label file to be used instead of the one below the root, or a folder to look for it.
        direction: For a label file of one's own: whether "higher" (the default) or "lower" scores are better.
        column: For a label file of one's own: the column of human scores; None: gt_score, mos, dmos or score.
        images: Whether the images have to be there; without them only scores that exist can be compared.

    Raises:
        SettingError: The name is unknown, or labels or images are missing, incomplete or not what they should be. The
            message says what is missing, what was found, and where to get the dataset.
    """
    if not isinstance(name, str | PathLike):
        raise SettingError(
            f"{name!r} is not a dataset; give its name, the path of a label file, or what load_dataset gave"
        )
    if Path(name).suffix.lower() in _SUFFIXES:
        path = Path(true_name(str(name)))
        if labels is not None:
            raise SettingError(f"{path} is a label file itself; leave labels (--labels) out")
        entry, read = _read_own(path, direction, column)
        tree = open_tree(path.parent if root is None else Path(root), f"the images of {path.name}")
        return _assemble(entry, tree, read, subset, images=images)
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
    read = read_labels(entry, tree, None if labels is None else Path(labels))
    return _assemble(entry, tree, read, subset, images=images)


def refuse_videos(dataset: Dataset) -> None:
    """Refuse to ask a model about a dataset of videos."""
    if dataset.items and container_kind(dataset.items[0].name) == "video":
        raise SettingError(
            f"{dataset.name} holds videos; score their frames with `qdebias score VIDEOS --out scores.csv`, then "
            f"`qdebias compare scores.csv --mos {dataset.name}` says how well they agree with people"
        )


def _read_own(path: Path, direction: Direction | None, column: str | None) -> tuple[Entry, LabelledImages]:
    """Return what a label file of the user's own amounts to, and its labels."""
    if not path.is_file():
        raise SettingError(f"{path}: no such label file")
    records = read_records(path)
    form = recognise(records, path, column)
    if form.score.casefold() == "dmos" and direction is None:
        raise SettingError(
            f"{path}: for a column {form.score}, direction (--direction) must say whether higher or lower is better"
        )
    entry = Entry(
        name=(path.with_suffix("") if path.suffix.lower() == ".gz" else path).stem,
        title=path.name,
        count=None,
        direction=direction or "higher",
        scales=((float("-inf"), float("inf")),),
        depth=None,
        labels=(form,),
        images=(("",), ("images",)),
        source="whoever made the file",
    )
    items, notes = merge(to_items(records, form, entry, form.files[0], path), (), path)
    scores = [item.mos for item in items]
    if column is None and form.score.casefold() == "score" and all(0 <= score <= 1 for score in scores):
        raise SettingError(
            f"{path}: its scores are called {form.score} and all lie in [0, 1], as those that qdebias writes; if they "
            f"are of people, name their column (--column {form.score}), or call it mos"
        )
    read = LabelledImages(
        items=tuple(items), labels=form, scale=(min(scores), max(scores)), files=(path,), notes=tuple(notes)
    )
    return replace(entry, count=len(items)), read


def _assemble(entry: Entry, tree: Tree, read: LabelledImages, subset: str | None, *, images: bool) -> Dataset:
    """Choose the part that was requested, find its images, and check that nothing is missing."""
    full = read.labels.count or entry.count or len(read.items)
    part, chosen = _choose(entry, read, subset, full)
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
    kept, notes = _each_file_once(tree.root, present, found, read.files[0]) if images else (present, [])
    full -= len(present) - len(kept)
    return Dataset(
        name=entry.name,
        root=tree.root,
        items=tuple(replace(item, path=found[item.name]) for item in kept),
        direction=read.labels.direction or entry.direction,
        range=read.scale,
        subset=part,
        subset_count=full if part is None else entry.parts.get(part),
        full_count=full,
        label_files=read.files,
        label_digest=hashlib.sha256(b"".join(file.read_bytes() for file in read.files)).hexdigest()[:16],
        label_variant=_variant(entry, read),
        image_folders=folders,
        notes=(*entry.notes, *read.notes, *notes),
    )


def _each_file_once(
    root: Path, items: Sequence[Item], found: Mapping[str, str], labels: Path
) -> tuple[list[Item], list[str]]:
    """Return the items with each file once, and notes on those that were one: by case, a link or another way.

    Several with different scores are refused; the message names both.
    """
    seen: dict[str, Item] = {}
    notes, real_folder = [], lru_cache(maxsize=1024)(os.path.realpath)
    for item in items:
        file = true_path(str(root / found[item.name]), real_folder)
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


def _choose(entry: Entry, read: LabelledImages, subset: str | None, full: int) -> tuple[str | None, list[Item]]:
    """Return a subset's name in lower case, and its items; "training" is "train" where no subset is called so."""
    sizes = Counter(label for item in read.items for label in {item.split, item.subset} if label)
    listed = [f"{label} ({size:,} of {entry.parts.get(label, size):,})" for label, size in sorted(sizes.items())]
    parts = ", ".join([*listed[:40], f"{SAMPLE} (whatever is there)"])
    if subset is None:
        if len(read.items) != full:
            files = _listed([str(file) for file in read.files])
            raise SettingError(
                f"{files}: {len(read.items):,} images, but {entry.title} has {full:,}; complete it from "
                f"{entry.source}, or ask for a part (--subset): {parts}"
            )
        return None, list(read.items)
    part = subset.casefold()
    if part not in {label.casefold() for label in sizes}:
        part = SPLITS.get(part, part)
    chosen = [item for item in read.items if part in (SAMPLE, item.split.casefold(), item.subset.casefold())]
    if not chosen:
        raise SettingError(f"{read.files[0]}: no image of subset {part!r}; there are {parts}")
    return part, chosen


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _variant(entry: Entry, read: LabelledImages) -> str:
    """Say which version of the labels this is, by its form and by the values that tell versions apart."""
    if not entry.variants:
        return read.labels.variant
    scores = {item.name: abs(item.mos) for item in read.items}
    for variant, told in entry.variants.items():
        gaps = [abs(scores[name] - score) for name, score in told.items() if name in scores]
        if gaps and max(gaps) < 1e-3:
            return f"{read.labels.variant}; {variant}"
    return f"{read.labels.variant}; none of the known versions"
