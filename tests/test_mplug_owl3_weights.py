"""Checkpoints of mPLUG-Owl3: names and shapes of the 7B model, what is accepted, and what is refused with its name."""

import json
import shutil
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from contract import pair
from qdebias.backends.hf.backend import HfBackend
from qdebias.backends.hf.loading import load_hf
from qdebias.backends.mplug_owl3.modeling import FIRST, LATER, MplugOwl3Config
from qdebias.backends.verify import verify
from qdebias.errors import BackendError, MissingPackageError, SettingError
from tiny_mplug_owl3 import checkpoint, empty_of, entries_7b

GOLDEN = Path(__file__).parent / "golden" / "mplug_owl3"
LAYER = "language_model.model.layers.{}.self_attn."


@pytest.mark.parametrize(("file", "gate"), [("240728", "static"), ("240728_headgate", "head"), ("241101", "none")])
def test_the_7b_model_has_the_official_names_and_shapes(file: str, gate: str) -> None:
    shapes = json.loads((GOLDEN / f"state_dict_7b_{file}.json").read_text())
    release = LATER if gate == "none" else FIRST
    model = empty_of(entries_7b(release, vocab_size=shapes["language_model.lm_head.weight"][0]), gate)
    assert {name: list(tensor.shape) for name, tensor in model.state_dict().items()} == shapes
    config = MplugOwl3Config.from_dict(entries_7b(release))
    config.fit({name: tuple(shape) for name, shape in shapes.items()})
    hyper = [6, 14, 22, 25] if gate == "none" else [0, 8, 16, 24]
    assert (config.release, config.gate, config.hyper) == (release, gate, hyper)


def test_the_real_config_is_read(shared: Path) -> None:
    config = MplugOwl3Config.from_dict(json.loads((shared / "qwen2_tokenizer" / "config.json").read_text()))
    assert (config.hidden_size, config.num_hidden_layers, config.hyper_layers) == (3584, 28, [7, 15, 23, 26])
    assert (config.vision.image_size, config.vision.num_hidden_layers) == (378, 27)
    assert (config.rope_parameters["rope_theta"], config.vocab_size) == (1e6, 151651)


def test_the_official_crop_of_384_pixels_leaves_a_rest() -> None:
    model = empty_of(entries_7b(FIRST, num_hidden_layers=1, hyper_layers=[1]), "static")
    assert model.image_tokens(torch.empty(1, 3, 384, 384, device="meta")).shape == (1, 729, 1152)


def load(folder: Path, **options: Any) -> HfBackend:
    return load_hf(folder, **({"device": "cpu", "dtype": "float32"} | options))


def copy(folder: Path, gate: str = "static") -> Path:
    """Return a copy of a checkpoint with one file of weights, to be spoilt."""
    source = checkpoint(gate)
    weights: dict[str, torch.Tensor] = {}
    for path in source.glob("*.safetensors"):
        weights |= load_file(path)
    for path in source.glob("*.json"):
        if "index" not in path.name:
            shutil.copy(path, folder / path.name)
    save_file(weights, folder / "model.safetensors")
    return folder


