"""Choosing the better images, and putting them elsewhere without losing any."""

import csv
import errno
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from qdebias.backends.fake import FakeBackend
from qdebias.cli.app import app
from qdebias.curation import COPY, LINK, MOVE, Top, Way, choose, place
from qdebias.errors import SettingError
from qdebias.runs.records import GivenScore, read_scores
from qdebias.runs.scorer import Scorer


def scored(**scores: float | None) -> list[GivenScore]:
    return [
        GivenScore(path=path, score=score, error="broken" if score is None else None) for path, score in scores.items()
    ]


def names(images: Sequence[GivenScore]) -> str:
    return "".join(one.path for one in images)


IMAGES = scored(d=0.5, a=0.9, x=None, c=0.5, b=0.7, e=0.1)


@pytest.mark.parametrize(
    ("minimum", "top", "kept"),
    [
        (0.5, None, "abcd"),
        (0.51, None, "ab"),
        (2.0, None, ""),
        (None, "3", "abc"),
        (None, "100", "abcde"),
        (None, "20%", "a"),
        (None, "21%", "ab"),
        (None, "100%", "abcde"),
        (0.6, "4", "ab"),
        (0.05, "2", "ab"),
    ],
)
def test_the_best_are_kept(minimum: float | None, top: str | None, kept: str) -> None:
    found = choose(IMAGES, minimum=minimum, top=None if top is None else Top.parse(top))
    assert names(found.kept) == kept
    assert names(found.rejected) == "abcde"[len(kept) :]
    assert names(found.failed) == "x"


@given(st.permutations(IMAGES), st.integers(1, 7))
def test_the_order_in_which_images_come_decides_nothing(images: list[GivenScore], count: int) -> None:
    found, want = (choose(some, top=Top(count=count)) for some in (images, IMAGES))
    assert found == want
    assert len(found.kept) == min(count, 5)


def test_a_share_is_exact() -> None:
    assert Top.parse("10%").of(1000) == 100
    assert Top.parse("0.1%").of(3000) == 3
    assert Top.parse("7%").of(100) == 7  # 0.07 * 100 is a little more in floating point
    assert Top.parse("10%").of(0) == 0


@pytest.mark.parametrize("text", ["0", "-3", "2.5", "0%", "101%", "-5%", "%", "many", "", "nan%", "1/0%"])
def test_a_top_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(SettingError, match=r"top \(--top\) is a number of images such as 25, or a share such as 10%"):
        Top.parse(text)


def test_no_limit_is_refused() -> None:
    with pytest.raises(SettingError, match="say which images to keep"):
        choose(IMAGES)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for name in ("a.jpg", "sub/a.jpg", "sub/deep/b.jpg"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode() * 1000)
    return tmp_path / "photos"


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def images_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("way", [COPY, MOVE, LINK], ids=lambda way: way.name)
def test_images_keep_their_relative_paths(source: Path, tmp_path: Path, way: Way) -> None:
    before, target = files(source), tmp_path / "best"
    done = place(images_of(source), [source], target, way)
    assert (done.made, done.present) == (3, 0)
    assert files(target) == before
    assert files(source) == ({} if way is MOVE else before)
    assert all(path.is_symlink() == (way is LINK) for path in target.rglob("*.jpg"))


@pytest.mark.parametrize("way", [COPY, LINK], ids=lambda way: way.name)
def test_the_same_again_leaves_what_is_there(source: Path, tmp_path: Path, way: Way) -> None:
    place(images_of(source)[:1], [source], tmp_path / "best", way)
    done = place(images_of(source), [source], tmp_path / "best", way)
    assert (done.made, done.present) == (2, 1)


@pytest.mark.parametrize("way", [COPY, MOVE, LINK], ids=lambda way: way.name)
def test_nothing_is_replaced_and_nothing_is_begun(source: Path, tmp_path: Path, way: Way) -> None:
    before = files(source)
    other = tmp_path / "best" / "sub" / "deep" / "b.jpg"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"another picture")
    with pytest.raises(SettingError, match=r"b\.jpg already exists and is not .* nothing was done"):
        place(images_of(source), [source], tmp_path / "best", way)
    assert files(source) == before
    assert files(tmp_path / "best") == {"sub/deep/b.jpg": b"another picture"}


