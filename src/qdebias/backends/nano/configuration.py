"""Shapes of the embedded model."""

from transformers import LlavaConfig, PreTrainedConfig


class NanoVisionConfig(PreTrainedConfig):
    """Vision encoder: fixed image statistics, then a small learned network.

    Attributes:
        hidden_size: Width of an image token.
        intermediate_size: Width of the layer between the statistics and the image tokens.
        quality_tokens: Tokens made from the statistics.
        identity_tokens: Tokens made from the thumbnail ("which scene is this?").
        identity_size: Length of the unit vector that names the scene.
        statistics_size: Number of fixed statistics per image.
    """

    model_type = "qdebias_nano_vision"
    base_config_key = "vision_config"

    hidden_size: int = 128
    intermediate_size: int = 256
    quality_tokens: int = 3
    identity_tokens: int = 1
    identity_size: int = 64
    statistics_size: int = 703
    num_hidden_layers: int = 1
    initializer_range: float = 0.02


class NanoConfig(LlavaConfig):
    """A LLaVA-like model (vision encoder, projector, Llama decoder) with the encoder above."""

    model_type = "qdebias_nano"
