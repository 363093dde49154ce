"""What is typed becomes a list of images."""

import glob
from pathlib import Path

import pytest

from qdebias.errors import SettingError
from qdebias.inputs import find_inputs
from qdebias.inputs.folders import pattern_names


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


@pytest.mark.parametrize(
    "pattern",
    [
        *("*.jpg", "**/*.jpg", "**/*", "**", "deep/**", "*/**/*.webp", "**/er/**/c.*", "**/**/*.webp", "./**/b.*"),
        *("**/[[]x]/*", "**/.h/*", "**/.h.jpg", "d**/*/*", "**/gone/**/*.jpg"),
    ],
)
def test_patterns_match_what_those_of_glob_do(pattern: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("deep/[x]/y.jpg", ".h/x.jpg", "deep/.h/x.jpg", "deep/.h.jpg"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    monkeypatch.chdir(folder)
    for prefix in ("", f"{glob.escape(str(folder))}/"):
        want = {str(Path(name)) for name in glob.glob(prefix + pattern, recursive=True)}  # noqa: PTH207
        want = {name for name in want if Path(name).is_file()}
        assert [name for name in pattern_names(prefix + pattern) if isinstance(name, str)] == sorted(want)


def test_patterns_do_not_follow_links_to_folders(folder: Path) -> None:
    for name in ("first", "second"):
        (folder / "deep" / name).symlink_to(".")
    assert list(pattern_names(f"{folder}/**/*.webp")) == [str(folder / "deep/er/c.webp")]
    assert list(pattern_names(f"{folder}/deep/first/**/*.webp")) == [str(folder / "deep/first/er/c.webp")]


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
