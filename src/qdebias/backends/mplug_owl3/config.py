"""The part of a checkpoint's `config.json` that decides what is computed."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from qdebias.backends.config_entries import check_entries
from qdebias.backends.folder import Checkpoint
from qdebias.errors import BackendError

MODEL_TYPE = "mplugowl3"
ARCHITECTURE = "mPLUGOwl3Model"

_VISION_DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        "hidden_size": 768,
        "image_size": 224,
        "intermediate_size": 3072,
        "num_attention_heads": 12,
        "num_hidden_layers": 12,
        "patch_size": 16,
        "num_channels": 3,
        "hidden_act": "gelu_pytorch_tanh",
        "layer_norm_eps": 1e-6,
    }
)
"""What SigLIP's config means where it says nothing: the official file lists only what differs."""

_SUPPORTED: Mapping[str, Any] = MappingProxyType(
    {"hidden_act": "silu", "tie_word_embeddings": False, "use_sliding_window": False, "rope_scaling": None}
)
"""Entries that no published 7B checkpoint has otherwise; anything else would silently compute another model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionConfig:
    """SigLIP: the vision encoder.

    Attributes:
        hidden: Channels.
        side: Pixels a side of a crop. 384 in 240728, of which 378 are seen: the patches of 14 leave a rest.
        intermediate: Channels inside the MLP.
        heads: Attention heads.
        layers: Layers in the checkpoint; the last is never run.
        patch: Pixels a side of a patch.
        epsilon: Of the layer norms.
    """

    hidden: int
    side: int
    intermediate: int
    heads: int
    layers: int
    patch: int
    epsilon: float

    @property
    def tokens(self) -> int:
        """Number of tokens of one crop; 729 in both releases."""
        return (self.side // self.patch) ** 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Qwen2 with hyper layers: the decoder.

    Attributes:
        hidden: Channels.
        intermediate: Channels inside the MLP.
        layers: Number of layers.
        heads: Attention heads of the queries.
        kv_heads: Attention heads of keys and values.
        vocabulary: Rows of the embedding, padding rows included.
        epsilon: Of the RMS norms.
        theta: Base of the rotary positions.
        longest: Most tokens that can be read.
        hyper: Indices, **from 0**, of the layers that read images; `hyper_layers` in the file counts from 1. None: the
            file does not say, the weights do. (The official class has another default, which no checkpoint has.)
        vision: The vision encoder.
    """

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    epsilon: float
    theta: float
    longest: int
    hyper: tuple[int, ...] | None
    vision: VisionConfig

    @property
    def head(self) -> int:
        """Channels of one head."""
        return self.hidden // self.heads


def is_mplug_owl3(config: Mapping[str, Any]) -> bool:
    """Tell whether a `config.json` is one of this model."""
    return config.get("model_type") == MODEL_TYPE or ARCHITECTURE in (config.get("architectures") or ())


def read_config(checkpoint: Checkpoint) -> Config:
    """Return the config of a checkpoint.

    Raises:
        BackendError: It cannot be read, is another model's, lacks an entry, or asks for what is not implemented.
    """
    path = checkpoint.folder / "config.json"
    try:
        return _config(checkpoint.read_json(path.name))
    except KeyError as error:
        raise BackendError(f"{path}: has no entry {error}; download it again") from error
    except (TypeError, ValueError) as error:
        raise BackendError(f"{path}: {error}") from error


def _config(entries: Mapping[str, Any]) -> Config:
    if not is_mplug_owl3(entries):
        raise ValueError(f"is not of model_type {MODEL_TYPE!r}; this folder holds another model")
    check_entries(entries, supported=_SUPPORTED)
    hyper = entries.get("hyper_layers")
    config = Config(
        hidden=int(entries["hidden_size"]),
        intermediate=int(entries["intermediate_size"]),
        layers=int(entries["num_hidden_layers"]),
        heads=int(entries["num_attention_heads"]),
        kv_heads=int(entries["num_key_value_heads"]),
        vocabulary=int(entries["vocab_size"]),
        epsilon=float(entries["rms_norm_eps"]),
        theta=float(entries["rope_theta"]),
        longest=int(entries["max_position_embeddings"]),
        hyper=None if hyper is None else tuple(sorted(int(layer) - 1 for layer in hyper)),
        vision=_vision(entries["vision_config"]),
    )
    if config.hidden % config.heads or config.head % 2 or config.heads % config.kv_heads:
        raise ValueError(f"{config.hidden} channels do not divide into {config.heads} heads over {config.kv_heads}")
    return config


def _vision(given: Mapping[str, Any]) -> VisionConfig:
    entries = {**_VISION_DEFAULTS, **given}
    fixed = {name: _VISION_DEFAULTS[name] for name in ("hidden_act", "num_channels")}
    check_entries(entries, supported=fixed, where="vision_config: ")
    return VisionConfig(
        hidden=int(entries["hidden_size"]),
        side=int(entries["image_size"]),
        intermediate=int(entries["intermediate_size"]),
        heads=int(entries["num_attention_heads"]),
        layers=int(entries["num_hidden_layers"]),
        patch=int(entries["patch_size"]),
        epsilon=float(entries["layer_norm_eps"]),
    )
