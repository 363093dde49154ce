"""Label files of other projects, which many people have instead of the official ones. Each lists several datasets."""

from qdebias.data.dataset import Direction
from qdebias.data.readers import Delimited
from qdebias.data.table import LabelFile, Labels, Range

SPLITS = {"0": "train", "1": "val", "2": "test", "training": "train", "validation": "val", "valid": "val"}
"""Spellings of splits in label files, and ours."""

NAME_COLUMNS = ("img_path", "image_path", "image", "img_name", "image_name", "path", "filename", "file_name", "name")
SCORE_COLUMNS = ("gt_score", "mos", "dmos", "score")
"""Columns by which a file of unknown origin is read, the first that is there; case does not matter."""


def pyiqa(file: str, name: str, score: str, *, reference: str = "", split: str = "") -> Labels:
    """Return the form of IQA-PyTorch's meta_info files, which repeat the official values."""
    return Labels(
        variant="official values, as IQA-PyTorch's meta_info lists them",
        files=(LabelFile(path=file),),
        name=name,
        score=score,
        reference=reference,
        split=split,
    )


def img_path(
    *files: str, scales: tuple[Range, ...] | None = None, direction: Direction | None = None
) -> tuple[Labels, ...]:
    """Return the forms of JSON files of img_path and gt_score, which Q-Bench began and others took over.

    Args:
        files: Names under which the file circulates.
        scales: As of `Labels`.
        direction: As of `Labels`.
    """
    return tuple(
        Labels(
            variant="JSON of img_path and gt_score, as Q-Bench lists them",
            files=(LabelFile(path=file),),
            name="img_path",
            score="gt_score",
            scales=scales,
            direction=direction,
        )
        for file in files
    )


def liqe(file: str, variant: str, *, scales: tuple[Range, ...], direction: Direction = "higher") -> Labels:
    """Return the form of LIQE's lists: name, score, distortion and up to three scenes, told by its authors."""
    return Labels(
        variant=variant,
        files=(LabelFile(path=file),),
        name="name",
        score="score",
        scene="scene",
        scales=scales,
        direction=direction,
        reader=Delimited(columns=("name", "score", "distortion", "scene"), delimiter="\t"),
    )


def waterloo(file: str, *, scales: tuple[Range, ...] | None = None) -> Labels:
    """Return the form of the University of Waterloo's lists (icbcbicc/IQA-Dataset)."""
    return Labels(
        variant="as the Waterloo IQA-Dataset lists them",
        files=(LabelFile(path=file),),
        name="dis_img_path",
        score="score",
        reference="ref_img_path",
        scales=scales,
    )


def bare(file: str, variant: str, *columns: str, delimiter: str | None = ",", split: str = "") -> Labels:
    """Return the form of a text file without a header, whose columns name and score are in the given order."""
    return Labels(
        variant=variant,
        files=(LabelFile(path=file, split=split),),
        name="name",
        score="score",
        reader=Delimited(columns=columns, delimiter=delimiter),
    )