def change(folder: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(folder / "model.safetensors")
    edit(weights)
    save_file(weights, folder / "model.safetensors")


def edit_config(folder: Path, **entries: Any) -> None:
    content = json.loads((folder / "config.json").read_text()) | entries
    (folder / "config.json").write_text(json.dumps({name: entry for name, entry in content.items() if entry != "drop"}))


def refused(folder: Path, match: str, **options: Any) -> None:
    with pytest.raises(BackendError, match=match):
        load(folder, **options)


def test_weights_that_are_never_used_may_be_missing(tmp_path: Path) -> None:
    folder = copy(tmp_path)
    request = pair(1, 2)
    want = load(folder).option_logits([request])
    unused = ("vision_model.head.", "vision_model.post_layernorm.", "vision_model.encoder.layers.2.")

    def thin(weights: dict[str, torch.Tensor]) -> None:
        for name in [name for name in weights if name.startswith(unused)]:
            del weights[name]
        weights["language_model.model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)

    change(folder, thin)
    got = load(folder).option_logits([request])
    np.testing.assert_array_equal(got, want)
    keys = verify(folder, {}, lambda *_: {}, device="cpu")["keys"]
    assert (keys["missing"], keys["surplus"], keys["wrong_shape"]) == ([], [], [])
    assert all(name.startswith(unused) for name in keys["absent_but_never_used"])
    assert len(keys["absent_but_never_used"]) == 11 + 2 + 16
    assert keys["never_used"] == ["language_model.model.layers.0.self_attn.rotary_emb.inv_freq"]


def test_missing_surplus_and_misshapen_weights_are_named(tmp_path: Path) -> None:
    folder = copy(tmp_path)
    name = "language_model.model.layers.2.mlp.up_proj.weight"
    change(folder, lambda weights: weights.update({name: weights[name][:-1].clone()}))
    refused(folder, rf"weight '{name}' has shape \(63, 56\), but \(64, 56\) by config.json")
    change(folder, lambda weights: weights.pop(name))
    refused(folder, rf"the weights lack 1 tensors of the model, such as '{name}'")
    copy(folder)
    change(folder, lambda weights: weights.update({"vision_model.adapter.weight": torch.zeros(2)}))
    refused(folder, r"does not use, such as 'vision_model.adapter.weight'")
    copy(folder)
    change(folder, lambda weights: weights.update({name: torch.zeros(64, 56, dtype=torch.int8)}))
    refused(folder, rf"weight '{name}' holds integers")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"gate_mlp.weight": (56, 8)}, r"gate of this checkpoint is unknown: .*gate_mlp.weight"),
        ({"gate_proj.0.weight": (8, 8)}, r"gate of this checkpoint is unknown: .*gate_proj.0.weight"),
        ({"gate": (1,)}, r"layers.0.self_attn.gate' has shape \(1,\), but \(56,\)"),
        ({}, r"has the gate 'none' and below vision2text_model. the weights \['bias', 'weight'\]"),
    ],
)
def test_a_gate_that_is_not_known_is_refused(tmp_path: Path, names: dict[str, Any], message: str) -> None:
    folder = copy(tmp_path)

    def swap(weights: dict[str, torch.Tensor]) -> None:
        for layer in (0, 3, 5):
            del weights[LAYER.format(layer) + "gate"]
            weights.update({LAYER.format(layer) + name: torch.zeros(shape) for name, shape in names.items()})

    change(folder, swap)
    refused(folder, message)


def test_gates_have_to_be_the_same_in_all_hyper_layers(tmp_path: Path) -> None:
    folder = copy(tmp_path)
    change(folder, lambda weights: weights.pop(LAYER.format(3) + "gate"))
    refused(folder, r"gate of this checkpoint is unknown: .*3: \[\]")
    copy(folder)
    change(folder, lambda weights: weights.update({LAYER.format(1) + "gate": torch.zeros(56)}))
    refused(folder, r"layers.1.self_attn.gate: a gate in a layer that reads no images")


def test_hyper_layers_follow_the_weights(tmp_path: Path) -> None:
    folder = copy(tmp_path)
    want = load(folder).option_logits([pair(1, 2)])
    edit_config(folder, hyper_layers="drop")
    np.testing.assert_array_equal(load(folder).option_logits([pair(1, 2)]), want)
    edit_config(folder, hyper_layers=[0, 3, 5])
    refused(folder, r"config.json names the hyper layers \[-1, 2, 4\] \(from 0\).* lie in \[0, 3, 5\]")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"hidden_size": "drop"}, "has no entry 'hidden_size'"),
        (
            {"model_type": "qwen2", "architectures": []},
            "a model of type 'qwen2' does not answer questions about images",
        ),
        ({"tie_word_embeddings": True}, "tie_word_embeddings is True; only False is supported"),
        ({"rope_scaling": {"type": "yarn"}}, "rope_scaling is .* only None is supported"),
        ({"num_attention_heads": 5}, "56 channels do not divide into 5 heads"),
        ({"vision_config": {"hidden_act": "relu"}}, "hidden_act is 'relu'"),
        ({"num_hidden_layers": "many"}, "config.json is not usable .*num_hidden_layers"),
        ({"vocab_size": 20}, "the model only 20"),
    ],
)
def test_a_config_that_is_not_understood_is_refused(tmp_path: Path, entries: dict[str, Any], message: str) -> None:
    folder = copy(tmp_path)
    edit_config(folder, **entries)
    refused(folder, message)


def test_damaged_folders_are_refused_in_one_line(tmp_path: Path) -> None:
    refused(tmp_path, "has no config.json")
    folder = copy(tmp_path)
    (folder / "model.safetensors").rename(folder / "elsewhere")
    refused(folder, "holds no weights")
    (folder / "elsewhere").rename(folder / "model.safetensors")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-100])
    refused(folder, r"model.safetensors: is damaged, truncated, or only a Git LFS pointer")
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    refused(folder, r"model.safetensors: is damaged")
    (folder / "model.safetensors").write_bytes(whole)
    (folder / "config.json").write_text("{")
    refused(folder, r"config.json: cannot be read")
    for spoilt in (
        "{}",
        "[]",
        "{",
        '{"model": {"type": "Unigram"}}',
        '{"model": {"type": "BPE", "vocab": 1, "merges": 1}}',
    ):
        copy(folder)
        (folder / "tokenizer.json").write_text(spoilt)
        refused(folder, "the vocabulary cannot be read")
    copy(folder)
    (folder / "tokenizer.json").unlink()
    refused(folder, "holds no vocabulary")


