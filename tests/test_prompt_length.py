"""The tokens that an image becomes, counted by the processor alone, are those that the model is run on."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from contract import encode, pair
from qdebias import presets
from qdebias.backends.hf.loading import prompt_lengths
from qdebias.cli.app import app
from qdebias.errors import SettingError
from qdebias.methods.outline import token_cost
from tiny_models import checkpoint, load


@pytest.mark.parametrize("family", ["internvl", "llava_onevision", "qwen2_vl", "gemma3", "mllama"])
def test_count_is_that_of_the_model(family: str) -> None:
    request = pair(1, 2)
    (encodings,) = encode(load(family), [request])
    (lengths,) = prompt_lengths(f"hf:{checkpoint(family)}", [request])
    assert [length.tokens for length in lengths] == [len(encoding.ids) for encoding in encodings]
    assert all(0 < length.of_images < length.tokens for length in lengths)


def test_image_beside_another_may_be_fewer_tokens() -> None:
    """LLaVA-OneVision cuts a single picture into tiles, and of several takes only the whole of each."""
    image = np.zeros((520, 768, 3), np.uint8)
    source = f"hf:{checkpoint('llava_onevision')}"
    vanilla, paper = (token_cost(presets.get(name).method, source, image) for name in ("vanilla", "paper"))
    assert (vanilla.forwards, vanilla.images) == (1, 1)
    assert (paper.forwards, paper.images) == (8, 2)
    assert paper.of_images < 8 * 2 * vanilla.of_images
    assert vanilla.tokens == vanilla.longest


def test_command_prints_a_row_for_each_method(tmp_path: Path) -> None:
    path = tmp_path / "grey.png"
    Image.new("RGB", (90, 60)).save(path)
    got = CliRunner().invoke(app, ["models", f"hf:{checkpoint('qwen2_vl')}", "--tokens", str(path)])
    assert got.exit_code == 0, got.output
    assert [line.split()[0] for line in got.stdout.splitlines()[1:3]] == ["vanilla", "paper"]
    assert "grey.png: 90 x 60." in got.stdout
    nameless = CliRunner().invoke(app, ["models", "--tokens", str(path)])
    assert nameless.exit_code == 2
    assert "--tokens needs a model" in nameless.stderr


def test_models_without_such_a_prompt_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mplugowl3"}))
    for model, words in (
        ("nano", "no prompt of tokens"),
        ("hf:owner/nowhere-to-be-found", "downloads nothing"),
        (str(tmp_path), "beside its prompt"),
    ):
        with pytest.raises(SettingError, match=words):
            prompt_lengths(model, [pair(1, 2)])
