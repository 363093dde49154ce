"""Grouping similar photographs, and keeping the best of each group."""

import csv
import json
from datetime import datetime
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from qdebias.cli.app import app
from qdebias.curation.burst import MOST_ROWS, Shot, draw_sheet, find_groups
from qdebias.image import MAX_PIXELS, RgbImage, load_image, load_preview
from qdebias.inputs import find_inputs

EXAMPLES = Path(__file__).resolve().parent.parent / "examples" / "photos"


def call(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["burst", *(str(argument) for argument in arguments)])
    assert result.exit_code == code, result.output
    return result.stdout if code < 2 else result.output


def shots(pixels: RgbImage) -> dict[str, RgbImage]:
    """Return three shots of a scene, each cropped elsewhere: as it is, a stop darker, and out of focus."""
    height, width = pixels.shape[:2]
    above, left = height // 15, width // 15
    dark = np.round(255 * ((pixels[above:, left:] / 255) ** 2.2 / 2) ** (1 / 2.2)).astype(np.uint8)
    blurred = np.asarray(cv2.GaussianBlur(pixels[above:, :-left], (0, 0), 3), dtype=np.uint8)
    return {"sharp": pixels[:-above, :-left], "dark": dark, "blurred": blurred}


def save(pixels: RgbImage, path: Path, taken: datetime | None = None) -> None:
    exif = Image.Exif()
    if taken is not None:
        exif.get_ifd(0x8769)[0x9003] = taken.strftime("%Y:%m:%d %H:%M:%S")
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=95, exif=exif)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two scenes of three shots, one photograph alone, and a letter."""
    folder = tmp_path / "photos"
    scenes = [load_image(EXAMPLES / name) for name in ("mountain.jpg", "dogs.jpg", "fig.jpg")]
    for number, scene in enumerate(scenes[:2]):
        for kind, pixels in shots(scene).items():
            save(pixels, folder / str(number) / f"{kind}.jpg")
    save(scenes[2], folder / "alone.jpg")
    (folder / "letter.png").write_text("Dear reader,")
    return folder


def groups_of(folder: Path, seconds: float = 60) -> list[set[str]]:
    found, errors = find_groups(find_inputs([str(folder)]).paths, seconds=seconds, max_pixels=MAX_PIXELS)
    assert not errors
    return [{path.stem for path in group} for group in found]


def test_shots_of_a_scene_are_a_group_and_different_scenes_are_not(shared: Path, tmp_path: Path) -> None:
    files = sorted((shared / "photos" / "bsds500").rglob("*.jpg"))[:240:20]
    wanted = []
    for number, file in enumerate(files):
        for kind, pixels in shots(load_image(file)).items():
            save(pixels, tmp_path / f"{number:02}-{kind}.jpg")
        wanted.append({f"{number:02}-{kind}" for kind in ("sharp", "dark", "blurred")})
    assert len(wanted) == 12
    assert groups_of(tmp_path) == wanted


def test_plain_pictures_are_like_nothing(tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    for number, level in enumerate((0, 0, 90, 255)):
        grain = noise.integers(-1, 2, (200, 300, 3)) if level else 0
        save(np.clip(np.full((200, 300, 3), level) + grain, 0, 255).astype(np.uint8), tmp_path / f"{number}.jpg")
    assert groups_of(tmp_path) == [{"0"}, {"1"}, {"2"}, {"3"}]


def test_capture_times_part_what_looks_alike(tmp_path: Path) -> None:
    pixels = load_image(EXAMPLES / "mountain.jpg")
    for name, second in (("a", 0), ("b", 40), ("c", 59)):
        save(pixels, tmp_path / f"{name}.jpg", datetime(2026, 5, 1, 12, 0, second))
    save(pixels, tmp_path / "d.jpg", datetime(2026, 5, 1, 12, 30))
    assert groups_of(tmp_path) == [{"a", "b", "c"}, {"d"}]
    assert groups_of(tmp_path, seconds=20) == [{"a"}, {"b", "c"}, {"d"}]
    assert groups_of(tmp_path, seconds=1801) == [{"a", "b", "c", "d"}]


def test_a_preview_is_upright_and_small(tmp_path: Path) -> None:
    picture = np.zeros((1600, 2400, 3), dtype=np.uint8)
    picture[:, 1200:] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture).save(tmp_path / "turned.jpg", exif=exif)
    pixels, taken = load_preview(tmp_path / "turned.jpg", 128)
    assert pixels.shape == (300, 200, 3)
    assert pixels[:100].mean() < 1
    assert pixels[200:].mean() > 254
    assert taken is None


def test_a_preview_of_a_lossless_jpeg_is_not_scaled(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (400, 600, 3), dtype=np.uint8)
    (tmp_path / "lossless.jpg").write_bytes(imagecodecs.jpeg8_encode(pixels, lossless=True))
    np.testing.assert_array_equal(load_preview(tmp_path / "lossless.jpg", 64)[0], load_image(tmp_path / "lossless.jpg"))


@pytest.mark.parametrize("by", ["comparison", "score"])
def test_the_command_lists_copies_and_draws(photos: Path, tmp_path: Path, by: str) -> None:
    before = sorted(photos.rglob("*"))
    out, sheet, best = tmp_path / "groups.csv", tmp_path / "groups.png", tmp_path / "best"
    asked = (photos, "--by", by, "--run", tmp_path / "run")
    text = call(*asked, "--out", out, "--sheet", sheet, "--copy-to", best, code=1)
    kept = [str(photos / name) for name in ("0/sharp.jpg", "1/sharp.jpg", "alone.jpg")]
    assert sorted(text.splitlines()) == kept
    assert sorted(path.relative_to(best).as_posix() for path in best.rglob("*.jpg")) == [
        "0/sharp.jpg",
        "1/sharp.jpg",
        "alone.jpg",
    ]
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["verdict"] for row in rows] == [*(["kept", "rejected", "rejected"] * 2), "kept", "failed"]
    assert [row["group"] for row in rows] == [*"1112223", ""]
    assert "letter.png: is not an image" in rows[-1]["error"]
    values = [float(row["value"]) for row in rows[:3]]
    assert values == sorted(values, reverse=True)
    with Image.open(sheet) as picture:
        assert picture.size == (3 * 172, 2 * 186)
    assert sorted(photos.rglob("*")) == before
    again = [json.loads(line) for line in call(*asked, "--json", "--keep", 2, code=1).splitlines()]
    assert [row["verdict"] for row in again] == [*(["kept", "kept", "rejected"] * 2), "kept", "failed"]
    assert [row["value"] for row in again[:6]] == [float(row["value"]) for row in rows[:6]]


def test_what_a_run_holds_is_not_asked_again(photos: Path, tmp_path: Path) -> None:
    asked = (photos, "--run", tmp_path / "run", "--model", "fake")
    first = call(*asked, code=1)
    answers = (tmp_path / "run" / "answers.jsonl").read_bytes()
    assert answers
    assert call(*asked, code=1) == first
    assert (tmp_path / "run" / "answers.jsonl").read_bytes() == answers


def test_copies_and_links_are_no_further_images(photos: Path) -> None:
    (photos / "letter.png").unlink()
    (photos / "copy.jpg").write_bytes((photos / "alone.jpg").read_bytes())
    (photos / "link.jpg").symlink_to(photos / "copy.jpg")
    rows = [json.loads(line) for line in call(photos, "--model", "fake", "--json").splitlines()]
    assert [(Path(row["path"]).name, row["verdict"]) for row in rows if row["group"] == 3] == [
        ("alone.jpg", "kept"),
        ("copy.jpg", "rejected"),
    ]
    assert len(rows) == 8


def test_no_file_is_replaced_and_mistakes_are_told_first(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "alone.jpg").write_text("mine")
    for options, why in (
        (("--by", "size"), "--by is comparison"),
        (("--method", "vanilla"), "has no --method"),
        (("--copy-to", photos / "best"), "where the images are from"),
        (("--copy-to", tmp_path / "best"), "already exists and is not"),
        (("--copy-to", tmp_path / "x", "--move-to", tmp_path / "y"), "choose one of"),
        (("--sheet", tmp_path / "groups.jpg"), "name a .png in an existing folder"),
        (("--sheet", photos / "alone.jpg"), "name a .png"),
        (("--sheet", photos / "letter.png"), "is, or lies among, what the command reads"),
    ):
        assert why in call(photos, *options, "--model", "/no/such/model", code=2)
    assert (tmp_path / "best" / "alone.jpg").read_text() == "mine"


def test_a_sheet_has_an_end(tmp_path: Path) -> None:
    path = str(EXAMPLES / "fig.jpg")
    rows = [Shot(group=number, verdict="kept", path=path) for number in range(MOST_ROWS + 3) for _ in range(2)]
    assert draw_sheet(rows, tmp_path / "sheet.png", max_pixels=MAX_PIXELS) == 3
    assert draw_sheet(rows[:1], tmp_path / "sheet.png", max_pixels=MAX_PIXELS) == 0


@pytest.mark.parametrize("by", ["comparison", "score"])
def test_names_may_be_relative_and_odd(photos: Path, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    names = {"0/sharp.jpg": "0/[1].jpg", "0/dark.jpg": "0/{0..3}.jpg", "0/blurred.jpg": "0/a!*.jpg"}
    for old, new in names.items():
        (photos / old).rename(photos / new)
    monkeypatch.chdir(photos)
    text = call("./0/", "alone.jpg", "--by", by, "--model", "fake", "--json")
    assert {json.loads(line)["path"] for line in text.splitlines()} == {*names.values(), "alone.jpg"}
