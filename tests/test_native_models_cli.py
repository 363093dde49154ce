"""Checkpoints of the two models that run in our own code, scored by their folder from the command line."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

from evil_pickle import Evil
from qdebias.cli.app import app
from qdebias.image import RgbImage
from test_qwen_vl_checkpoint import checkpoint as qwen_vl
from tiny_mplug_owl3 import checkpoint as mplug_owl3


@pytest.mark.parametrize("spec", ["folder", "hf:folder"])
@pytest.mark.parametrize("method", ["vanilla", "paper", "paper-literal", "released"])
@pytest.mark.parametrize("model", ["mplug-owl3-240728", "mplug-owl3-241101", "qwen-vl-chat"])
def test_a_folder_is_recognised_and_scored(model: str, method: str, spec: str, photo: RgbImage, tmp_path: Path) -> None:
    Image.fromarray(photo).save(tmp_path / "photo.png")
    folder = {
        "mplug-owl3-240728": lambda: mplug_owl3("static"),
        "mplug-owl3-241101": lambda: mplug_owl3("none"),
        "qwen-vl-chat": qwen_vl,
    }[model]()
    name = spec.replace("folder", str(folder))
    command = ["score", str(tmp_path), "--model", name, "--method", method, "--device", "cpu", "--json"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    (row,) = map(json.loads, result.stdout.splitlines())
    assert 0 <= row["score"] <= 1
    assert len(row["good"]) == (1 if method == "vanilla" else 4)


def pickled(folder: Path, source: Path) -> Path:
    """Return a copy of a checkpoint with its weights in one pickle, as the hub has those of Qwen-VL."""
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.safetensors*"))
    weights = {name: tensor for path in source.glob("*.safetensors") for name, tensor in load_file(path).items()}
    torch.save(weights, folder / "pytorch_model.bin")
    return folder


@pytest.mark.parametrize("model", ["mplug-owl3", "qwen-vl-chat"])
def test_pickled_weights_need_no_option_and_score_the_same(model: str, photo: RgbImage, tmp_path: Path) -> None:
    Image.fromarray(photo).save(tmp_path / "photo.png")
    source = qwen_vl() if model == "qwen-vl-chat" else mplug_owl3("static")
    scores = []
    for folder in (source, pickled(tmp_path / "pickled", source)):
        command = ["score", str(tmp_path / "photo.png"), "--model", f"hf:{folder}", "--device", "cpu", "--json"]
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
        scores.append(json.loads(result.stdout)["score"])
    assert scores[0] == scores[1]


def test_a_pickle_with_code_is_refused_in_one_line_and_not_run(photo: RgbImage, tmp_path: Path) -> None:
    Image.fromarray(photo).save(tmp_path / "photo.png")
    folder, trace = pickled(tmp_path / "evil", qwen_vl()), tmp_path / "trace"
    torch.save({"lm_head.weight": Evil(trace)}, folder / "pytorch_model.bin")
    command = ["score", str(tmp_path / "photo.png"), "--model", f"hf:{folder}", "--device", "cpu"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2
    assert "a weight file holds more than weights, and that is never run" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not trace.exists()
