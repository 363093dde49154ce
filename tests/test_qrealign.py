"""Q-ReAlign's scoring flows on a tiny random model of its family equal the official code's."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract import encode
from qdebias import presets
from qdebias.backends.base import Backend
from qdebias.backends.hf.backend import HfBackend
from qdebias.backends.hf.loading import load_hf
from qdebias.errors import PromptError, SettingError
from qdebias.image import load_image
from qdebias.inputs.video import places
from qdebias.methods.method import QDebias
from qdebias.prompts import Request
from qdebias.runs.scorer import Scorer
from test_cli import run

METHODS = {
    "readme_thought_open": "qrealign-readme+open-thought",
    "readme_thought_off": "qrealign-readme",
    "readme_closed_by_default": "qrealign-readme",
    "pyiqa_quality_thought_open": "qrealign+open-thought",
    "pyiqa_quality_closed_by_default": "qrealign",
    "pyiqa_aesthetic_closed_by_default": "qrealign-aesthetics-pyiqa",
    "toolkit_iqa": "qrealign+spaced",
    "toolkit_iaa": "qrealign-aesthetics+spaced",
    "toolkit_vqa": "qrealign-video+spaced",
}


@pytest.fixture(scope="module")
def golden() -> Path:
    return Path(__file__).resolve().parent / "golden" / "qrealign"


@pytest.fixture(scope="module")
def backends(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, bool], Backend]:
    """The model by its chat template, and whether that may open a thought."""
    found: dict[tuple[str, bool], Backend] = {}
    for template in ("chat_template.jinja", "closed_by_default.jinja"):
        folder = tmp_path_factory.mktemp("model") / template.partition(".")[0]
        shutil.copytree(golden, folder, ignore=shutil.ignore_patterns("images", "goldens.npz", "README.md"))
        shutil.copyfile(golden / template, folder / "chat_template.jinja")
        found[template, False] = load_hf(str(folder), device="cpu", dtype="float32")
        if template == "chat_template.jinja":
            options = {"enable_thinking": True}
            found[template, True] = load_hf(str(folder), device="cpu", dtype="float32", template_args=options)
    return found


def cases(golden: Path, flow: str) -> list[dict[str, Any]]:
    found = json.loads((golden / "cases.json").read_text(encoding="utf-8"))["cases"]
    return [case for case in found if case["flow"] == flow]


@pytest.mark.parametrize("flow", METHODS)
def test_every_case_of_a_flow(flow: str, golden: Path, backends: dict[tuple[str, bool], Backend]) -> None:
    name, arrays = METHODS[flow], np.load(golden / "goldens.npz")
    method = presets.get(name).method
    assert isinstance(method, QDebias)
    found = cases(golden, flow)
    assert found
    for case in found:
        backend = backends[case["template"] or "chat_template.jinja", "open-thought" in name]
        assert isinstance(backend, HfBackend)
        assert (method.quality.text, method.quality.answer_prefix.strip().removeprefix("<think>\n")) == (
            case["prompt"], case["stem"],
        )  # fmt: skip
        paths = [golden / "images" / image for image in case["images"]]
        request = Request(images=tuple(map(load_image, paths)), questions=method.questions)
        assert encode(backend, [request])[0][0].ids.tolist() == case["input_ids"]
        np.testing.assert_allclose(backend.last_logits([request])[0][0], arrays[f"logits__{case['name']}"], atol=1e-4)
        scorer = Scorer(backend=backend, method=name)
        score = scorer.score(paths[0]) if len(paths) == 1 else scorer.score_frames(paths)
        assert score.value == pytest.approx(case["score"], abs=1e-5)
        np.testing.assert_allclose(list(score.probabilities.values()), case["level_probabilities"], atol=1e-5)
        assert list(score.probabilities) == ["excellent", "good", "fair", "poor", "bad"]


def test_an_open_thought_needs_a_template_that_opens_one(
    golden: Path, backends: dict[tuple[str, bool], Backend]
) -> None:
    scorer = Scorer(backend=backends["chat_template.jinja", False], method="qrealign+open-thought")
    with pytest.raises(PromptError, match="the chat template opens none behind"):
        scorer.score(golden / "images" / "down.png")


def test_frames_are_no_conditions(golden: Path, backends: dict[tuple[str, bool], Backend]) -> None:
    scorer = Scorer(backend=backends["chat_template.jinja", False], method="paper")
    with pytest.raises(SettingError, match="a method without conditions, such as qrealign-video"):
        scorer.score_frames([golden / "images" / "down.png"])


@pytest.mark.parametrize("part", ["spaced", "open-thought"])
def test_what_stands_before_an_answer_prefix_needs_one(part: str) -> None:
    with pytest.raises(SettingError, match="have no answer prefix"):
        presets.get(f"released+{part}")


def test_a_folder_of_frames_is_one_row(golden: Path, tmp_path: Path) -> None:
    (case,) = cases(golden, "toolkit_vqa")
    for number, image in enumerate(case["images"]):
        (tmp_path / "clip").mkdir(exist_ok=True)
        shutil.copyfile(golden / "images" / image, tmp_path / "clip" / f"{number}.png")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "0.png").write_text("nothing")
    out = tmp_path / "scores.csv"
    asked = ("--model", f"hf:{golden}", "--method", "qrealign-video+spaced", "--dtype", "float32", "--device", "cpu")
    got = run("frames", tmp_path / "clip", tmp_path / "bad", *asked, "--json", "--out", out)
    assert got.returncode == 1
    scored, failed = map(json.loads, got.stdout.splitlines())
    assert scored["score"] == pytest.approx(case["score"], abs=1e-5)
    assert scored["path"] == str(tmp_path / "clip")
    assert scored["p_good"] == pytest.approx(case["level_probabilities"][1], abs=1e-5)
    assert "is not an image" in failed["error"]
    assert len(out.read_text().splitlines()) == 3
    assert run("frames", tmp_path / "clip", *asked, "--count", 1).stdout != got.stdout


def test_frames_are_taken_at_equal_distances() -> None:
    assert places(25, 5) == [0, 6, 12, 18, 24]
    assert places(3, 8) == [0, 1, 2]
    assert places(25, 1) == [0]


def test_frames_need_a_method_without_conditions(golden: Path) -> None:
    got = run("frames", golden / "images", "--model", "fake", "--method", "paper")
    assert got.returncode == 2
    assert "a method without conditions" in got.stderr
