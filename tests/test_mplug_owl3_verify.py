"""The report that is sent by whoever has the published weights."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from qdebias.backends.base import Backend
from qdebias.backends.fake import FakeBackend
from qdebias.backends.load import load_backend
from qdebias.backends.verify import METHODS, verify, write_report
from qdebias.cli.app import app
from qdebias.errors import BackendError, OptionError
from qdebias.image import RgbImage
from qdebias.runs.scorer import Scorer
from tiny_mplug_owl3 import checkpoint


def score(backend: Backend, method: str, image: RgbImage) -> dict[str, Any]:
    return {"value": Scorer(backend=backend, method=method).score(image).value}


@pytest.mark.parametrize(("gate", "release"), [("static", "240728"), ("none", "241101")])
def test_report_of_a_checkpoint(gate: str, release: str, photo: RgbImage, tmp_path: Path) -> None:
    report = verify(checkpoint(gate), {"photo": photo}, score, device="cpu")
    write_report(report, tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text()) == report
    assert (tmp_path / "report.json").stat().st_size < 20_000
    assert report["refused"] is None
    assert (report["keys"]["release"], report["keys"]["gate"]) == (release, gate)
    assert report["keys"]["missing"] == report["keys"]["surplus"] == report["keys"]["wrong_shape"] == []
    assert len(report["weights"]["gates"]) == (0 if gate == "none" else 3)
    assert report["memory"]["weights"] > 100_000
    assert report["largest_difference_to_the_plain_way"] < 1e-4
    assert set(report["scores"]) == set(METHODS)
    values = [report["scores"][method]["photo"]["value"] for method in METHODS]
    assert all(0 <= value <= 1 for value in values)


def test_report_of_a_checkpoint_that_is_refused_says_what_it_holds(photo: RgbImage, tmp_path: Path) -> None:
    folder = tmp_path / "owl"
    shutil.copytree(checkpoint("static"), folder)
    name = "language_model.model.layers.0.self_attn.gate"
    path = next(path for path in folder.glob("*.safetensors") if name in load_file(path))
    weights = load_file(path)
    weights[f"{name}_mlp.0.weight"] = torch.full((4, 56), 0.25)
    save_file(weights, path)
    index = folder / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"][f"{name}_mlp.0.weight"] = path.name
    index.write_text(json.dumps(content))
    report = verify(folder, {"photo": photo}, score, device="cpu")
    assert "the gate of this checkpoint is unknown" in report["refused"]
    assert report["weights"]["telling"][f"{name}_mlp.0.weight"] == [4, 56]
    assert report["weights"]["gates"][f"{name}_mlp.0.weight"]["mean"] == 0.25
    assert report["config"]["hyper_layers"] == [1, 4, 6]
    assert "scores" not in report
    with pytest.raises(BackendError, match="no such folder"):
        verify(tmp_path / "nowhere", {}, score)


def test_a_method_that_cannot_be_asked_is_an_entry(photo: RgbImage) -> None:
    def failing(backend: Backend, method: str, image: RgbImage) -> dict[str, Any]:
        if method == "paper":
            raise OptionError("no such word")
        return score(backend, method, image)

    report = verify(checkpoint("static"), {"photo": photo}, failing, device="cpu")
    assert report["scores"]["paper"]["photo"]["error"] == "no such word"
    assert "value" in report["scores"]["vanilla"]["photo"]


def test_the_command_writes_the_report_and_refuses_what_is_no_such_model(photo: RgbImage, tmp_path: Path) -> None:
    Image.fromarray(photo).save(tmp_path / "photo.png")
    command = ["verify", str(checkpoint("static")), str(tmp_path / "photo.png"), "--out", str(tmp_path / "r.json")]
    result = CliRunner().invoke(app, [*command, "--device", "cpu"])
    assert result.exit_code == 0, result.output
    assert set(json.loads((tmp_path / "r.json").read_text())["scores"]["released"]) == {"photo.png"}
    assert CliRunner().invoke(app, ["verify", str(tmp_path), str(tmp_path / "photo.png")]).exit_code == 2


def test_released_runs_with_the_cut_of_the_authors_script_and_the_rest_as_loaded() -> None:
    backend = load_backend(f"hf:{checkpoint('static')}", device="cpu")
    assert backend.fingerprint.identity["cut"] == "off"
    assert Scorer(backend=backend, method="released").backend.fingerprint.identity["cut"] == "official-240728"
    assert Scorer(backend=backend, method="paper").backend is backend
    assert Scorer(backend=FakeBackend(), method="released").backend.fingerprint.identity["backend"] == "fake"
