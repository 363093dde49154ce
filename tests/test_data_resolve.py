"""Looking files up below a root, without regard to case."""

from pathlib import Path

import pytest

from qdebias.errors import SettingError
from qdebias.inputs.datasets.tree import Tree, find_images, find_labels, open_tree


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    root = tmp_path / "root"
    for name in ("Images/A (1).JPG", "Images/b.jpg", "Images/B.jpg", "Wrap/wrap/Data/Scores.CSV", "Labels/1.txt"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "jsons").mkdir()
    (tmp_path / "jsons" / "scores.json").touch()
    return open_tree(root, "things")


def test_an_exact_name_goes_before_another_case(tree: Tree) -> None:
    assert tree.find("images/b.jpg") == "Images/b.jpg"
    assert tree.find("images/B.jpg") == "Images/B.jpg"
    assert tree.find("IMAGES/a (1).jpg") == "Images/A (1).JPG"
    with pytest.raises(SettingError, match=r"'b.JPG' may be 'B.jpg' or 'b.jpg', which differ by case or accents alone"):
        tree.find("images\\b.JPG")
    assert tree.find("images/none.jpg") is None
    assert tree.find("none/b.jpg") is None


def test_wrapping_folders_are_looked_through_twice(tree: Tree) -> None:
    assert tree.wrappers(("WRAP",)) == ["", "Wrap", "Wrap/wrap"]
    assert find_labels(tree, ("wrap",), "scores.csv") == ["Wrap/wrap/Data/Scores.CSV"]
    assert find_labels(tree, (), "scores.csv") == []


def test_label_files_may_lie_beside_the_root_and_have_wildcards(tree: Tree) -> None:
    assert find_labels(tree, (), "Scores.json") == ["../jsons/scores.json"]
    assert find_labels(tree, (), "labels/*.txt") == ["Labels/1.txt"]


def test_images_come_from_one_layout_only(tree: Tree) -> None:
    found, folders = find_images(tree, (), (("none",), ("images", "labels"), ("",)), ["b.jpg", "1.txt", "c.jpg"])
    assert found == {"b.jpg": "Images/b.jpg", "1.txt": "Labels/1.txt"}
    assert folders == ("Images", "Labels")
    assert find_images(tree, (), (("none",),), ["b.jpg"]) == ({}, ())


def test_a_root_has_to_exist_and_says_what_it_holds(tree: Tree, tmp_path: Path) -> None:
    assert tree.top_level() == "Images, Labels, Wrap"
    assert tree.top_level(most=1) == "Images and 2 more"
    with pytest.raises(SettingError, match="must be the folder that holds things"):
        open_tree(tmp_path / "none", "things")
