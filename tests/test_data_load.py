"""What loading promises: everything or an explicit part, and errors that say what is missing and what to do."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import qdebias
from qdebias.errors import SettingError
from qdebias.inputs.datasets import CATALOGUE, load_dataset

PACKAGE = Path(qdebias.__file__).parent
NAMES = ("ss01 (1).jpg", "ss01 (2).jpg", "ss02 (1).jpg", "ss03 (7).jpg")


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """A root with 4 of BIQ2021's images, and labels of these only."""
    rows = "".join(f"{name},0.{number}5,,\n" for number, name in enumerate(NAMES, start=1))
    (tmp_path / "Train (Images and MOS).csv").write_text("Image Name,MOS,,\n" + rows)
    (tmp_path / "Images").mkdir()
    for name in NAMES:
        (tmp_path / "Images" / name).touch()
    return tmp_path


def test_a_part_is_never_taken_for_the_whole(sample: Path) -> None:
    with pytest.raises(SettingError) as caught:
        load_dataset("biq2021", root=sample)
    message = str(caught.value)
    assert "4 images, but BIQ2021 has 12,000" in message
    assert "https://github.com/nisarahmedrana/BIQ2021" in message
    assert "ss01 (2 of 2,000)" in message
    assert "sample (whatever is there)" in message


def test_a_sample_says_of_what_it_is_one(sample: Path) -> None:
    dataset = load_dataset("biq2021", root=sample, subset="sample")
    assert (len(dataset), dataset.subset, dataset.full_count, dataset.complete) == (4, "sample", 12_000, False)
    assert dataset.summary == "biq2021, subset 'sample': 4 of 12,000 images"
    np.testing.assert_array_equal(dataset.mos, [0.15, 0.25, 0.35, 0.45])
    assert dataset.paths == [sample / "Images" / name for name in NAMES]
    assert dataset.groups is None


def test_a_subset_says_how_much_of_it_is_there(sample: Path) -> None:
    dataset = load_dataset("biq2021", root=sample, subset="ss01")
    assert [item.name for item in dataset.items] == list(NAMES[:2])
    assert dataset.subset_count == 2_000
    assert dataset.summary == "biq2021, subset 'ss01': 2 of 12,000 images, of which this part has 2,000"
    for spelling in ("train", "Training"):
        dataset = load_dataset("biq2021", root=sample, subset=spelling)
        assert (len(dataset), dataset.subset_count) == (4, 10_000)


def test_an_unknown_subset_names_the_known_ones(sample: Path) -> None:
    with pytest.raises(SettingError, match=r"subset 'ss09'; there are ss01 \(2 of 2,000\), ss02"):
        load_dataset("biq2021", root=sample, subset="ss09")
    with pytest.raises(SettingError, match="subset 'test'"):
        load_dataset("biq2021", root=sample, subset="test")


def test_missing_images_are_counted_and_named(sample: Path) -> None:
    for name in NAMES[:3]:
        (sample / "Images" / name).unlink()
    with pytest.raises(SettingError) as caught:
        load_dataset("biq2021", root=sample, subset="train")
    message = str(caught.value)
    assert "3 of 4 images of BIQ2021 are missing: ss01 (1).jpg, ss01 (2).jpg, ss02 (1).jpg" in message
    assert "the others are in Images" in message
    assert "or ask for subset 'sample'" in message
    assert [item.name for item in load_dataset("biq2021", root=sample, subset="sample").items] == [NAMES[3]]


def test_a_sample_without_any_image_is_an_error(sample: Path) -> None:
    for name in NAMES:
        (sample / "Images" / name).unlink()
    with pytest.raises(SettingError, match=r"4 of 4 images of BIQ2021 are missing.*looked in Images or \."):
        load_dataset("biq2021", root=sample, subset="sample")


def test_a_wrong_root_says_what_was_looked_for_and_found(tmp_path: Path) -> None:
    (tmp_path / "holiday.txt").touch()
    with pytest.raises(SettingError) as caught:
        load_dataset("kadid10k", root=tmp_path)
    message = str(caught.value)
    assert "no labels of KADID-10k found; looked for dmos.csv, meta_info_KADID10kDataset.csv" in message
    assert "the folder holds holiday.txt" in message
    assert "get the dataset from https://database.mmsp-kn.de" in message
    with pytest.raises(SettingError, match="no such folder"):
        load_dataset("kadid10k", root=tmp_path / "nowhere")
    with pytest.raises(SettingError, match="needs root"):
        load_dataset("kadid10k")


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(SettingError, match=r"no dataset is called 'imagenet'; known are livec, koniq10k"):
        load_dataset("imagenet", root=".")


def test_names_are_read_as_papers_spell_them(sample: Path) -> None:
    assert load_dataset("BIQ-2021", root=str(sample), subset="sample").name == "biq2021"


