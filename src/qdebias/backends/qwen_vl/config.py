"""The part of a checkpoint's `config.json` that decides what is computed."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from qdebias.backends.config_entries import check_supported, read_entries
from qdebias.backends.folder import Checkpoint

MODEL_TYPE = "qwen"

SLOTS = 256
"""Tokens of an image; their number is not in the config."""

_SUPPORTED: Mapping[str, Any] = MappingProxyType(
    {
        "no_bias": True,
        "rotary_pct": 1.0,
        "scale_attn_weights": True,
        "tie_word_embeddings": False,
        "quantization_config": None,
    }
)
"""Entries that no published checkpoint in bfloat16 has otherwise; anything else would be another model in silence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionConfig:
    """The vision encoder.

    Attributes:
        side: Pixels a side, to which every image is squeezed; 448.
        patch: Pixels a side of a patch.
        width: Channels.
        layers: Number of layers.
        heads: Attention heads.
        intermediate: Channels inside the MLP.
    """

    side: int
    patch: int
    width: int
    layers: int
    heads: int
    intermediate: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The language model, and its vision encoder.

    Attributes:
        hidden: Channels.
        layers: Number of layers.
        heads: Attention heads.
        intermediate: Channels inside the MLP: half of `intermediate_size` in the file.
        vocabulary: Rows of the embedding, padding rows included.
        epsilon: Of the RMS norms.
        theta: Base of the rotary positions.
        trained: Length up to which positions and queries are as in training; 2048, more than two images need.
        longest: Most tokens that can be read.
        ntk: Whether the base of the positions grows with longer sequences, see `stretch`.
        logn: Whether later queries are scaled up in longer sequences.
        image_start: The id of <img>.
        vision: The vision encoder.
    """

    hidden: int
    layers: int
    heads: int
    intermediate: int
    vocabulary: int
    epsilon: float
    theta: float
    trained: int
    longest: int
    ntk: bool
    logn: bool
    image_start: int
    vision: VisionConfig

    @property
    def head(self) -> int:
        """Channels of one head."""
        return self.hidden // self.heads

    @property
    def slot(self) -> int:
        """The id of <imgpad>, which follows </img>."""
        return self.image_start + 2

    def stretch(self, length: int) -> float:
        """Return alpha of the dynamic NTK rule for a whole sequence of `length` tokens; 1 up to `trained`."""
        if not self.ntk:
            return 1.0
        return float(max(2 ** math.ceil(math.log2(length / self.trained) + 1) - 1, 1))


def is_first_qwen(config: Mapping[str, Any]) -> bool:
    """Tell whether a `config.json` is of Qwen's first generation; `read_config` refuses those that see no images."""
    return config.get("model_type") == MODEL_TYPE


def read_config(checkpoint: Checkpoint) -> Config:
    """Return the config of a checkpoint.

    Raises:
        BackendError: It cannot be read, is another model's, lacks an entry, or asks for what is not implemented.
    """
    return read_entries(checkpoint, _config)


def _config(entries: Mapping[str, Any]) -> Config:
    if not is_first_qwen(entries):
        raise ValueError(f"is not of model_type {MODEL_TYPE!r}; this folder holds no Qwen-VL")
    if not isinstance(entries.get("visual"), dict):
        raise ValueError("has no entry 'visual': this Qwen sees no images; use Qwen-VL or Qwen-VL-Chat")
    check_supported(entries, _SUPPORTED)
    visual = entries["visual"]
    config = Config(
        hidden=int(entries["hidden_size"]),
        layers=int(entries["num_hidden_layers"]),
        heads=int(entries["num_attention_heads"]),
        intermediate=int(entries["intermediate_size"]) // 2,
        vocabulary=int(entries["vocab_size"]),
        epsilon=float(entries["layer_norm_epsilon"]),
        theta=float(entries["rotary_emb_base"]),
        trained=int(entries["seq_length"]),
        longest=int(entries["max_position_embeddings"]),
        ntk=bool(entries["use_dynamic_ntk"]),
        logn=bool(entries["use_logn_attn"]),
        image_start=int(visual["image_start_id"]),
        vision=VisionConfig(
            side=int(visual["image_size"]),
            patch=int(visual["patch_size"]),
            width=int(visual["width"]),
            layers=int(visual["layers"]),
            heads=int(visual["heads"]),
            intermediate=int(visual["width"] * visual["mlp_ratio"]),
        ),
    )
    if config.head * config.heads != config.hidden or config.head != entries["kv_channels"] or config.head % 2:
        raise ValueError(f"{config.hidden} channels are not {config.heads} heads of {entries['kv_channels']}")
    if visual["output_dim"] != config.hidden or config.hidden % 128:
        raise ValueError(f"images of {visual['output_dim']} channels do not fit {config.hidden}, or no heads of 128")
    if config.vision.width % config.vision.heads or config.vision.side % config.vision.patch:
        raise ValueError(f"the vision encoder's sizes do not divide: {config.vision}")
    return config
