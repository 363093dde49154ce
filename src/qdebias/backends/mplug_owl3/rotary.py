"""Rotary positions of text tokens, and of images at the position of their marker (MI-RoPE)."""

from typing import TypeAlias

import torch

Rotation: TypeAlias = tuple[torch.Tensor, torch.Tensor]
"""Cosine and sine of the same shape, to be broadcast over what is rotated."""


def rotation(positions: torch.Tensor, head: int, theta: float) -> Rotation:
    """Return cosine and sine, float32 (..., head), of the angles of integer positions (...)."""
    steps = torch.arange(0, head, 2, dtype=torch.float32, device="cpu")
    frequencies = (1.0 / theta ** (steps / head)).to(positions.device)
    angles = positions[..., None].float() * frequencies
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos(), angles.sin()


def rotate(states: torch.Tensor, by: Rotation) -> torch.Tensor:
    """Rotate (..., head): channel i together with channel i + head / 2."""
    cosine, sine = by
    first, second = states.chunk(2, dim=-1)
    return states * cosine + torch.cat([-second, first], dim=-1) * sine
