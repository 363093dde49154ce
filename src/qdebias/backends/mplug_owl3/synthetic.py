"""Checkpoints with random weights in the official layout, to run all of the machinery without 16 GB of weights."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from qdebias.backends.folder import CONFIGURATION_FILES, Checkpoint
from qdebias.backends.mplug_owl3.config import ARCHITECTURE, MODEL_TYPE, read_config
from qdebias.backends.mplug_owl3.model import Model
from qdebias.backends.mplug_owl3.release import RELEASE_240728, RELEASE_241101, Release
from qdebias.backends.mplug_owl3.variant import Gate, Variant

HYPER_LAYERS: Mapping[Release, tuple[int, ...]] = {RELEASE_240728: (1, 9, 17, 25), RELEASE_241101: (7, 15, 23, 26)}
"""The layers of the 7B model that read images, counted from 1 as in the published `config.json`."""


def entries_7b(release: Release, **changed: Any) -> dict[str, Any]:  # noqa: ANN401  entries of a JSON file
    """Return the `config.json` of the 7B model; the releases differ in crops, hyper layers and rows of the embedding.

    Args:
        release: The generation.
        changed: Entries that are to be otherwise; those of `vision_config` one by one.
    """
    vision = {
        "hidden_size": 1152,
        "image_size": 384 if release is RELEASE_240728 else 378,
        "intermediate_size": 4304,
        "model_type": "siglip_vision_model",
        "num_attention_heads": 16,
        "num_hidden_layers": 27,
        "patch_size": 14,
    }
    return {
        "architectures": [ARCHITECTURE],
        "model_type": MODEL_TYPE,
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
        "vocab_size": 151851 if release is RELEASE_240728 else 151651,
        "hyper_layers": list(HYPER_LAYERS[release]),
        **changed,
        "vision_config": {**vision, **changed.get("vision_config", {})},
    }


def write_config(folder: Path, entries: Mapping[str, Any]) -> None:
    """Write `config.json` into a new or existing folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(entries, indent=1), encoding="utf-8")


def empty(folder: Path, gate: Gate) -> Model:
    """Return the model of the `config.json` in a folder, without weights; no gate makes it a 241101."""
    config = read_config(Checkpoint(folder=folder, name=folder.name))
    release = RELEASE_241101 if gate is Gate.NONE else RELEASE_240728
    hyper = config.hyper or tuple(layer - 1 for layer in HYPER_LAYERS[release])
    with torch.device("meta"):
        return Model(config, Variant(release=release, gate=gate, hyper=hyper))


def randomize(model: Model, *, seed: int, dtype: torch.dtype = torch.float32) -> Model:
    """Fill a model that has no weights with random ones, of a size that keeps activations near 1; returns the model."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in list(model.named_parameters()):
        owner, _, leaf = name.rpartition(".")
        value = random_weight(tuple(parameter.shape), generator, norm="norm" in owner and leaf == "weight")
        model.get_submodule(owner).register_parameter(leaf, nn.Parameter(value.to(dtype), requires_grad=False))
    return model.eval()


def random_weight(shape: tuple[int, ...], generator: torch.Generator, *, norm: bool) -> torch.Tensor:
    """Return a random float32 weight; `norm`: the scale of a normalisation, near 1."""
    value = torch.empty(shape).normal_(generator=generator)
    if norm:
        return 1 + 0.1 * value
    return value / (value[0].numel() ** 0.5 if len(shape) > 1 else 10)


def write_checkpoint(
    folder: Path, model: Model, *, vocabulary: Path, shards: int, leave_out: Sequence[str] = ()
) -> None:
    """Write the weights of a model as the hub has them: several safetensors files and an index.

    Args:
        folder: Holds `config.json` already.
        model: Filled with weights.
        vocabulary: The folder from which the tokenizer's files are copied.
        shards: Into how many files the weights go.
        leave_out: Beginnings of the names of weights that are not written.
    """
    weights = {
        name: tensor.to(torch.bfloat16).contiguous()
        for name, tensor in model.state_dict().items()
        if not name.startswith(tuple(leave_out))
    }
    names = list(weights)
    index = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        held = {name: weights[name] for name in names[shard::shards]}
        save_file(held, folder / file, metadata={"format": "pt"})
        index.update(dict.fromkeys(held, file))
    content = {"metadata": {"total_size": sum(tensor.nbytes for tensor in weights.values())}, "weight_map": index}
    (folder / "model.safetensors.index.json").write_text(json.dumps(content), encoding="utf-8")
    for name in set(CONFIGURATION_FILES) - {"config.json"}:
        if (vocabulary / name).is_file():
            shutil.copy(vocabulary / name, folder / name)
