"""The embedded model: LLaVA's forward pass around our vision encoder."""

from typing import cast

import torch
from torch import nn
from transformers import LlavaForConditionalGeneration, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from qdebias.backends.nano.configuration import NanoConfig, NanoVisionConfig
from qdebias.backends.nano.identity import IdentityEncoder
from qdebias.backends.nano.statistics import statistics


class NanoVisionModel(PreTrainedModel):
    """Image tokens from fixed statistics (quality) and from the thumbnail (identity)."""

    config: NanoVisionConfig
    config_class = NanoVisionConfig
    main_input_name = "pixel_values"

    def __init__(self, config: NanoVisionConfig) -> None:
        super().__init__(config)
        self.quality = QualityEncoder(config)
        self.identity = IdentityEncoder(config)
        self.post_init()

    def tokens(self, measured: torch.Tensor, patterns: torch.Tensor) -> torch.Tensor:
        """Return image tokens from what is fixed about an image (which training keeps in a cache).

        Args:
            measured: (images, statistics_size) from `statistics`.
            patterns: (images, side, side) from `IdentityEncoder.pattern`.

        Returns:
            (images, tokens, hidden_size).
        """
        return torch.cat([self.quality(measured), self.identity(patterns)], dim=1)

    def forward(self, pixel_values: torch.Tensor, **_: object) -> BaseModelOutputWithPooling:
        """Encode images.

        Args:
            pixel_values: (images, views, 3, side, side) in [0, 1].

        Returns:
            `last_hidden_state` and the last of `hidden_states`: (images, tokens, hidden_size).
        """
        pixels = pixel_values.float()
        tokens = self.tokens(statistics(pixels), self.identity.pattern(pixels[:, 0]))
        tokens = tokens.to(self.dtype)
        return BaseModelOutputWithPooling(last_hidden_state=tokens, hidden_states=(tokens,))


class QualityEncoder(nn.Module):
    """Statistics, standardised by the training photographs', to quality tokens."""

    def __init__(self, config: NanoVisionConfig) -> None:
        super().__init__()
        self.shape = (config.quality_tokens, config.hidden_size)
        self.mean = nn.Parameter(torch.zeros(config.statistics_size), requires_grad=False)
        self.scale = nn.Parameter(torch.ones(config.statistics_size), requires_grad=False)
        self.first = nn.Linear(config.statistics_size, config.intermediate_size)
        self.second = nn.Linear(config.intermediate_size, config.intermediate_size)
        self.last = nn.Linear(config.intermediate_size, config.quality_tokens * config.hidden_size)

    def forward(self, measured: torch.Tensor) -> torch.Tensor:
        """Map (images, statistics_size) to (images, quality_tokens, hidden_size)."""
        standard = ((measured - self.mean) * self.scale).clamp(-4, 4).to(self.first.weight.dtype)
        hidden = nn.functional.gelu(self.first(standard))
        hidden = hidden + nn.functional.gelu(self.second(hidden))
        return cast(torch.Tensor, self.last(hidden).unflatten(1, self.shape))


class NanoForConditionalGeneration(LlavaForConditionalGeneration):
    """LLaVA with `NanoVisionModel` as its vision tower; the forward pass is transformers' own."""

    config: NanoConfig
    config_class = NanoConfig

    @property
    def image_features_size(self) -> int:
        """Number of values of `image_features` for an image."""
        vision = self.config.vision_config
        return int(vision.statistics_size + vision.quality_tokens * vision.hidden_size)

    def image_features(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Return what the encoder knows of the quality of images: their statistics, then their quality tokens.

        Args:
            pixel_values: (images, views, 3, side, side) in [0, 1].
        """
        measured = statistics(pixel_values.float())
        tokens = self.model.vision_tower.quality(measured)
        return torch.cat([measured, tokens.flatten(1).float()], dim=1)
