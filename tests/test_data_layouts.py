"""The official layouts with all their traps, rebuilt with made-up scores and empty image files."""

import os
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from qdebias.errors import SettingError
from qdebias.inputs.datasets import Dataset, load_dataset


def fill(root: Path, *names: str) -> None:
    """Create empty files: loading looks for images, it does not open them."""
    for folder in {(root / name).parent for name in names}:
        folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        os.close(os.open(root / name, os.O_CREAT))


def write(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def cells(values: list[str]) -> np.ndarray:
    array = np.empty((len(values), 1), dtype=object)
    array[:, 0] = values
    return array


def scores(dataset: Dataset) -> dict[str, float]:
    return {item.name: item.mos for item in dataset.items}


def make_livec(root: Path) -> dict[str, float]:
    """Write ChallengeDB_release as it unpacks: 7 training images in a folder of their own, listed by bare name."""
    names = [f"t{number}.bmp" for number in range(1, 8)]
    names += [f"{number}.{'bmp' if number % 2 else 'JPG'}" for number in range(3, 1165)]
    values = np.random.default_rng(0).uniform(4, 92, size=(1, 1169))
    (root / "Data").mkdir(parents=True)
    savemat(root / "Data/AllImages_release.mat", {"AllImages_release": cells(names)})
    savemat(root / "Data/AllMOS_release.mat", {"AllMOS_release": values})
    savemat(root / "Data/AllStdDev_release.mat", {"AllStdDev_release": values})
    fill(root, *(f"Images/trainingImages/{name}" for name in names[:7]), *(f"Images/{name}" for name in names[7:]))
    return dict(zip(names, values.ravel().tolist(), strict=True))


@pytest.mark.parametrize("nesting", ["", "ChallengeDB_release", "ChallengeDB_release/ChallengeDB_release"])
def test_livec_as_unpacked(nesting: str, tmp_path: Path) -> None:
    want = make_livec(tmp_path / nesting)
    dataset = load_dataset("livec", root=tmp_path)
    assert scores(dataset) == want
    assert len(dataset) == 1169
    assert dataset.items[0].path == "/".join(part for part in (nesting, "Images/trainingImages/t1.bmp") if part)
    assert dataset.label_variant == "official .mat"
    assert [item.subset for item in dataset.items[6:8]] == ["training", "main"]
    assert len(load_dataset("livec", root=tmp_path, subset="training")) == 7


def test_livec_needs_its_names_beside_its_scores(tmp_path: Path) -> None:
    make_livec(tmp_path)
    (tmp_path / "Data/AllImages_release.mat").unlink()
    with pytest.raises(SettingError, match=r"AllImages_release\.mat"):
        load_dataset("livec", root=tmp_path)


def test_the_column_mos_of_koniq_means_two_scales(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = [f"{number}.jpg" for number in rng.permutation(10_073) + 1_000_000]
    fill(tmp_path, *(f"1024x768/{name}" for name in names))
    opinions = 1.1 + 3.2 * rng.random(10_073)
    header = "image_name,c1,c2,c3,c4,c5,c_total,MOS,SD"
    rows = [f"{name},0,0,0,0,0,100,{value:.6f},0.5" for name, value in zip(names, opinions, strict=True)]
    official = tmp_path / "koniq10k_scores_and_distributions.csv"
    write(official, header + ",MOS_zscore", *(f"{row},50" for row in rows))
    assert load_dataset("koniq10k", root=tmp_path).range == (1, 5)
    splits = ["training"] * 7058 + ["validation"] * 1000 + ["test"] * 2015
    rows = [
        f"{name},0,0,0,0,0,100,{20 * value:.6f},0.5,{split}"
        for name, value, split in zip(names, opinions, splits, strict=True)
    ]
    write(tmp_path / "koniq10k_distributions_sets.csv", header + ",set", *rows)
    dataset = load_dataset("koniq10k", root=tmp_path)
    assert dataset.range == (0, 100)
    assert "0 to 100" in dataset.label_variant
    by_hand = load_dataset("koniq10k", root=tmp_path, labels=official)
    assert by_hand.range == (1, 5)
    assert "1 to 5" in by_hand.label_variant
    with pytest.raises(SettingError, match=r"no image of subset 'test'"):
        load_dataset("koniq10k", root=tmp_path, labels=official, subset="test")


def test_two_resolutions_of_koniq_never_mix(tmp_path: Path) -> None:
    write(tmp_path / "koniq10k_scores_and_distributions.csv", "image_name,MOS", "1.jpg,3.0", "2.jpg,3.5", "3.jpg,2.0")
    fill(tmp_path, "1024x768/1.jpg", "512x384/1.jpg", "512x384/2.jpg", "512x384/3.jpg")
    dataset = load_dataset("koniq10k", root=tmp_path, subset="sample")
    assert [item.path for item in dataset.items] == ["1024x768/1.jpg"]
    assert dataset.image_folders == ("1024x768",)


def test_kadid_has_references_among_its_images_and_they_are_not_scored(tmp_path: Path) -> None:
    rows = [f"I{r:02d}_{d:02d}_{k:02d}.png" for r, d, k in product(range(1, 82), range(1, 26), range(1, 6))]
    write(tmp_path / "dmos.csv", "dist_img,ref_img,dmos,var", *(f"{row},{row[:3]}.png,{row[8]}.00,0.3" for row in rows))
    fill(tmp_path, *(f"images/{row}" for row in rows), *(f"images/I{r:02d}.png" for r in range(1, 82)))
    dataset = load_dataset("kadid10k", root=tmp_path)
    assert len(dataset) == 10_125
    assert dataset.complete
    assert dataset.direction == "higher"
    assert {item.reference for item in dataset.items} == {f"i{r:02d}" for r in range(1, 82)}
    write(tmp_path / "dmos.csv", "dist_img,ref_img,dmos,var", "I01.png,I01.png,5.0,0.3")
    with pytest.raises(SettingError, match=r"row 1: 'I01\.png' is not how KADID-10k names its images"):
        load_dataset("kadid10k", root=tmp_path, subset="sample")


def test_spaq_workbooks_give_scores_and_scenes(tmp_path: Path) -> None:
    import openpyxl

    names = [f"{number:05d}.jpg" for number in range(1, 41)]
    folder = tmp_path / "Annotations"
    folder.mkdir()
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet()
    sheet.append(["Image name", "MOS", "Brightness", "Colorfulness", "Contrast", "Noisiness", "Sharpness"])
    for number, name in enumerate(names):
        sheet.append([name, 2 + number % 95, 50, 50, 50, 50, 50])
    book.save(folder / "MOS and Image attribute scores.xlsx")
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet()
    sheet.append(["Image name", "Animal", "Human", "Others"])
    for name in names:
        sheet.append([name, 0.2, 0.5, 0.3])
    book.save(folder / "Scene category labels.xlsx")
    fill(tmp_path, *(f"TestImage/{name}" for name in names))
    dataset = load_dataset("spaq", root=tmp_path, subset="sample")
    assert len(dataset) == 40
    assert dataset.items[0].mos == 2
    assert {item.scene for item in dataset.items} == {"Human"}


@pytest.mark.parametrize("shape", ["vector", "columns", "rows"])
def test_siqad_matrices_of_any_orientation(shape: str, tmp_path: Path) -> None:
    by_reference = 24 + np.arange(980).reshape(20, 49) * 0.05
    matrix = {"vector": by_reference.reshape(1, -1), "columns": by_reference.T, "rows": by_reference}[shape]
    savemat(tmp_path / "DMOS_SIQAD.mat", {"DMOS": matrix})
    fill(tmp_path, *(f"DistortedImages/cim{r}_{d}_{k}.bmp" for r, d, k in product(range(1, 21), *[range(1, 8)] * 2)))
    dataset = load_dataset("siqad", root=tmp_path)
    assert scores(dataset)["cim1_1_2.bmp"] == pytest.approx(by_reference[0, 1])
    assert scores(dataset)["cim2_1_1.bmp"] == pytest.approx(by_reference[1, 0])
    assert scores(dataset)["cim20_7_7.bmp"] == pytest.approx(by_reference[19, 48])
    assert dataset.direction == "lower"
    np.testing.assert_array_equal(dataset.quality, -dataset.mos)
    assert "none of the known versions" in dataset.label_variant


def test_siqad_with_negated_labels_is_higher_is_better(tmp_path: Path) -> None:
    names = [f"cim{r}_{d}_{k}.bmp" for r, d, k in product(range(1, 21), *[range(1, 8)] * 2)]
    fill(tmp_path, *(f"DistortedImages/{name}" for name in names))
    rows = ",".join(f'{{"img_path": "{name}", "gt_score": {-30 - number / 20}}}' for number, name in enumerate(names))
    write(tmp_path / "SIQAD.json", f"[{rows}]")
    dataset = load_dataset("siqad", root=tmp_path)
    assert dataset.direction == "higher"
    assert dataset.range == (-100, 0)


def test_biq2021_has_empty_columns_and_a_name_in_other_case(tmp_path: Path) -> None:
    names = [f"ss0{part} ({number}).jpg" for part, size in ((1, 2000), (2, 2000), (3, 8000)) for number in range(size)]
    fill(tmp_path, *(f"Images/{name}" for name in names if name != "ss02 (1014).jpg"), "Images/ss02 (1014).JPG")
    train, test = names[:10_000], names[10_000:]
    write(tmp_path / "Train (Images and MOS).csv", "Image Name,MOS,,", *(f"{name},0.5,," for name in train))
    write(tmp_path / "Test (Images and MOS).csv", "Image Name,MOS", *(f"{name},0.25" for name in test))
    dataset = load_dataset("biq2021", root=tmp_path)
    assert dataset.complete
    assert "Images/ss02 (1014).JPG" in {item.path for item in dataset.items}
    assert [item.split for item in dataset.items] == ["train"] * 10_000 + ["test"] * 2_000
    assert [item.subset for item in dataset.items] == ["ss01"] * 2_000 + ["ss02"] * 2_000 + ["ss03"] * 8_000


def test_tid2013_names_are_found_in_any_case(tmp_path: Path) -> None:
    names = [f"i{r:02d}_{d:02d}_{k}.bmp" for r, d, k in product(range(1, 26), range(1, 25), range(1, 6))]
    write(tmp_path / "mos_with_names.txt", *(f"{number / 500:.5f} {name}" for number, name in enumerate(names)))
    changed = [name.upper() if number % 3 else name.replace("i", "I") for number, name in enumerate(names)]
    fill(tmp_path, *(f"distorted_images/{name}" for name in changed))
    dataset = load_dataset("tid2013", root=tmp_path)
    assert dataset.complete
    assert dataset.items[1].path == "distorted_images/I01_01_2.BMP"
    assert dataset.items[1].mos == 0.002


@pytest.mark.parametrize("file", ["dmos_realigned.mat", "dmos.mat"])
def test_live_leaves_out_its_references(file: str, tmp_path: Path) -> None:
    folders = {"jp2k": (227, 169), "jpeg": (233, 175), "wn": (174, 145), "gblur": (174, 145), "fastfading": (174, 145)}
    names, originals = [], []
    for folder, (count, distorted) in folders.items():
        names += [f"{folder}/img{number}.bmp" for number in range(1, count + 1)]
        originals += [0] * distorted + [1] * (count - distorted)
    root = tmp_path / "databaserelease2"
    fill(root, *names)
    values = np.linspace(0, 80, len(names))
    variable = "dmos_new" if "realigned" in file else "dmos"
    savemat(root / file, {variable: values, "orgs": np.array([originals])})
    savemat(root / "refnames_all.mat", {"refnames_all": cells([f"ref{number % 29}.bmp" for number in range(982)]).T})
    dataset = load_dataset("live", root=tmp_path)
    assert len(dataset) == 779
    assert dataset.direction == "lower"
    assert len({item.group for item in dataset.items}) == 29
    kept = [(name, value) for name, value, own in zip(names, values, originals, strict=True) if not own]
    assert [(item.name, item.mos) for item in dataset.items] == kept


def test_csiq_workbook_names_are_put_together(tmp_path: Path) -> None:
    import openpyxl

    kinds = {"noise": "AWGN", "blur": "BLUR", "contrast": "contrast", "fnoise": "fnoise", "jpeg": "JPEG"}
    kinds["jpeg 2000"] = "jpeg2000"
    rows = [(r, kind, level) for r, kind, level in product(range(30), kinds, range(1, 6))]
    rows = [row for row in rows if row[1] != "contrast" or (row[2] < 5 and not (row[0] > 25 and row[2] == 4))]
    book = openpyxl.Workbook()
    sheet = book.create_sheet("all_by_image")
    for _ in range(3):
        sheet.append([None, None, None, "note"])
    sheet.append([None, None, None, "image", "dst_idx", "dst_type", "dst_lev", "dmos_std", "dmos"])
    for number, (r, kind, level) in enumerate(rows):
        sheet.append([None, None, None, 1600 if r == 0 else f"photo{r}", 1, kind, level, 0.1, number / 900])
    book.save(tmp_path / "csiq.DMOS.xlsx")
    names = [f"{1600 if r == 0 else f'photo{r}'}.{kinds[kind]}.{level}.png" for r, kind, level in rows]
    fill(tmp_path, *(f"dst_imgs/{name.split('.')[1].lower()}/{name}" for name in names))
    assert len(rows) == 866
    dataset = load_dataset("csiq", root=tmp_path)
    assert [item.name for item in dataset.items] == names
    assert dataset.items[0].path == "dst_imgs/awgn/1600.AWGN.1.png"
    assert dataset.direction == "lower"


def test_pipal_labels_lie_in_one_file_per_reference(tmp_path: Path) -> None:
    for r in range(3):
        names = [f"A{r:04d}_{d:02d}_{k:02d}.bmp" for d in range(4) for k in range(29)]
        write(tmp_path / f"Train_Label/A{r:04d}.txt", *(f"{name},{1400 + r}.5" for name in names))
        fill(tmp_path, *(f"Distortion_{1 + number % 4}/{name}" for number, name in enumerate(names)))
    dataset = load_dataset("pipal", root=tmp_path, subset="train")
    assert (len(dataset), dataset.subset_count) == (348, 23_200)
    assert len(dataset.image_folders) == 4
    assert len(dataset.label_files) == 3
    with pytest.raises(
        SettingError, match=r"348 images, but PIPAL has 24,200.*ask for a part \(--subset\): .*train \(348 of 23,200"
    ):
        load_dataset("pipal", root=tmp_path)


@pytest.mark.parametrize("folder", ["", "database", "Images", "AGIQA-3K", "AGIQA-3K/image"])
def test_agiqa3k_names_have_dots_and_its_prompts_commas(folder: str, tmp_path: Path) -> None:
    write(
        tmp_path / "data.csv",
        "name,prompt,adj1,adj2,style,mos_quality,std_quality,mos_align,std_align",
        'sd1.5_lowcorr_076.jpg,"a cat, a dog",,,,1.5,0.2,4.5,0.1',
        "xl2.2_normal_001.jpg,tea,,,,2.5,0.2,0.5,0.1",
    )
    fill(tmp_path / folder, "sd1.5_lowcorr_076.jpg", "xl2.2_normal_001.jpg")
    dataset = load_dataset("agiqa3k", root=tmp_path, subset="sample")
    assert scores(dataset) == {"sd1.5_lowcorr_076.jpg": 1.5, "xl2.2_normal_001.jpg": 2.5}
    assert [item.subset for item in dataset.items] == ["sd1.5", "xl2.2"]
    assert [item.group for item in dataset.items] == ["076", "001"]
