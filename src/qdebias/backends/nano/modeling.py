"""The embedded model as transformers holds it: its configuration, its encoder of scenes, and the model."""

from typing import cast

import torch
from torch import nn
from torch.nn import functional
from transformers import LlavaConfig, LlavaForConditionalGeneration, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from qdebias.backends.nano.statistics import COLOURS, statistics


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


GRID = 32
WINDOW = 9


class IdentityEncoder(nn.Module):
    """A unit vector of a locally normalised grey thumbnail, then an identity token.

    Local normalisation removes what fog, saturation and contrast change and keeps where things are.
    """

    def __init__(self, config: NanoVisionConfig) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(1, 16, 5, stride=2, padding=2),
            nn.GELU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.GELU(),
        )
        self.embed = nn.Linear(32 * (GRID // 4) ** 2, config.identity_size)
        self.last = nn.Linear(config.identity_size, config.hidden_size, bias=False)

    @staticmethod
    def pattern(thumbnails: torch.Tensor) -> torch.Tensor:
        """Map (images, 3, side, side) in [0, 1] to (images, 32, 32), locally of mean 0 and variance 1."""
        grey = functional.adaptive_avg_pool2d(thumbnails.mean(dim=1, keepdim=True), GRID)
        mean, square = (_blur(part) for part in (grey, grey * grey))
        deviation = (square - mean * mean).clamp(min=0).sqrt()
        return ((grey - mean) / (deviation + 0.01)).squeeze(1)

    def embedding(self, patterns: torch.Tensor) -> torch.Tensor:
        """Map (images, 32, 32) to unit vectors (images, identity_size)."""
        patterns = patterns.to(self.embed.weight.dtype).unsqueeze(1)
        return functional.normalize(self.embed(self.convolutions(patterns).flatten(1)), dim=1)

    def forward(self, patterns: torch.Tensor) -> torch.Tensor:
        """Map (images, 32, 32) to (images, 1, hidden_size)."""
        return cast(torch.Tensor, self.last(self.embedding(patterns)).unsqueeze(1))


def _blur(grey: torch.Tensor) -> torch.Tensor:
    padded = functional.pad(grey, [WINDOW // 2] * 4, mode="reflect")
    return functional.avg_pool2d(padded, WINDOW, stride=1)


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
