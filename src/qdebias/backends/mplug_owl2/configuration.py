"""The `config.json` of mPLUG-Owl2."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Self, cast

from transformers import LlamaConfig

from qdebias.backends.hf.native import check_entries

IMAGE_TOKEN = -200
"""Stands in the ids for each token of an image, as the official code has it once for the whole image."""

_REQUIRED = (
    *("hidden_size", "intermediate_size", "max_position_embeddings", "num_attention_heads", "num_hidden_layers"),
    "rms_norm_eps",
)
_SUPPORTED: Mapping[str, Any] = MappingProxyType(
    {
        "attention_bias": False,
        "hidden_act": "silu",
        "pretraining_tp": 1,
        "quantization_config": None,
        "rope_scaling": None,
        "tie_word_embeddings": False,
    }
)
"""Entries that no published checkpoint has otherwise; anything else would silently be another model."""

_VISION = (
    *("hidden_size", "image_size", "intermediate_size", "layer_norm_eps", "num_attention_heads", "num_hidden_layers"),
    "patch_size",
)
_ABSTRACTOR = (
    *("encoder_hidden_size", "grid_size", "hidden_size", "intermediate_size", "layer_norm_eps"),
    *("num_attention_heads", "num_hidden_layers", "num_learnable_queries"),
)


class MplugOwl2Config(LlamaConfig):
    """Entries of `config.json`: Llama's, and the two parts that see.

    Attributes:
        visual_config: `visual_model`, the vision encoder, and `visual_abstractor`, as in the file.
        image_aspect_ratio: "pad" makes an image square by a border, "resize" by squeezing it; None takes the square in
            the middle.
    """

    model_type = "mplug_owl2"

    visual_config: dict[str, Any] | None = None
    image_aspect_ratio: str | None = None

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **options: Any) -> Self:  # noqa: ANN401
        """Return the config of a `config.json`.

        Raises:
            ValueError: An entry is missing, has a value that is not implemented, or contradicts another.
        """
        check_entries(config_dict, required=_REQUIRED, supported=_SUPPORTED)
        parts = config_dict.get("visual_config")
        if not isinstance(parts, dict) or not {"visual_model", "visual_abstractor"} <= parts.keys():
            raise ValueError("has no entry 'visual_config' with 'visual_model' and 'visual_abstractor'")
        vision, abstractor = parts["visual_model"], parts["visual_abstractor"]
        check_entries(vision, required=_VISION, supported={"num_channels": 3}, where="visual_model: ")
        check_entries(abstractor, required=_ABSTRACTOR, supported={}, where="visual_abstractor: ")
        for name, part in (("visual_model", vision), ("visual_abstractor", abstractor), ("decoder", config_dict)):
            if part["hidden_size"] % part["num_attention_heads"]:
                raise ValueError(f"{name}: {part['hidden_size']} channels are not {part['num_attention_heads']} heads")
        if not vision["hidden_size"] == abstractor["encoder_hidden_size"] == abstractor["hidden_size"]:
            raise ValueError("visual_model and visual_abstractor differ in their channels")
        if abstractor["grid_size"] != vision["image_size"] // vision["patch_size"]:
            raise ValueError(f"images of {vision['image_size']} pixels do not fit grid_size {abstractor['grid_size']}")
        return cast(Self, super().from_dict(config_dict, **options))

    @property
    def vision(self) -> Mapping[str, Any]:
        """The vision encoder."""
        return cast(Mapping[str, Any], (self.visual_config or {})["visual_model"])

    @property
    def abstractor(self) -> Mapping[str, Any]:
        """The learned queries that read what the vision encoder sees."""
        return cast(Mapping[str, Any], (self.visual_config or {})["visual_abstractor"])

    @property
    def image_positions(self) -> int:
        """Number of tokens of the vision encoder, that of the class among them."""
        return int(self.abstractor["grid_size"]) ** 2 + 1

    @property
    def image_tokens(self) -> int:
        """Number of tokens of an image in the prompt, the one that ends it among them."""
        return int(self.abstractor["num_learnable_queries"]) + 1

    @property
    def image_token_id(self) -> int:
        """Stands for each of them."""
        return IMAGE_TOKEN
