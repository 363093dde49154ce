"""Checkpoints of Qwen-VL: names and shapes of the published model, what is accepted, what is refused with its name."""

import atexit
import base64
import functools
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from contract import pair
from qdebias.backends.hf import devices
from qdebias.backends.hf.backend import HfBackend
from qdebias.backends.hf.loading import load_hf
from qdebias.backends.qwen_vl.modeling import QwenVLConfig, QwenVLForConditionalGeneration
from qdebias.backends.qwen_vl.processing import SPECIAL
from qdebias.errors import BackendError, SettingError

PUBLISHED: dict[str, Any] = {
    "architectures": ["QWenLMHeadModel"],
    "model_type": "qwen",
    "hidden_size": 4096,
    "intermediate_size": 22016,
    "kv_channels": 128,
    "layer_norm_epsilon": 1e-6,
    "max_position_embeddings": 8192,
    "no_bias": True,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "rotary_emb_base": 10000,
    "rotary_pct": 1.0,
    "scale_attn_weights": True,
    "seq_length": 2048,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "use_dynamic_ntk": True,
    "use_logn_attn": True,
    "vocab_size": 151936,
    "visual": {
        "heads": 16,
        "image_size": 448,
        "image_start_id": 151857,
        "layers": 48,
        "mlp_ratio": 4.9231,
        "output_dim": 4096,
        "patch_size": 14,
        "width": 1664,
    },
}
"""`config.json` of the published checkpoints."""

WORDS = ("good", "poor", "fair", "Good", "Poor", "Yes", "No", "image", "quality", "Picture", "The", "visual", "object")
RANKS = [*(bytes([byte]) for byte in range(256)), *(word.encode() for word in WORDS)]
RANKS += [b" " + word.encode() for word in WORDS]

TINY: dict[str, Any] = PUBLISHED | {
    "hidden_size": 128,
    "intermediate_size": 192,
    "kv_channels": 32,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "vocab_size": len(RANKS) + len(SPECIAL) + 5,
    "visual": {
        "heads": 2,
        "image_size": 84,
        "image_start_id": len(RANKS) + SPECIAL.index("<img>"),
        "layers": 2,
        "mlp_ratio": 2.5,
        "output_dim": 128,
        "patch_size": 14,
        "width": 32,
    },
}
"""The published architecture with few layers and channels, and images of 36 patches."""


@functools.cache
def checkpoint(form: str = "chat", trained: int = 2048) -> Path:
    """Return the folder of a checkpoint; it is made once, and to be copied by whoever wants to change it."""
    store = tempfile.TemporaryDirectory(prefix="qdebias-tiny-qwen-")
    atexit.register(store.cleanup)
    return build(Path(store.name) / f"qwen-vl-{form}", form, TINY | {"seq_length": trained})


def build(folder: Path, form: str, entries: dict[str, Any]) -> Path:
    """Write a checkpoint with random weights as the hub has them: bfloat16 in shards with an index."""
    folder.mkdir(parents=True)
    write_json(folder / "config.json", entries)
    write_json(folder / "generation_config.json", {"chat_format": "chatml" if form == "chat" else "raw"})
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "QWenTokenizer"})
    lines = [f"{base64.b64encode(piece).decode()} {rank}\n" for rank, piece in enumerate(RANKS)]
    (folder / "qwen.tiktoken").write_text("".join(lines))
    write_shards(folder, random_weights(config_of(folder)), 3)
    return folder


def config_of(folder: Path) -> QwenVLConfig:
    return QwenVLConfig.from_dict(json.loads((folder / "config.json").read_text()))


def empty_model(config: QwenVLConfig) -> QwenVLForConditionalGeneration:
    """Return the model without weights."""
    with torch.device("meta"):
        return QwenVLForConditionalGeneration(config)


