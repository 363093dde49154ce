"""Checkpoints of the two models that run in our own code, scored by their folder from the command line."""

import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from qdebias.backends.mplug_owl3.variant import Gate
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
        "mplug-owl3-240728": lambda: mplug_owl3(Gate.STATIC),
        "mplug-owl3-241101": lambda: mplug_owl3(Gate.NONE),
        "qwen-vl-chat": qwen_vl,
    }[model]()
    name = spec.replace("folder", str(folder))
    command = ["score", str(tmp_path), "--model", name, "--method", method, "--device", "cpu", "--json"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    (row,) = map(json.loads, result.stdout.splitlines())
    assert 0 <= row["score"] <= 1
    assert len(row["good"]) == (1 if method == "vanilla" else 4)
