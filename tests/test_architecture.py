"""docs/architecture.md tells the life of a request as it is."""

import re
import sys
import threading
from pathlib import Path
from types import FrameType

import pytest
from PIL import Image

import qdebias
from qdebias.image import RgbImage
from test_cli import run

ROOT = Path(qdebias.__file__).parent
PAGE = (Path(__file__).parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")
LIFE = PAGE.partition("## The life of a request\n")[2].partition("\n## ")[0]
STEPS = [" ".join(step.split()) for step in re.split(r"^\d+\. ", LIFE, flags=re.MULTILINE)[1:]]
NAMED = [(file, name) for step in STEPS for file, name in re.findall(r"`([\w/]+\.py)` `([\w.]+)`", step)]


def test_the_life_of_a_request_has_at_most_ten_steps_and_each_names_its_place() -> None:
    assert 5 <= len(STEPS) <= 10
    assert all(re.search(r"`[\w/]+\.py` `[\w.]+`", step) for step in STEPS)


def test_every_function_that_is_named_is_called_in_this_order(
    photo: RgbImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[tuple[str, str]] = []

    def watch(frame: FrameType, event: str, _: object) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(ROOT):
            called.append((path.relative_to(ROOT).as_posix(), frame.f_code.co_qualname))

    Image.fromarray(photo).save(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    run("score", "photo.png", "--model", "fake")  # so that nothing has to be compiled while it is watched
    threading.setprofile(watch)
    sys.setprofile(watch)
    try:
        got = run("score", "photo.png", "--model", "fake", "--run", "scores")
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    assert got.returncode == 0, got.stderr
    missing = [f"{file} {name}" for file, name in NAMED if (file, name) not in called]
    assert not missing, f"not called, or not there: {missing}"
    first = [called.index(place) for place in NAMED]
    assert first == sorted(first), sorted(zip(first, NAMED, strict=True))