@pytest.mark.parametrize("way", [COPY, MOVE, LINK], ids=lambda way: way.name)
def test_a_file_that_appears_in_the_meantime_is_not_replaced(source: Path, tmp_path: Path, way: Way) -> None:
    new = tmp_path / "a.jpg"
    new.write_bytes(b"another picture")
    with pytest.raises(FileExistsError):
        way.make(source / "a.jpg", new)
    assert new.read_bytes() == b"another picture"
    assert (source / "a.jpg").exists()
    assert not list(tmp_path.glob(".*"))


def test_two_images_of_one_place_are_refused(source: Path, tmp_path: Path) -> None:
    named = [source / "a.jpg", source / "sub" / "a.jpg"]
    with pytest.raises(SettingError, match="would both become"):
        place(named, [], tmp_path / "best", COPY)
    assert not (tmp_path / "best").exists()
    place(named, [source / "sub", source], tmp_path / "best", COPY)
    assert list(files(tmp_path / "best")) == ["photos/a.jpg", "sub/a.jpg"]


@pytest.mark.parametrize("inner", [".", "best", "sub/../best", "alias/best"])
def test_a_target_inside_of_the_source_is_refused(source: Path, inner: str) -> None:
    (source / "alias").symlink_to(source / "sub")
    with pytest.raises(SettingError, match="where the images are from"):
        place(images_of(source), [source], source / inner, MOVE)


def test_an_image_is_never_moved_onto_itself(source: Path) -> None:
    with pytest.raises(SettingError, match="would be put where it already is"):
        place([source / "a.jpg"], [], source, MOVE)
    assert (source / "a.jpg").exists()


def test_an_image_that_is_gone_stops_everything(source: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"none\.jpg: no longer exists; nothing was done"):
        place([source / "a.jpg", source / "none.jpg"], [source], tmp_path / "best", MOVE)
    assert (source / "a.jpg").exists()


def _no_link(*_: object, **__: object) -> None:
    raise OSError(errno.EXDEV, "Invalid cross-device link")


