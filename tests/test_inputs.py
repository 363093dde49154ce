"""What is typed becomes a list of images."""

from pathlib import Path

import pytest

from qdebias.errors import SettingError
from qdebias.inputs import find_inputs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.jpg", "a.PNG", "deep/er/c.webp", "notes.md", ".hidden.jpg", ".git/d.jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "empty").mkdir()
    return tmp_path


def test_a_folder_is_searched_recursively_and_sorted(folder: Path) -> None:
    assert find_inputs([str(folder)]).paths == (folder / "a.PNG", folder / "b.jpg", folder / "deep/er/c.webp")


def test_files_patterns_and_folders_mix_and_each_image_counts_once(folder: Path) -> None:
    found = find_inputs([str(folder / "deep"), str(folder / "*.jpg"), str(folder / "b.jpg")])
    assert found.paths == (folder / "deep/er/c.webp", folder / "b.jpg")
    assert found.failures == ()


def test_a_named_file_is_tried_whatever_its_name(folder: Path) -> None:
    assert find_inputs([str(folder / "notes.md")]).paths == (folder / "notes.md",)


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(folder: Path) -> None:
    (folder / "x[1].jpg").touch()
    assert find_inputs([str(folder / "x[1].jpg")]).paths == (folder / "x[1].jpg",)


def test_what_holds_no_image_is_a_failure_beside_the_rest(folder: Path) -> None:
    found = find_inputs([str(folder / "b.jpg"), str(folder / "empty"), str(folder / "*.bmp"), str(folder / "gone.jpg")])
    assert found.paths == (folder / "b.jpg", folder / "gone.jpg")
    assert [failure.error for failure in found.failures] == [
        f"{folder / 'empty'}: no image in this folder",
        f"{folder / '*.bmp'}: no file matches this pattern",
    ]


@pytest.mark.parametrize("name", ["empty", "gone.jpg", "*.bmp"])
def test_nothing_at_all_is_the_users_mistake(name: str, folder: Path) -> None:
    with pytest.raises(SettingError, match="nothing to score: "):
        find_inputs([str(folder / name)])
