"""The language model: Qwen-7B."""

import math
from typing import TypeAlias, cast

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812  torch's own abbreviation

from qdebias.backends.qwen_vl.config import Config
from qdebias.backends.qwen_vl.packing import Batch

Rotation: TypeAlias = tuple[torch.Tensor, torch.Tensor]
"""Cosine and sine, float32 (R, L, 1, head)."""


class RmsNorm(nn.Module):
    """x / root mean square(x), in float32, times a weight in the model's type."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))
        self.epsilon = epsilon

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Map (..., width) to the same shape."""
        wide = hidden.float()
        scale = torch.rsqrt(wide.square().mean(dim=-1, keepdim=True) + self.epsilon)
        return (wide * scale).to(hidden.dtype) * self.weight


class Attention(nn.Module):
    """Causal self-attention."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.heads = config.heads
        self.c_attn = nn.Linear(config.hidden, 3 * config.hidden)
        self.c_proj = nn.Linear(config.hidden, config.hidden, bias=False)

    def forward(
        self, hidden: torch.Tensor, rotation: Rotation, scale: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        """Map (R, L, hidden) to the same shape.

        Args:
            hidden: R rows of L tokens.
            rotation: Of queries and keys, by position.
            scale: (R, L, 1, 1), of the queries, by position.
            mask: (R, 1, L, L), which tokens a token sees; None: itself and all before it.
        """
        query, key, value = self.c_attn(hidden).unflatten(-1, (3, self.heads, -1)).unbind(dim=2)
        query, key = rotate(query, rotation) * scale.to(query.dtype), rotate(key, rotation)
        query, key, value = (part.transpose(1, 2) for part in (query, key, value))
        read = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=mask is None)
        return cast(torch.Tensor, self.c_proj(read.transpose(1, 2).flatten(2)))


class Mlp(nn.Module):
    """Gated linear unit; the gate is `w2`."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.w1 = nn.Linear(config.hidden, config.intermediate, bias=False)
        self.w2 = nn.Linear(config.hidden, config.intermediate, bias=False)
        self.c_proj = nn.Linear(config.intermediate, config.hidden, bias=False)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Map (R, L, hidden) to the same shape."""
        return cast(torch.Tensor, self.c_proj(self.w1(hidden) * F.silu(self.w2(hidden))))


class Layer(nn.Module):
    """One layer."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.ln_1 = RmsNorm(config.hidden, config.epsilon)
        self.attn = Attention(config)
        self.ln_2 = RmsNorm(config.hidden, config.epsilon)
        self.mlp = Mlp(config)

    def forward(
        self, hidden: torch.Tensor, rotation: Rotation, scale: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        """Map (R, L, hidden) to the same shape; the arguments are those of `Attention`."""
        hidden = hidden + self.attn(self.ln_1(hidden), rotation, scale, mask)
        return cast(torch.Tensor, hidden + self.mlp(self.ln_2(hidden)))


def rotation_of(batch: Batch, config: Config) -> Rotation:
    """Return cosine and sine of the angles of a batch; the base of a row grows with its `stretch`."""
    steps = torch.arange(0, config.head, 2, dtype=torch.float32) / config.head
    bases = [config.theta * stretch ** (config.head / (config.head - 2)) for stretch in batch.stretches]
    frequencies = torch.stack([1.0 / base**steps for base in bases]).to(batch.positions.device)
    angles = (batch.positions[:, :, None].float() * frequencies[:, None]).repeat(1, 1, 2)[:, :, None]
    return angles.cos(), angles.sin()


def rotate(states: torch.Tensor, by: Rotation) -> torch.Tensor:
    """Rotate (R, L, heads, head) in float32: channel i together with channel i + head / 2."""
    cosine, sine = by
    first, second = states.float().chunk(2, dim=-1)
    turned = torch.cat([-second, first], dim=-1)
    return (states.float() * cosine + turned * sine).to(states.dtype)


def query_scale(positions: torch.Tensor, config: Config) -> torch.Tensor:
    """Return the logn factor of queries at positions (R, L), from 0: 1 up to the trained length, then growing."""
    if not config.logn:
        return torch.ones_like(positions, dtype=torch.float32)[:, :, None, None]
    return ((positions + 1).float().log() / math.log(config.trained)).clamp(min=1)[:, :, None, None]