def test_labels_may_lie_elsewhere(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("labels")
    file = (sample / "Train (Images and MOS).csv").rename(other / "Train (Images and MOS).csv")
    for labels in (file, other):
        dataset = load_dataset("biq2021", root=sample, labels=labels, subset="train")
        assert len(dataset) == 4
        assert dataset.label_files == (file,)
    with pytest.raises(SettingError, match="no such label file"):
        load_dataset("biq2021", root=sample, labels=other / "none.csv", subset="sample")


def test_scores_off_the_scale_are_refused(sample: Path) -> None:
    (sample / "Train (Images and MOS).csv").write_text("Image Name,MOS\nss01 (1).jpg,0.5\nss01 (2).jpg,55\n")
    with pytest.raises(SettingError, match=r"scores from 0\.5 to 55 are not BIQ2021's, which go from 0 to 1"):
        load_dataset("biq2021", root=sample, subset="sample")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("ss01 (1).jpg,good", r"row 2 \(ss01 \(1\)\.jpg\): the score 'good' is not a number"),
        ("ss01 (1).jpg,", "the score '' is not a number"),
        ("ss01 (1).jpg,nan", "the score 'nan' is not finite"),
        ("ss02 (1).jpg,0.9", r"lists 'ss02 \(1\)\.jpg' 2 times, with the scores \[0\.1, 0\.9\]"),
        ("holiday.jpg,0.5", "'holiday.jpg' is not how BIQ2021 names its images"),
    ],
)
def test_bad_rows_are_named(row: str, message: str, sample: Path) -> None:
    (sample / "Train (Images and MOS).csv").write_text(f"Image Name,MOS\nss02 (1).jpg,0.1\n{row}\n")
    with pytest.raises(SettingError, match=message):
        load_dataset("biq2021", root=sample, subset="sample")


def test_a_row_twice_with_one_score_is_used_once_and_noted(sample: Path) -> None:
    (sample / "Train (Images and MOS).csv").write_text("Image Name,MOS\nss02 (1).jpg,0.1\nss02 (1).jpg,0.1\n")
    dataset = load_dataset("biq2021", root=sample, subset="sample")
    assert len(dataset) == 1
    assert "ss02 (1).jpg is listed 2 times with the same score; used once" in dataset.notes


def test_the_digest_follows_the_labels(sample: Path) -> None:
    first = load_dataset("biq2021", root=sample, subset="sample").label_digest
    file = sample / "Train (Images and MOS).csv"
    file.write_text(file.read_text().replace("0.15", "0.16"))
    again = load_dataset("biq2021", root=sample, subset="sample").label_digest
    assert len(first) == len(again) == 16
    assert first != again


def test_loading_does_not_depend_on_the_order_of_the_folder(sample: Path) -> None:
    dataset = load_dataset("biq2021", root=sample, subset="sample")
    assert [item.name for item in dataset.items] == list(NAMES)


def test_a_folder_that_cannot_be_listed_is_named(sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(SettingError, match="cannot be listed"):
        load_dataset("biq2021", root=sample, subset="sample")


# --- a user's own labels


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "sub dir").mkdir()
    for name in ("a.b.jpg", "sub dir/c.png", "D.JPG"):
        (tmp_path / name).touch()
    return tmp_path


ROWS = [("a.b.jpg", 3.5), ("sub dir/c.png", 1.0), ("d.jpg", 2.0)]


def write_labels(folder: Path, form: str) -> Path:
    path = folder / f"mine.{form}"
    pairs = [{"img_path": name, "gt_score": score} for name, score in ROWS]
    if form == "csv":
        path.write_text("img_path,gt_score\n" + "".join(f"{name},{score}\n" for name, score in ROWS))
    elif form == "tsv":
        path.write_text("image\tMOS\n" + "".join(f"{name}\t{score}\n" for name, score in ROWS))
    elif form == "jsonl":
        path.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    elif form == "xlsx":
        import openpyxl

        book = openpyxl.Workbook()
        for row in [("img_path", "gt_score"), *ROWS]:
            book.active.append(row)
        book.save(path)
    else:
        path.write_text(json.dumps(pairs))
    return path


@pytest.mark.parametrize("form", ["csv", "tsv", "json", "jsonl", "xlsx"])
def test_a_label_file_of_ones_own(form: str, photos: Path) -> None:
    dataset = load_dataset(write_labels(photos, form))
    assert dataset.name == "mine"
    assert [(item.path, item.mos) for item in dataset.items] == [
        ("a.b.jpg", 3.5),
        ("sub dir/c.png", 1.0),
        ("D.JPG", 2.0),
    ]
    assert dataset.complete
    assert dataset.summary == "mine: all 3 images"
    assert dataset.range == (1.0, 3.5)


