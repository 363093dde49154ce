"""Real members of the datasets, where the official layouts have them, and a real sample of a whole dataset."""

import csv
from pathlib import Path

import numpy as np
import pytest

from qdebias.image import load_image
from qdebias.inputs.datasets import load_dataset
from reference_data import skip_absent

# dataset, member, its name in the dataset, its place, the label file and the label file's place
MEMBERS = (
    ("agiqa3k", "midjourney_lowstep_036.jpg", None, "database", "agiqa3k/data.csv", "data.csv"),
    ("kadid10k", "I01_01_02.png", None, "images", "kadid10k/meta_info_KADID10kDataset.csv", ""),
    ("kadid10k", "I01_01_05.png", None, "images", "kadid10k/meta_info_KADID10kDataset.csv", ""),
    ("kadid10k", "I01_06_05.png", None, "images", "kadid10k/meta_info_KADID10kDataset.csv", ""),
    ("kadid10k", "I01_15_05.png", None, "images", "kadid10k/meta_info_KADID10kDataset.csv", ""),
    ("kadid10k", "I02_01_03.png", None, "images", "kadid10k/meta_info_KADID10kDataset.csv", ""),
    ("koniq10k", "2415943373.jpg", None, "1024x768", "koniq10k/koniq10k_distributions_sets.csv", ""),
    ("koniq10k", "6898804586.jpg", None, "1024x768", "koniq10k/koniq10k_distributions_sets.csv", ""),
    ("livec", "1000.JPG", None, "ChallengeDB_release/Images", "livec/meta_info_LIVEChallengeDataset.csv", ""),
    ("scid", "SCI01_1_1.bmp", None, "DistortedSCIs", "scid/scid_mos.csv", ""),
    ("scid", "SCI01_1_5.bmp", None, "DistortedSCIs", "scid/DMOS_SCID.mat", ""),
    ("spaq", "00914.png", "00914.jpg", "TestImage", "spaq/meta_info_SPAQDataset.csv", ""),
    ("spaq", "05293.png", "05293.jpg", "TestImage", "spaq/meta_info_SPAQDataset.csv", ""),
    ("spaq", "SPAQ_10241.jpg", "10241.jpg", "TestImage", "spaq/qbench_spaq.json", "spaq.json"),
    ("tid2013", "i01_01_5.bmp", None, "distorted_images", "tid2013/meta_info_TID2013Dataset.csv", ""),
    ("tid2013", "i04_03_4.bmp", None, "distorted_images", "tid2013/meta_info_TID2013Dataset.csv", ""),
    ("tid2013", "i04_14_1.bmp", "I04_14_1.BMP", "distorted_images", "tid2013/meta_info_TID2013Dataset.csv", ""),
    ("tid2013", "i04_14_4.bmp", None, "distorted_images", "tid2013/meta_info_TID2013Dataset.csv", ""),
    ("flive", "rq59.jpg", None, "database/EE371R", "flive/labels_image.csv", ""),
    ("flive", "rq73.jpg", None, "database/EE371R", "flive/labels_image.csv", ""),
    ("flive", "rq85.jpg", None, "database/EE371R", "flive/labels_image.csv", ""),
)


def manifest(shared: Path) -> dict[tuple[str, str], float]:
    """Return the human score of each member that has one."""
    path = shared / "dataset_samples" / "manifest.csv"
    if not path.is_file():
        skip_absent(f"{path} is not there")
    with path.open(encoding="utf-8", newline="") as file:
        return {(row["dataset"], row["file"]): float(row["label"]) for row in csv.DictReader(file) if row["label"]}


def test_real_members_are_found_with_their_scores(shared: Path, tmp_path: Path, subtests: pytest.Subtests) -> None:
    scores = manifest(shared)
    for number, (dataset, member, name, folder, labels, place) in enumerate(MEMBERS):
        with subtests.test(dataset=dataset, member=member):
            image, source = shared / "dataset_samples" / dataset / member, shared / "labels" / labels
            if not image.is_file() or not source.is_file():
                skip_absent(f"{image} or {source} is not there")
            root = tmp_path / str(number)
            (root / folder).mkdir(parents=True)
            (root / (place or source.name)).symlink_to(source)
            (root / folder / (name or member)).symlink_to(image)
            loaded = load_dataset(dataset, root=root, subset="sample")
            assert len(loaded) == 1
            assert loaded.items[0].mos == pytest.approx(scores[dataset, member], abs=5e-4)
            assert min(load_image(loaded.paths[0]).shape[:2]) >= 32


def test_every_member_with_a_score_of_a_known_dataset_is_tried(shared: Path) -> None:
    known = {dataset for dataset, *_ in MEMBERS}
    assert {pair for pair in manifest(shared) if pair[0] in known} == {member[:2] for member in MEMBERS}


def test_references_among_the_members_are_no_rows(shared: Path, tmp_path: Path) -> None:
    source = shared / "dataset_samples" / "kadid10k"
    labels = shared / "labels/kadid10k/meta_info_KADID10kDataset.csv"
    if not source.is_dir() or not labels.is_file():
        skip_absent(f"{source} or {labels} is not there")
    (tmp_path / "images").symlink_to(source)
    loaded = load_dataset("kadid10k", root=tmp_path, labels=labels, subset="sample")
    assert (source / "I01.png").is_file()
    assert len(loaded) == len(list(source.iterdir())) - 1


@pytest.fixture(scope="module")
def biq2021_root(shared: Path) -> Path:
    root = shared / "biq2021_sample"
    if not root.is_dir():
        skip_absent(f"{root} is not there")
    return root


def test_the_sample_of_biq2021_has_its_nine_hundred_images(biq2021_root: Path) -> None:
    dataset = load_dataset("biq2021", root=biq2021_root, subset="sample")
    assert dataset.summary == "biq2021, subset 'sample': 900 of 12,000 images"
    parts = [item.subset for item in dataset.items]
    assert {part: parts.count(part) for part in set(parts)} == {"ss01": 300, "ss02": 300, "ss03": 300}
    assert {item.split for item in dataset.items} == {"train"}
    assert all(path.is_file() for path in dataset.paths)
    with (biq2021_root / "Train (Images and MOS).csv").open(encoding="utf-8", newline="") as file:
        want = [float(row["MOS"]) for row in csv.DictReader(file)]
    np.testing.assert_array_equal(dataset.mos, want)


def test_a_part_of_the_sample_says_how_little_it_is(biq2021_root: Path) -> None:
    for subset, count, published in (("ss01", 300, 2_000), ("train", 900, 10_000)):
        dataset = load_dataset("biq2021", root=biq2021_root, subset=subset)
        assert (len(dataset), dataset.subset_count, dataset.full_count) == (count, published, 12_000)
        assert f"of which this part has {published:,}" in dataset.summary
