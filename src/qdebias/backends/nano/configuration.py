"""Shapes of the embedded model."""

from transformers import LlavaConfig, PreTrainedConfig


class NanoVisionConfig(PreTrainedConfig):
    """Vision encoder: fixed image statistics, a fixed linear rating of them, and a learned thumbnail.

    Attributes:
        hidden_size: Width of an image token.
        steps: Smooth steps by which the token of quality tells how high the rating is.
        identity_size: Length of the unit vector that names the scene.
        statistics_size: Number of fixed statistics per image.
    """

    model_type = "qdebias_nano_vision"
    base_config_key = "vision_config"

    hidden_size: int = 128
    steps: int = 32
    identity_size: int = 64
    statistics_size: int = 715
    num_hidden_layers: int = 1
    initializer_range: float = 0.02


class NanoConfig(LlavaConfig):
    """A LLaVA-like model (vision encoder, projector, Llama decoder) with the encoder above."""

    model_type = "qdebias_nano"