def test_a_label_file_and_its_images_may_lie_apart(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = write_labels(tmp_path_factory.mktemp("labels"), "csv")
    assert len(load_dataset(str(path), root=photos)) == 3
    with pytest.raises(SettingError, match=r"3 of 3 images of mine\.csv are missing"):
        load_dataset(path)


def test_own_labels_may_point_down(photos: Path) -> None:
    path = photos / "labels.csv"
    path.write_text("img_path,dmos\na.b.jpg,3\nd.jpg,1\nsub dir/c.png,2\n")
    with pytest.raises(SettingError, match="must say whether higher"):
        load_dataset(path)
    dataset = load_dataset(path, direction="lower")
    np.testing.assert_array_equal(dataset.quality, [-3, -1, -2])


def test_own_labels_may_have_parts_and_groups(photos: Path) -> None:
    path = photos / "labels.csv"
    path.write_text(
        "img_path,gt_score,split,subset,scene,group\na.b.jpg,3,training,Phone,Sea,p1\nd.jpg,1,Test,SLR,Sea,p1\n"
        "sub dir/c.png,2,test,SLR,,\n"
    )
    assert [item.name for item in load_dataset(path, subset="slr").items] == ["d.jpg", "sub dir/c.png"]
    assert len(load_dataset(path, subset="train")) == 1
    assert len(load_dataset(path, subset="test")) == 2
    dataset = load_dataset(path)
    assert [item.scene for item in dataset.items] == ["Sea", "Sea", ""]
    assert dataset.groups is not None
    assert dataset.groups.tolist() == ["p1", "p1", "sub dir/c.png"]


def test_own_labels_may_be_absolute_paths_or_windows_ones(photos: Path) -> None:
    path = photos / "labels.csv"
    path.write_text("img_path,gt_score\nsub dir\\c.png,2\nd.jpg,1\na.b.jpg,3\n")
    assert load_dataset(path).items[0].path == "sub dir/c.png"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file,stars\na.jpg,1\n", r"needs a column of image names .* and one of scores .*found \['file', 'stars'\]"),
        ("", "is empty; its first line names the columns"),
        ("img_path,gt_score\n", "found no rows"),
        ("img_path,gt_score\na.b.jpg,1\na.b.jpg,2\n", "2 times, with the scores"),
    ],
)
def test_own_labels_that_cannot_be_read(content: str, message: str, photos: Path) -> None:
    path = photos / "labels.csv"
    path.write_text(content)
    with pytest.raises(SettingError, match=message):
        load_dataset(path)


def test_own_labels_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="no such label file"):
        load_dataset(tmp_path / "none.csv")
    with pytest.raises(SettingError, match="direction is known"):
        load_dataset("livec", root=tmp_path, direction="lower")
    with pytest.raises(SettingError, match=r"leave labels \(--labels\) out"):
        load_dataset(tmp_path / "none.csv", labels=tmp_path / "other.csv")


# --- the catalogue


@pytest.mark.parametrize("entry", CATALOGUE.values(), ids=lambda entry: entry.name)
def test_every_entry_says_where_from_and_whose_it_is(entry: object) -> None:
    assert entry.source
    assert entry.citation
    assert entry.licence
    assert entry.labels
    assert all(low < high for low, high in entry.scales)


def test_a_dataset_is_one_file(tmp_path: Path) -> None:
    """Done as CONTRIBUTING.md says, in a copy of the package."""
    package, photos = tmp_path / "src" / "qdebias", tmp_path / "photos"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__", "checkpoint*"))
    page = (PACKAGE.parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (package / "inputs" / "datasets" / "known" / "myphotos.toml").write_text(block.replace("count = 300", "count = 2"))
    (photos / "images").mkdir(parents=True)
    for name in ("door_1.png", "door_2.png"):
        (photos / "images" / name).touch()
    (photos / "mos.csv").write_text("image,MOS\ndoor_1.png,20\ndoor_2.png,70.5\n")
    code = (
        "import sys, qdebias; found = qdebias.load_dataset('MyPhotos', root=sys.argv[1]); "
        "print(found.mos.tolist(), [item.reference for item in found.items], found.range, found.groups is not None)"
    )
    environment = os.environ | {"PYTHONPATH": str(package.parent)}
    ran = subprocess.run(
        [sys.executable, "-c", code, photos], capture_output=True, text=True, check=True, env=environment
    )
    assert ran.stdout.split("\n")[0] == "[20.0, 70.5] ['door', 'door'] (0, 100) True"


def test_importing_loads_no_reader_of_matlab_or_excel() -> None:
    code = (
        "import sys, qdebias.inputs.datasets; "
        "print([name for name in ('scipy', 'openpyxl', 'pyarrow', 'torch', 'PIL') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