def test_index_and_shards_have_to_agree(tmp_path: Path) -> None:
    folder = tmp_path / "owl"
    shutil.copytree(checkpoint("static"), folder)
    index = folder / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    name, file = next(iter(content["weight_map"].items()))

    def write(weight_map: dict[str, str]) -> None:
        index.write_text(json.dumps(content | {"weight_map": content["weight_map"] | weight_map}))

    write({"extra.weight": file})
    refused(folder, rf"weight extra.weight: the index says it lies in {file}, but it does not")
    write({name: "model-00003-of-00003.safetensors"})
    refused(folder, rf"weight {name}: lies in {file}, but not by the index")
    write({name: "model-00004-of-00003.safetensors"})
    refused(folder, "model-00004-of-00003.safetensors: this file of weights is missing")
    write({name: "../../etc/weights"})
    refused(folder, "outside the folder")
    index.write_text("[]")
    refused(folder, "is not an index of weights")
    index.unlink()
    shutil.copy(folder / file, folder / "z.safetensors")
    refused(folder, r"lies in model-00001-of-00003.safetensors and in z.safetensors")


def test_pickles_are_read_and_never_run(tmp_path: Path) -> None:
    folder = copy(tmp_path)
    want = load(folder).option_logits([pair(1, 2)])
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    got = load(folder).option_logits([pair(1, 2)])
    np.testing.assert_array_equal(got, want)
    torch.save({"run": print}, folder / "pytorch_model.bin")
    refused(folder, "pytorch_model.bin: a weight file holds more than weights, and that is never run")


def test_settings_that_are_impossible_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = checkpoint("static")
    for options, message in (
        ({"device": "abacus"}, "device 'abacus' is unknown"),
        ({"device": "cuda:9"}, "torch sees . CUDA devices"),
        ({"dtype": "float8", "device": "cpu"}, "dtype 'float8' is unknown"),
        ({"cut": "thin", "device": "cpu"}, "no cut mode 'thin'"),
        ({"device": "cpu", "device_map": "balanced"}, "not both"),
        ({"device_map": "fair"}, "device_map is 'balanced' or a mapping"),
        ({"device_map": {"vision_model": "cpu"}}, "says nothing about"),
        ({"images_at_once": -1, "device": "cpu"}, "must be 1 or more, got None and -1"),
        ({"quantize": "2bit", "device": "cpu"}, "quantize '2bit' is unknown"),
    ):
        with pytest.raises(SettingError, match=message):
            load_hf(folder, **options)  # type: ignore[arg-type]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SettingError, match="device_map 'balanced' needs CUDA devices"):
        load_hf(folder, device_map="balanced")
    monkeypatch.setattr("qdebias.backends.hf.pretrained.free_memory", lambda _: 1000)
    refused(folder, r"the weights take 0.0 GiB on cpu, which has 0.0 GiB left; choose dtype 'bfloat16', quantize")
    monkeypatch.setattr("qdebias.backends.hf.pretrained.free_memory", lambda _: None)
    load(folder)


def test_parts_can_be_placed_one_by_one() -> None:
    folder = checkpoint("head")
    spread = load(folder, device=None, device_map={"": "cpu", "language_model.model.layers.1": "cpu"})
    want = load(folder).option_logits([pair(1, 2)])
    np.testing.assert_array_equal(spread.option_logits([pair(1, 2)]), want)


def test_quantized_loading_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qdebias.backends.hf.devices.importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingPackageError, match=r'pip install "qdebias\[quantize\]"'):
        load(checkpoint("static"), quantize="4bit")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("quantize", ["8bit", "4bit"])
def test_quantized_models_answer_nearly_the_same(quantize: str) -> None:
    folder = checkpoint("static", "wide")
    want = load(folder).last_logits([pair(1, 2), pair(3, 4)])
    backend = load(folder, quantize=quantize)
    assert backend.fingerprint.identity["quantize"] == quantize
    got = backend.last_logits([pair(1, 2), pair(3, 4)])
    for one, other in zip(chain(*want), chain(*got), strict=True):
        assert 0 < np.abs(one - other).max() < 1.5
        assert np.corrcoef(one, other)[0, 1] > 0.9
