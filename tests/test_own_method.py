"""A method of one's own that tells what it asks keeps everything that follows from stored answers."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from qdebias.equations import expected
from qdebias.image import RgbImage
from qdebias.methods import presets
from qdebias.methods.method import Answers, Context, Plan, Score
from qdebias.methods.outline import QUERY, Asked, Outline, cost_of
from qdebias.methods.plan import Condition
from qdebias.prompts import VANILLA, Request
from test_cli import run


@dataclass(frozen=True, kw_only=True)
class Halves:
    """The mean of P(good) of an image and of its left half."""

    words = VANILLA.words

    def plan(self, image: RgbImage, context: Context) -> Plan:  # noqa: ARG002
        half = np.ascontiguousarray(image[:, : image.shape[1] // 2])
        requests = tuple(Request(images=(one,), questions=(VANILLA,)) for one in (image, half))
        return Plan(requests=requests, conditions=(Condition(kind="LeftHalf", image=half),))

    @property
    def outline(self) -> Outline:
        requests = tuple(Asked(images=(one,), questions=(VANILLA,)) for one in (QUERY, "left half"))
        return Outline(requests=requests, conditions=("left half",), kinds=("LeftHalf",))

    def combine(self, plan: Plan, answers: Answers) -> Score:  # noqa: ARG002
        both = [float(expected(request[0], VANILLA.values).p[0]) for request in answers]
        return Score(
            value=sum(both) / 2,
            good=np.array(both[1:]),
            same=np.empty(0),
            weight=np.ones(1),
            logits=tuple(map(tuple, answers)),
            probabilities={"good": sum(both) / 2, "poor": 1 - sum(both) / 2},
        )


OWN = Halves()
NAME = "test_own_method:OWN"


@pytest.fixture
def scored(photo: RgbImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    (tmp_path / "photos").mkdir()
    for number in range(3):
        Image.fromarray(np.roll(photo, number, axis=0)).save(tmp_path / "photos" / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    printed = run("score", "photos", "--model", "fake", "--method", NAME, "--run", "scores", "--json").stdout
    return [json.loads(line) for line in printed.splitlines()]


def test_its_scores_are_exported_without_the_images(scored: list[dict[str, object]]) -> None:
    shutil.rmtree("photos")
    rows = [json.loads(line) for line in run("export", "scores", "--json").stdout.splitlines()]
    assert [(row["score"], row["p_good"], row["method"]) for row in rows] == [
        (row["score"], row["p_good"], NAME) for row in scored
    ]
    assert len({row["score"] for row in rows}) == 3


@pytest.mark.usefixtures("scored")
def test_another_method_is_derived_from_its_answers() -> None:
    vanilla = run("score", "photos", "--model", "fake", "--method", "vanilla", "--json").stdout.splitlines()
    rows = run("export", "scores", "--method", "vanilla", "--json").stdout.splitlines()
    assert [json.loads(one)["score"] for one in rows] == [json.loads(one)["score"] for one in vanilla]


@pytest.mark.usefixtures("scored")
def test_its_report_shows_its_conditions() -> None:
    run("report", "scores", "--out", "report.html")
    page = Path("report.html").read_text()
    assert "left half" in page
    assert "data:image/jpeg;base64," in page


def test_its_cost_is_known() -> None:
    cost = cost_of(presets.get(NAME).method)
    assert cost is not None
    assert (cost.forwards, cost.encodings) == (2, 2)
