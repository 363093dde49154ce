"""The vision encoder: a ViT whose output 256 learned queries read."""

import math
from typing import cast

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F  # noqa: N812  torch's own abbreviation

from qdebias.backends.qwen_vl.config import SLOTS, Config, VisionConfig
from qdebias.image import RgbImage

MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
"""Of the three channels, as CLIP was trained with them."""

EPSILON = 1e-6
"""Of all layer norms; not in the config."""

READER_HEAD = 128
"""Channels of one head of the reader; not in the config."""


def squeeze(image: RgbImage, side: int) -> RgbImage:
    """Return the image as (side, side, 3), bicubic; its aspect ratio is lost, as in the official code."""
    return np.array(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))


def normalise(pixels: torch.Tensor) -> torch.Tensor:
    """Map (n, side, side, 3) uint8 to (n, 3, side, side) float32 with about zero mean and unit deviation."""
    mean, deviation = (torch.tensor(values, device=pixels.device) for values in (MEAN, DEVIATION))
    return ((pixels.float() / 255 - mean) / deviation).permute(0, 3, 1, 2)


class Attention(nn.Module):
    """Self-attention whose projection holds, head by head, the rows of query, key and value."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj = nn.Linear(width, 3 * width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Map (n, T, width) to the same shape."""
        by_head = self.in_proj(hidden).unflatten(-1, (self.heads, 3, -1)).transpose(1, 2)
        read = F.scaled_dot_product_attention(*by_head.unbind(dim=3))
        return cast(torch.Tensor, self.out_proj(read.transpose(1, 2).flatten(2)))


class Mlp(nn.Module):
    """Two linear maps around a GELU."""

    def __init__(self, width: int, intermediate: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, intermediate)
        self.c_proj = nn.Linear(intermediate, width)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Map (n, T, width) to the same shape."""
        return cast(torch.Tensor, self.c_proj(F.gelu(self.c_fc(hidden))))


class Layer(nn.Module):
    """One layer."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.width, eps=EPSILON)
        self.attn = Attention(config.width, config.heads)
        self.ln_2 = nn.LayerNorm(config.width, eps=EPSILON)
        self.mlp = Mlp(config.width, config.intermediate)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Map (n, T, width) to the same shape."""
        hidden = hidden + self.attn(self.ln_1(hidden))
        return cast(torch.Tensor, hidden + self.mlp(self.ln_2(hidden)))


class Layers(nn.Module):
    """All layers; a module of its own only for the names of the weights."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.resblocks = nn.Sequential(*(Layer(config) for _ in range(config.layers)))


class Reader(nn.Module):
    """Learned queries that read the patches; the official code calls it resampler."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.empty(SLOTS, hidden))
        self.pos_embed = nn.Parameter(torch.empty(SLOTS, hidden))
        self.kv_proj = nn.Linear(width, hidden, bias=False)
        self.attn = nn.MultiheadAttention(hidden, hidden // READER_HEAD, batch_first=True)
        self.ln_q = nn.LayerNorm(hidden, eps=EPSILON)
        self.ln_kv = nn.LayerNorm(hidden, eps=EPSILON)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Map (n, T, width) to (n, 256, hidden)."""
        values = self.ln_kv(self.kv_proj(patches))
        keys = values + spread(self.pos_embed, patches.shape[1])
        queries = (self.ln_q(self.query) + self.pos_embed).expand(len(patches), -1, -1)
        return cast(torch.Tensor, self.attn(queries, keys, values, need_weights=False)[0])


class VisionEncoder(nn.Module):
    """Maps images to tokens of the language model."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        vision, hidden = config.vision, config.hidden
        self.conv1 = nn.Conv2d(3, vision.width, kernel_size=vision.patch, stride=vision.patch, bias=False)
        self.positional_embedding = nn.Parameter(torch.empty(SLOTS, vision.width))
        self.ln_pre = nn.LayerNorm(vision.width, eps=EPSILON)
        self.transformer = Layers(vision)
        self.attn_pool = Reader(vision.width, hidden)
        self.ln_post = nn.LayerNorm(hidden, eps=EPSILON)
        self.proj = nn.Parameter(torch.empty(hidden, hidden))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Encode images.

        Args:
            pixels: (n, side, side, 3) uint8.

        Returns:
            (n, 256, hidden).
        """
        weight = self.conv1.weight
        patches = self.conv1(normalise(pixels.to(weight.device)).to(weight.dtype)).flatten(2).transpose(1, 2)
        hidden = self.ln_pre(patches + spread(self.positional_embedding, patches.shape[1]))
        hidden = self.attn_pool(self.transformer.resblocks(hidden))
        return cast(torch.Tensor, self.ln_post(hidden) @ self.proj)


def spread(positions: torch.Tensor, count: int) -> torch.Tensor:
    """Map (s * s, channels), seen as a square, to (count, channels): bicubic, in float32."""
    old, new = math.isqrt(len(positions)), math.isqrt(count)
    if old == new:
        return positions
    square = positions.float().T.unflatten(1, (old, old))[None]
    return F.interpolate(square, size=(new, new), mode="bicubic")[0].flatten(1).T.to(positions.dtype)
