"""Checkpoints of mPLUG-Owl3 with random weights, in the official layout, with a vocabulary of their own."""

import atexit
import functools
import json
import tempfile
from pathlib import Path
from typing import Any

import tokenizers as tk
import torch
from safetensors.torch import save_file
from transformers import Qwen2Tokenizer

from qdebias import presets
from qdebias.backends.mplug_owl3.modeling import (
    FIRST,
    GATES,
    LATER,
    MplugOwl3Config,
    MplugOwl3ForConditionalGeneration,
)
from qdebias.backends.mplug_owl3.processing import SPECIAL

SMALL: dict[str, Any] = {
    "hidden_size": 56,
    "intermediate_size": 64,
    "num_attention_heads": 7,
    "num_hidden_layers": 6,
    "num_key_value_heads": 1,
    "hyper_layers": [1, 4, 6],
    "vision_config": {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_attention_heads": 4,
        "num_hidden_layers": 3,
        "image_size": 60,
    },
}
"""Few layers, few channels, crops of 16 tokens; seven queries share one key, as in the true model."""

NARROW: dict[str, Any] = {
    "hidden_size": 112,
    "intermediate_size": 96,
    "vision_config": {"hidden_size": 64, "intermediate_size": 96},
}
"""The true architecture, all layers and heads and the true size of crops, reduced in width alone."""

WIDE: dict[str, Any] = SMALL | {"hidden_size": 448, "intermediate_size": 512}
"""As small, but with channels enough to be quantised."""

SIZES = {"small": SMALL, "narrow": NARROW, "wide": WIDE}


@functools.cache
def checkpoint(gate: str, size: str = "small", seed: int = 1) -> Path:
    """Return the folder of a checkpoint; it is made once, and to be copied by whoever wants to change it."""
    store = tempfile.TemporaryDirectory(prefix="qdebias-tiny-owl-")
    atexit.register(store.cleanup)
    return build(Path(store.name) / f"owl-{gate}-{size}", gate, SIZES[size], seed)


def build(folder: Path, gate: str, changed: dict[str, Any], seed: int) -> Path:
    """Write a checkpoint in three shards and return its folder."""
    rows = write_vocabulary(folder)
    write_config(folder, entries_7b(release_of(gate), **(changed | {"vocab_size": rows + 10})))
    write_weights(folder, random_weights(empty(folder, gate), seed), 3)
    return folder


def release_of(gate: str) -> str:
    return LATER if gate == "none" else FIRST


HYPER_LAYERS = {"240728": [1, 9, 17, 25], "241101": [7, 15, 23, 26]}
"""The layers of the 7B model that read images, counted from 1 as in the published `config.json`."""


def entries_7b(release: str, **changed: Any) -> dict[str, Any]:
    """Return the `config.json` of the 7B model; the releases differ in tiles, hyper layers and rows of the embedding.

    Args:
        release: The generation.
        changed: Entries that are to be otherwise; those of `vision_config` one by one.
    """
    vision = {
        "hidden_size": 1152,
        "image_size": 384 if release == FIRST else 378,
        "intermediate_size": 4304,
        "model_type": "siglip_vision_model",
        "num_attention_heads": 16,
        "num_hidden_layers": 27,
        "patch_size": 14,
    }
    return {
        "architectures": ["mPLUGOwl3Model"],
        "model_type": "mplugowl3",
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "max_position_embeddings": 32768,
        "num_attention_heads": 28,
        "num_hidden_layers": 28,
        "num_key_value_heads": 4,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1_000_000.0,
        "tie_word_embeddings": False,
        "use_sliding_window": False,
        "vocab_size": 151851 if release == FIRST else 151651,
        "hyper_layers": HYPER_LAYERS[release],
        **changed,
        "vision_config": {**vision, **changed.get("vision_config", {})},
    }


def write_config(folder: Path, entries: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(entries, indent=1))


def empty(folder: Path, gate: str) -> MplugOwl3ForConditionalGeneration:
    """Return the model of the `config.json` in a folder, without weights; the gate "none" makes it a 241101."""
    return empty_of(json.loads((folder / "config.json").read_text()), gate)


def empty_of(entries: dict[str, Any], gate: str) -> MplugOwl3ForConditionalGeneration:
    """Return the model of a `config.json` without weights, as names of weights decide it."""
    config = MplugOwl3Config.from_dict(entries)
    gates = next(names for names, known in GATES.items() if known == gate)
    projector = ("0.weight", "0.bias", "2.weight", "2.bias") if gate == "none" else ("weight", "bias")
    layers = entries.get("hyper_layers") or HYPER_LAYERS[release_of(gate)]
    names = [f"language_model.model.layers.{layer - 1}.self_attn." for layer in layers]
    names = [name + leaf for name in names for leaf in ("v_kv_proj.weight", *gates)]
    config.fit(dict.fromkeys([*names, *(f"vision2text_model.{leaf}" for leaf in projector)], ()))
    with torch.device("meta"):
        return MplugOwl3ForConditionalGeneration(config)


def random_weights(model: torch.nn.Module, seed: int) -> dict[str, torch.Tensor]:
    """Return random weights of a size that keeps activations near 1."""
    generator, weights = torch.Generator().manual_seed(seed), {}
    for name, parameter in model.named_parameters():
        value = torch.empty(tuple(parameter.shape)).normal_(generator=generator)
        if "norm" in name and name.endswith("weight"):
            value = 1 + 0.1 * value
        else:
            value = value / (value[0].numel() ** 0.5 if value.dim() > 1 else 10)
        weights[name] = value.to(torch.bfloat16)
    return weights


def write_weights(folder: Path, weights: dict[str, torch.Tensor], shards: int) -> None:
    """Write weights as the hub has them: several safetensors files and an index."""
    index, names = {}, list(weights)
    for shard in range(shards):
        file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        held = {name: weights[name] for name in names[shard::shards]}
        save_file(held, folder / file, metadata={"format": "pt"})
        index |= dict.fromkeys(held, file)
    content = {"metadata": {"total_size": sum(tensor.nbytes for tensor in weights.values())}, "weight_map": index}
    (folder / "model.safetensors.index.json").write_text(json.dumps(content))


def write_vocabulary(folder: Path) -> int:
    """Write a byte-level vocabulary that spells every preset's words in one token each; return its size."""
    tokenizer = tk.Tokenizer(tk.models.BPE())
    tokenizer.normalizer = tk.normalizers.NFC()
    tokenizer.pre_tokenizer = Qwen2Tokenizer().backend_tokenizer.pre_tokenizer
    tokenizer.decoder = tk.decoders.ByteLevel()
    trainer = tk.trainers.BpeTrainer(
        vocab_size=2000, initial_alphabet=tk.pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    words = [
        *sentences(),
        "Good Poor",
        "Yes",
        "No",
        "Good",
        "Poor",
        "a good poor fair one",
        "system",
        "user",
        "assistant",
    ]
    tokenizer.train_from_iterator(words * 3, trainer)
    tokenizer.add_special_tokens(list(SPECIAL))
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = '{"tokenizer_class": "Qwen2Tokenizer", "pad_token": "<|endoftext|>", "eos_token": "<|im_end|>"}'
    (folder / "tokenizer_config.json").write_text(config)
    return tokenizer.get_vocab_size()


def sentences() -> list[str]:
    """Return what the presets say."""
    questions = [presets.CONDITIONAL, presets.SAME_OBJECT, presets.RELEASED_CONDITIONAL, presets.VANILLA]
    return [f"{question.text} {question.answer_prefix}" for question in questions]
