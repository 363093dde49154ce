"""The embedded model: LLaVA's forward pass around our vision encoder."""

from typing import cast

import torch
from torch import nn
from transformers import LlavaForConditionalGeneration, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from qdebias.backends.nano.configuration import NanoConfig, NanoVisionConfig
from qdebias.backends.nano.identity import IdentityEncoder
from qdebias.backends.nano.statistics import COLOURS, statistics

TOKENS = 3


class NanoVisionModel(PreTrainedModel):
    """Three image tokens: the rating of its fixed statistics, its colours, and the scene (from the thumbnail)."""

    config: NanoVisionConfig
    config_class = NanoVisionConfig
    main_input_name = "pixel_values"

    def __init__(self, config: NanoVisionConfig) -> None:
        super().__init__(config)
        self.quality = QualityEncoder(config)
        self.identity = IdentityEncoder(config)
        self.post_init()

    def forward(self, pixel_values: torch.Tensor, **_: object) -> BaseModelOutputWithPooling:
        """Encode images.

        Args:
            pixel_values: (images, views, 3, side, side) in [0, 1].

        Returns:
            `last_hidden_state` and the last of `hidden_states`: (images, 3, hidden_size).
        """
        pixels = pixel_values.float()
        standard = self.quality.standard(statistics(pixels))
        identity = self.identity(self.identity.pattern(pixels[:, 0]))
        tokens = torch.cat([self.quality(self.quality.rate(standard), standard), identity], dim=1).to(self.dtype)
        return BaseModelOutputWithPooling(last_hidden_state=tokens, hidden_states=(tokens,))


class QualityEncoder(nn.Module):
    """A fixed rating of the standardised statistics, told in smooth steps, and the thumbnail's colours.

    The rating is linear, less a second linear measure, of damage, where that is above 0.
    """

    def __init__(self, config: NanoVisionConfig) -> None:
        super().__init__()
        size = config.statistics_size
        self.mean = nn.Parameter(torch.zeros(size), requires_grad=False)
        self.scale = nn.Parameter(torch.ones(size), requires_grad=False)
        self.head = nn.Linear(size, 2).requires_grad_(False)
        self.steps = nn.Parameter(torch.linspace(-4, 4, config.steps), requires_grad=False)
        self.value = nn.Linear(config.steps, config.hidden_size)
        self.colour = nn.Linear(len(range(size)[COLOURS]), config.hidden_size)

    def standard(self, measured: torch.Tensor) -> torch.Tensor:
        """Map (images, statistics_size) to deviations from the training images' mean, at most 4."""
        return ((measured - self.mean) * self.scale).clamp(-4, 4).to(self.head.weight.dtype)

    def rate(self, standard: torch.Tensor) -> torch.Tensor:
        """Map (images, statistics_size) to (images,) ratings: over the training images of mean 0 and deviation 1."""
        quality, damage = self.head(standard).unbind(1)
        return cast(torch.Tensor, quality - damage.clamp(min=0))

    def forward(self, rating: torch.Tensor, standard: torch.Tensor) -> torch.Tensor:
        """Map (images,) ratings and (images, statistics_size) to (images, 2, hidden_size)."""
        told = torch.sigmoid(4 * (rating.unsqueeze(1) - self.steps))
        return torch.stack([self.value(told), self.colour(standard[:, COLOURS])], dim=1)


class NanoForConditionalGeneration(LlavaForConditionalGeneration):
    """LLaVA with `NanoVisionModel` as its vision tower; the forward pass is transformers' own."""

    config: NanoConfig
    config_class = NanoConfig

    @property
    def image_features_size(self) -> int:
        """Number of values of `image_features` for an image."""
        return int(self.config.vision_config.statistics_size) + 1

    def image_features(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Return what the encoder knows of the quality of images: their statistics, then their rating.

        Args:
            pixel_values: (images, views, 3, side, side) in [0, 1].
        """
        measured, quality = statistics(pixel_values.float()), self.model.vision_tower.quality
        return torch.cat([measured, quality.rate(quality.standard(measured)).unsqueeze(1).float()], dim=1)