def random_weights(config: QwenVLConfig) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    weights = {}
    for name, parameter in empty_model(config).named_parameters():
        value = torch.empty(parameter.shape).normal_(generator=generator)
        if ".ln_" in name:
            value = value / 10 + (1 if name.endswith("weight") else 0)
        elif not name.endswith(("query", "embed", "embedding", "wte.weight")):
            value = value / (value[0].numel() ** 0.5 if value.dim() > 1 else 10)
        weights[name] = value.to(torch.bfloat16)
    return weights


def write_shards(folder: Path, weights: dict[str, torch.Tensor], count: int) -> None:
    index = {}
    for shard in range(count):
        file = f"model-{shard + 1:05d}-of-{count:05d}.safetensors"
        held = dict(list(weights.items())[shard::count])
        save_file(held, folder / file)
        index |= dict.fromkeys(held, file)
    write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": index})


def write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1))


def load(folder: Path, **options: Any) -> HfBackend:
    return load_hf(folder, device="cpu", **{"dtype": "float32", **options})


def published_shapes() -> dict[str, tuple[int, ...]]:
    """Return names and shapes of the published weights, written down from the description of the architecture."""
    hidden, wide, width, deep = 4096, 11008, 1664, 8192
    shapes: dict[str, tuple[int, ...]] = {
        "lm_head.weight": (151936, hidden),
        "transformer.wte.weight": (151936, hidden),
        "transformer.ln_f.weight": (hidden,),
    }
    layer = {"ln_1.weight": (hidden,), "ln_2.weight": (hidden,), "attn.c_attn.bias": (3 * hidden,)}
    layer |= {"attn.c_attn.weight": (3 * hidden, hidden), "attn.c_proj.weight": (hidden, hidden)}
    layer |= {"mlp.w1.weight": (wide, hidden), "mlp.w2.weight": (wide, hidden), "mlp.c_proj.weight": (hidden, wide)}
    for index in range(32):
        shapes |= {f"transformer.h.{index}.{name}": shape for name, shape in layer.items()}
    visual: dict[str, tuple[int, ...]] = {"conv1.weight": (width, 3, 14, 14), "positional_embedding": (256, width)}
    visual |= {"proj": (hidden, hidden), "attn_pool.query": (256, hidden), "attn_pool.pos_embed": (256, hidden)}
    visual |= {"attn_pool.kv_proj.weight": (hidden, width), "attn_pool.attn.in_proj_weight": (3 * hidden, hidden)}
    visual |= {"attn_pool.attn.in_proj_bias": (3 * hidden,), "attn_pool.attn.out_proj.weight": (hidden, hidden)}
    visual |= {"attn_pool.attn.out_proj.bias": (hidden,)}
    for norm, size in (("ln_pre", width), ("ln_post", hidden), ("attn_pool.ln_q", hidden), ("attn_pool.ln_kv", hidden)):
        visual |= {f"{norm}.weight": (size,), f"{norm}.bias": (size,)}
    maps = (("attn.in_proj", 3 * width, width), ("attn.out_proj", width, width))
    maps += (("mlp.c_fc", deep, width), ("mlp.c_proj", width, deep))
    for index in range(48):
        block = f"transformer.resblocks.{index}."
        visual |= {f"{block}{name}.weight": (rows, columns) for name, rows, columns in maps}
        visual |= {f"{block}{name}.bias": (rows,) for name, rows, _ in maps}
        visual |= {f"{block}{norm}.{leaf}": (width,) for norm in ("ln_1", "ln_2") for leaf in ("weight", "bias")}
    return shapes | {f"transformer.visual.{name}": shape for name, shape in visual.items()}


