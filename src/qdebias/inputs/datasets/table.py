"""What has to be known of a dataset in order to read it: the columns of the files in `datasets/`."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from qdebias.inputs.datasets.readers import read_records
from qdebias.metrics.mos import Direction

Record: TypeAlias = Mapping[str, object]
Reader: TypeAlias = Callable[[Path], list[Record]]
Range: TypeAlias = tuple[float, float]

SPLITS = {"0": "train", "1": "val", "2": "test", "training": "train", "validation": "val", "valid": "val"}
"""Spellings of splits in label files, and ours."""

NAME_COLUMNS = ("img_path", "image_path", "image", "img_name", "image_name", "path", "filename", "file_name", "name")
SCORE_COLUMNS = ("gt_score", "mos", "dmos", "score")
"""Columns by which a file of unknown origin is read, the first that is there; case does not matter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelFile:
    """One file of a set of labels.

    Attributes:
        path: Its name, with a folder where that belongs to the name; `*` stands for anything. Upper and lower case
            are not told apart.
        split: The split that all its rows belong to, if the file says so by being this file.
    """

    path: str
    split: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Annex:
    """A further file with more about the same images; used where it is found.

    Attributes:
        path: As of `LabelFile`.
        name: Column of the image's name.
        split: The split that the images it lists belong to; empty: it adds columns instead.
    """

    path: str
    name: str
    split: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """One form in which the labels of a dataset circulate.

    Attributes:
        variant: What these labels are, in words for a report.
        files: The files that together list the images.
        name: Column of the image's name.
        score: Column of the human score.
        scales: The scales that the scores may be on; the first that holds all of them is taken. None: the dataset's.
        direction: Which scores are better. None: as in the dataset.
        reference: Column of the reference image's name, where the image's own name does not tell it.
        group: Column of the group, likewise.
        split: Column of the split.
        subset: Column of the subset, where the image's own name does not tell it.
        scene: Column of the scene.
        scenes: Columns with a weight per scene, of which the heaviest is taken.
        annexes: Further files.
        reader: How a file becomes rows.
        count: How many images these labels list when complete. None: as many as the dataset has.
    """

    variant: str
    files: tuple[LabelFile, ...]
    name: str
    score: str
    scales: tuple[Range, ...] | None = None
    direction: Direction | None = None
    reference: str = ""
    group: str = ""
    split: str = ""
    subset: str = ""
    scene: str = ""
    scenes: tuple[str, ...] = ()
    annexes: tuple[Annex, ...] = ()
    reader: Reader = read_records
    count: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One of several versions of the scores that circulate under the same file name, told by a few of its values.

    Attributes:
        name: For reports.
        scores: Score by image name.
    """

    name: str
    scores: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One dataset.

    Attributes:
        name: As users write it.
        title: As papers write it.
        count: How many images have a score.
        parts: How many of them each split or subset has, where known; a subset that is not here is allowed too.
        direction: Which scores are better.
        scales: Possible scales of the scores.
        pattern: What an image's name (its last `depth` components) looks like; case does not matter. Its groups
            `subset`, `reference` and `group` are taken over.
        subsets: Names for what the pattern's group `subset` finds.
        depth: How many trailing components of a name in a label file belong to it; the others are somebody's folders.
        labels: The forms of labels, the preferred one first.
        images: Layouts: each a tuple of folders that are searched together; the first layout that has any of the
            images is taken, so images of two resolutions never mix.
        tops: Names of a folder that may lie between the root and all this, once or twice.
        averaged: Names that the labels list twice with different scores; the mean is used, and noted.
        variants: Versions of the scores that cannot be told by the file's name.
        notes: What a report has to say.
        source: Where to get the dataset.
        licence: What its publisher allows, as far as it is stated.
        citation: The publication.
    """

    name: str
    title: str
    count: int | None
    parts: Mapping[str, int] = field(default_factory=dict)
    direction: Direction = "higher"
    scales: tuple[Range, ...]
    pattern: re.Pattern[str] = re.compile(r".+")
    subsets: Mapping[str, str] = field(default_factory=dict)
    depth: int | None = 1
    labels: tuple[Labels, ...]
    images: tuple[tuple[str, ...], ...] = (("",),)
    tops: tuple[str, ...] = ()
    averaged: tuple[str, ...] = ()
    variants: tuple[Variant, ...] = ()
    notes: tuple[str, ...] = ()
    source: str = ""
    licence: str = "not stated"
    citation: str = ""