@pytest.mark.parametrize("way", [COPY, MOVE], ids=lambda way: way.name)
def test_without_hard_links_files_are_copied(
    source: Path, tmp_path: Path, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files(source)
    monkeypatch.setattr(os, "link", _no_link)
    place(images_of(source), [source], tmp_path / "best", way)
    assert files(tmp_path / "best") == before
    assert files(source) == ({} if way is MOVE else before)
    (source / "a.jpg").write_bytes(b"new")
    with pytest.raises(FileExistsError):
        way.make(source / "a.jpg", tmp_path / "best" / "a.jpg")
    assert files(tmp_path / "best") == before


@pytest.mark.parametrize("links", [True, False])
def test_an_interrupted_move_is_completed(
    source: Path, tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files(source)
    with monkeypatch.context() as broken:
        broken.setattr(Path, "unlink", lambda *_, **__: (_ for _ in ()).throw(OSError(errno.EIO, "power is gone")))
        if not links:
            broken.setattr(os, "link", _no_link)
        with pytest.raises(SettingError, match="0 of 3 images are in place, none is lost"):
            place(images_of(source), [source], tmp_path / "best", MOVE)
    assert files(source) == before
    place(images_of(source), [source], tmp_path / "best", MOVE)
    assert files(source) == {}
    assert {name: data for name, data in files(tmp_path / "best").items() if ".partial" not in name} == before


def test_a_moved_link_becomes_the_picture(source: Path, tmp_path: Path) -> None:
    (source / "sub" / "a.jpg").unlink()
    (source / "sub" / "a.jpg").symlink_to("../a.jpg")
    place([source / "sub" / "a.jpg"], [source], tmp_path / "best", MOVE)
    assert files(tmp_path / "best") == {"sub/a.jpg": (source / "a.jpg").read_bytes()}
    assert not (tmp_path / "best" / "sub" / "a.jpg").is_symlink()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Five photographs in two folders, and a letter."""
    folder, noise = tmp_path / "photos", np.random.default_rng(5)
    (folder / "more").mkdir(parents=True)
    for number in range(5):
        picture = noise.integers(0, 256, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(picture).save(folder / ("more" if number > 2 else "") / f"{number}.png")
    (folder / "letter.png").write_text("Dear reader,")
    return folder


def call(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.stdout if code < 2 else result.output


def best_first(photos: Path) -> list[str]:
    paths = sorted(photos.rglob("?.png"))
    values = [score.value for score in Scorer(backend=FakeBackend()).score_many(paths)]
    return [str(path) for _, path in sorted(zip([-value for value in values], paths, strict=True))]


def test_the_command_lists_and_copies(photos: Path, tmp_path: Path) -> None:
    best = best_first(photos)
    asked = ("filter", photos, "--model", "fake", "--top", "40%")
    text = call(*asked, "--out", tmp_path / "lists", "--copy-to", tmp_path / "best", code=1)
    assert text.splitlines() == best[:2]
    lists = {name: read_scores(tmp_path / "lists" / f"{name}.csv") for name in ("kept", "rejected", "failed")}
    assert [[one.path for one in found] for found in lists.values()] == [
        best[:2],
        best[2:],
        [str(photos / "letter.png")],
    ]
    assert "letter.png: is not an image" in (lists["failed"][0].error or "")
    assert set(files(tmp_path / "best")) == {str(Path(path).relative_to(photos)) for path in best[:2]}
    rows = [json.loads(line) for line in call(*asked, "--json", code=1).splitlines()]
    assert [row["verdict"] for row in rows] == ["kept"] * 2 + ["rejected"] * 3 + ["failed"]


def test_a_run_and_a_file_of_scores_choose_as_scoring_does(photos: Path, tmp_path: Path) -> None:
    (photos / "letter.png").unlink()
    best = best_first(photos)
    call("score", photos, "--model", "fake", "--run", tmp_path / "run", "--out", tmp_path / "scores.parquet")
    middle = (read_scores(tmp_path / "scores.parquet")[0].score or 0) + 1e-9
    for limit in (("--top", 3), ("--min", middle)):
        wants = [call("filter", photos, "--model", "fake", *limit)]
        wants += [
            call("filter", *given, *limit)
            for given in (("--run", tmp_path / "run"), ("--scores", tmp_path / "scores.parquet"))
        ]
        assert wants[0] == wants[1] == wants[2]
    assert call("filter", "--run", tmp_path / "run", "--top", 3).splitlines() == best[:3]
    call("filter", "--scores", tmp_path / "scores.parquet", "--top", 5, "--move-to", tmp_path / "best")
    assert sorted(files(tmp_path / "best")) == ["0.png", "1.png", "2.png", "more/3.png", "more/4.png"]
    assert files(photos) == {}


def test_what_rank_or_others_wrote_is_read(tmp_path: Path) -> None:
    with (tmp_path / "ranking.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["Image", "Strength"], ["a.png", -1.5], ["b.png", 2], ["c.png", ""]])
    assert call("filter", "--scores", tmp_path / "ranking.csv", "--min", -2, code=1).splitlines() == ["b.png", "a.png"]


def test_mistakes_are_told_in_one_line(photos: Path, tmp_path: Path) -> None:
    scores = tmp_path / "scores.csv"
    scores.write_text("path,score\na.png,1")
    call("score", photos, "--run", tmp_path / "run", "--model", "fake", "--method", "vanilla", code=1)
    for arguments, why in (
        ((photos,), "say which images to keep"),
        ((photos, "--min", 3), "--min is a score in [0, 1], got 3"),
        ((photos, "--top", "few"), "top (--top) is a number of images"),
        ((tmp_path / "run", "--min", 0.5), "is a run folder; choose among its images with --run"),
        (("--min", 0.5), "name images, or a file with --scores"),
        ((photos, "--min", 0.5, "--scores", scores), "leave out the paths or --scores"),
        ((photos, "--min", 0, "--copy-to", "x", "--move-to", "y"), "choose one of"),
        ((photos, "--min", 0, "--move-to", photos / "best"), "where the images are from"),
        (("--scores", scores, "--min", 0, "--move-to", tmp_path / ".." / "x"), "no longer exists"),
    ):
        text = call("filter", *arguments, "--model", "fake", code=2)
        assert why in text.splitlines()[-1]
