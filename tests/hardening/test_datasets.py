"""Damaged label files of datasets: one error, or images that are there with scores that are numbers."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutation import examples, mutated
from qdebias.errors import SettingError
from qdebias.inputs.datasets import load_dataset

CELLS = st.sampled_from(
    [
        *("", " ", "nan", "inf", "-inf", "1e999", "-0", "0x1", "1_0", "\u0661", "1,5", "=1+1", "a.jpg", "none", "NaN"),
        *("../a.jpg", "/etc/passwd", "a.jpg\0", "A.JPG", "\ufeff", '"', "\r", "9" * 400, "\u202egpj.a", "x" * 300),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A dataset of three images.

    Attributes:
        name: What it is loaded as; None for a label file of one's own.
        file: Its label file.
        head: The first line of that, if it has one.
        row: A line of that, from the name of an image and its score.
        folder: Where its images are.
        images: Their names.
    """

    name: str | None
    file: str
    head: str
    row: str
    folder: str
    images: tuple[str, str, str] = ("a.jpg", "b.jpg", "c.jpg")

    def lines(self, names: tuple[str, ...], scores: tuple[str, ...]) -> str:
        rows = (self.row.format(name=name, score=score) for name, score in zip(names, scores, strict=True))
        return "".join(f"{line}\n" for line in (*([self.head] if self.head else []), *rows))


LAYOUTS = (
    Layout(name=None, file="labels.csv", head="img_path,gt_score", row="{name},{score}", folder=""),
    Layout(name=None, file="labels.tsv", head="img_path\tmos\tsplit", row="{name}\t{score}\ttest", folder=""),
    Layout(
        name=None, file="labels.jsonl", head="", row='{{"img_path": "{name}", "gt_score": "{score}"}}', folder="images"
    ),
    Layout(
        name="koniq10k",
        file="koniq10k_scores_and_distributions.csv",
        head="image_name,MOS",
        row="{name},{score}",
        folder="512x384",
        images=("1.jpg", "2.jpg", "3.jpg"),
    ),
    Layout(
        name="kadid10k",
        file="dmos.csv",
        head="dist_img,ref_img,dmos",
        row="{name},I01.png,{score}",
        folder="images",
        images=("I01_01_01.png", "I01_01_02.png", "I01_01_03.png"),
    ),
    Layout(
        name="tid2013",
        file="mos_with_names.txt",
        head="",
        row="{score} {name}",
        folder="distorted_images",
        images=("I01_01_1.bmp", "I01_01_2.bmp", "i01_01_3.bmp"),
    ),
    Layout(
        name="agiqa3k",
        file="data.csv",
        head="name,prompt,mos_quality",
        row="{name},,{score}",
        folder="database",
        images=("xl2.2_normal_001.jpg", "xl2.2_normal_002.jpg", "sd1.5_lowcorr_076.jpg"),
    ),
)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.file)
def test_damaged_label_files(layout: Layout, tmp_path: Path, thorough: bool, trials: Callable[[int], None]) -> None:
    """Damaged bytes, and cells with what is no name or number."""
    root = tmp_path / "data"
    (root / layout.folder).mkdir(parents=True)
    for name in layout.images:
        (root / layout.folder / name).touch()
    sound = layout.lines(layout.images, ("1.5", "2.5", "4"))
    assert len(load(layout, root, sound.encode())) == 3
    odd = st.tuples(
        st.tuples(st.just(layout.images[0]), CELLS, st.just(layout.images[2])), st.tuples(st.just("1.5"), CELLS, CELLS)
    )

    @examples(400 if thorough else 20)
    @given(mutated(sound.encode()) | odd.map(lambda both: layout.lines(*both).encode("utf-8", "surrogatepass")))
    def holds(data: bytes) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found = load(layout, root, data)
            except SettingError:
                pass
            else:
                for path, mos in found.items():
                    assert (root / path).is_file()
                    assert math.isfinite(mos)
        trials(1)

    holds()


def load(layout: Layout, root: Path, data: bytes) -> dict[str, float]:
    """Return the scores of the images, by their paths."""
    (root / layout.file).write_bytes(data)
    if layout.name is None:
        return {item.path: item.mos for item in load_dataset(root / layout.file).items}
    return {item.path: item.mos for item in load_dataset(layout.name, root=root, subset="sample").items}
