"""Which scene an image shows, whatever happened to its quality."""

from typing import cast

import torch
from torch import nn
from torch.nn import functional

from qdebias.backends.nano.configuration import NanoVisionConfig

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