def test_the_published_model_has_these_names_and_shapes(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", PUBLISHED)
    model = empty_model(config_of(tmp_path))
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    assert shapes == published_shapes()
    assert len(shapes) == 853
    assert sum(parameter.numel() for parameter in model.parameters()) == 9_656_935_168


def test_positions_are_stretched_by_the_length_of_the_whole_prompt(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", PUBLISHED)
    stretch = config_of(tmp_path).stretch
    assert [stretch(length) for length in (1, 600, 2048, 2049, 4096, 4097, 8192)] == [1, 1, 1, 3, 3, 7, 7]
    write_json(tmp_path / "config.json", PUBLISHED | {"use_dynamic_ntk": False})
    assert config_of(tmp_path).stretch(5000) == 1


def copy(folder: Path) -> Path:
    """Return a copy of the checkpoint with one file of weights, to be spoilt."""
    source = checkpoint()
    weights: dict[str, torch.Tensor] = {}
    for path in source.glob("*.safetensors"):
        weights |= load_file(path)
    for name in ("config.json", "generation_config.json", "tokenizer_config.json", "qwen.tiktoken"):
        shutil.copy(source / name, folder / name)
    save_file(weights, folder / "model.safetensors")
    return folder


def change(folder: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(copy(folder) / "model.safetensors")
    edit(weights)
    save_file(weights, folder / "model.safetensors")


def refused(folder: Path, match: str, **options: Any) -> None:
    with pytest.raises(BackendError, match=match) as caught:
        load(folder, **options)
    assert "\n" not in str(caught.value)


def test_one_file_and_shards_answer_the_same(tmp_path: Path) -> None:
    want = load(checkpoint()).option_logits([pair(1, 2)])
    np.testing.assert_array_equal(load(copy(tmp_path)).option_logits([pair(1, 2)]), want)


def test_missing_surplus_and_misshapen_weights_are_named(tmp_path: Path) -> None:
    name = "transformer.h.1.mlp.w2.weight"
    change(tmp_path, lambda weights: weights.update({name: weights[name][:-1].clone()}))
    refused(tmp_path, rf"weight '{name}' has shape \(95, 128\), but \(96, 128\) by config.json")
    change(tmp_path, lambda weights: weights.pop(name))
    refused(tmp_path, rf"the weights lack 1 tensors of the model, such as '{name}'")
    change(tmp_path, lambda weights: weights.update({"transformer.h.0.attn.c_attn.qweight": torch.zeros(2)}))
    refused(tmp_path, r"1 tensors that the model does not use, such as .*c_attn.qweight'")
    change(tmp_path, lambda weights: weights.update({name: torch.zeros(96, 128, dtype=torch.int8)}))
    refused(tmp_path, rf"weight '{name}' holds integers")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"model_type": "qwen2"}, "a model of type 'qwen2' does not answer questions about images"),
        ({"visual": None}, "has no entry 'visual': this Qwen sees no images; use Qwen-VL or Qwen-VL-Chat"),
        ({"visual": {"width": 32}}, "visual: has no entry 'heads'"),
        ({"seq_length": "long"}, "config.json is not usable .*seq_length"),
        ({"no_bias": False}, "no_bias is False; only True is supported"),
        ({"rotary_pct": 0.25}, "rotary_pct is 0.25; only 1.0 is supported"),
        ({"quantization_config": {"bits": 4}}, "quantization_config is {'bits': 4}; only None is supported"),
        ({"num_attention_heads": 3}, "128 channels are not 3 heads of 32"),
        ({"visual": TINY["visual"] | {"output_dim": 256}}, "images of 256 channels do not fit 128"),
        ({"visual": TINY["visual"] | {"image_size": 80}}, "the vision encoder's sizes do not divide"),
        (
            {"visual": TINY["visual"] | {"image_start_id": 5}},
            r"qwen.tiktoken gives 499 tokens, <imgpad> being 498, but",
        ),
        ({"vocab_size": 400}, r"config.json has 400 and 498; download the files of one version"),
    ],
)
def test_a_config_that_is_not_understood_is_refused(tmp_path: Path, entries: dict[str, Any], message: str) -> None:
    write_json(copy(tmp_path) / "config.json", TINY | entries)
    refused(tmp_path, message)


def test_damaged_folders_are_refused_in_one_line(tmp_path: Path) -> None:
    refused(tmp_path, "has no config.json")
    whole = (copy(tmp_path) / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[:-100])
    refused(tmp_path, r"model.safetensors: is damaged, truncated, or only a Git LFS pointer")
    (tmp_path / "model.safetensors").unlink()
    refused(tmp_path, "holds no weights")
    (tmp_path / "model.safetensors").write_bytes(whole)
    (tmp_path / "qwen.tiktoken").unlink()
    refused(tmp_path, "holds no vocabulary")
    (tmp_path / "config.json").write_text("{")
    refused(tmp_path, "config.json: cannot be read as JSON")


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "qwen"
    shutil.copytree(checkpoint(), folder)
    (folder / "model-00002-of-00003.safetensors").unlink()
    refused(folder, "model-00002-of-00003.safetensors: this file of weights is missing")


def test_pickles_are_read_and_never_run(tmp_path: Path) -> None:
    want = load(copy(tmp_path)).option_logits([pair(1, 2)])
    weights = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    halves = [dict(list(weights.items())[part::2]) for part in range(2)]
    files = ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"]
    index = {name: file for file, half in zip(files, halves, strict=True) for name in half}
    write_json(tmp_path / "pytorch_model.bin.index.json", {"metadata": {}, "weight_map": index})
    refused(tmp_path, f"{files[0]}: this file of weights is missing")
    for file, half in zip(files, halves, strict=True):
        torch.save(half, tmp_path / file)
    np.testing.assert_array_equal(load(tmp_path).option_logits([pair(1, 2)]), want)
    torch.save({"run": print}, tmp_path / files[0])
    refused(tmp_path, f"{files[0]}: a weight file holds more than weights, and that is never run")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"form": "haiku"}, "form 'haiku' is unknown; use one of base, chat"),
        ({"dtype": "float8"}, "dtype 'float8' is unknown"),
        ({"device": "abacus"}, "device 'abacus' is unknown"),
        ({"device": "cuda:9"}, "torch sees . CUDA devices"),
        ({"tokens_at_once": -1}, "tokens_at_once and images_at_once must be 1 or more, got -1 and None"),
        ({"revision": "main"}, "a folder has none"),
    ],
)
def test_settings_that_are_impossible_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        load_hf(checkpoint(), **({"device": "cpu"} | options))


def test_the_form_is_what_the_checkpoint_says_or_what_is_chosen(tmp_path: Path) -> None:
    assert load(checkpoint("base")).fingerprint.identity["form"] == "base"
    assert load(checkpoint("chat")).fingerprint.identity["form"] == "chat"
    assert load(checkpoint("chat"), form="base").fingerprint.identity["form"] == "base"
    (copy(tmp_path) / "generation_config.json").unlink()
    with pytest.raises(SettingError, match=r"is None, not 'raw' .* or 'chatml' .*; pass form='base' or form='chat'"):
        load(tmp_path)
    assert load(tmp_path, form="chat").fingerprint.identity["form"] == "chat"


def test_too_little_memory_is_told_before_the_weights_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qdebias.backends.hf.pretrained.free_memory", lambda _: 1000)
    refused(checkpoint(), r"the weights take 0.0 GiB on cpu, which has 0.0 GiB left")


@pytest.mark.parametrize("units", [True, False])
def test_every_tensor_is_read_in_the_type_that_is_asked_for(units: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself in the published bfloat16 where the CPU has units for it."""
    monkeypatch.setattr(devices, "has_bfloat16_units", lambda: units)
    fitting = torch.bfloat16 if units else torch.float32
    for dtype, want in ((None, fitting), ("auto", fitting), ("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        backend = load(checkpoint(), dtype=dtype)
        assert {parameter.dtype for parameter in backend.model.parameters()} == {want}
        assert not any(parameter.is_meta for parameter in backend.model.parameters())
        assert backend.fingerprint.identity["dtype"] == str(want).removeprefix("torch.")
