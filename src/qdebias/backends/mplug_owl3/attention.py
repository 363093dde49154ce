"""Attention of a decoder layer: over the text alone, or over text and images (hyper attention).

The queries of a hyper layer are those of the text; keys and values of an image come from one linear map of the image
tokens under the layer's own RMS norm, and its keys are rotated by the position of its marker. The mixed result goes
through the ordinary output projection.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import nn
from torch.nn import functional

from qdebias.backends.mplug_owl3.config import Config
from qdebias.backends.mplug_owl3.rotary import Rotation, rotate
from qdebias.backends.mplug_owl3.variant import Gate


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImageContext:
    """What hyper layers read, for R rows of L tokens with up to C crops of T tokens.

    Attributes:
        keys_values: For each hyper layer by its index: (R, C, T, kv heads, 2, head), the keys not yet rotated.
        rotation: Of the keys: (R, C, 1, 1, head) float32.
        visible: (R, 1, L, C * T): which tokens of crops a text token sees. A token that sees no crop is told to see
            all, as a softmax over nothing is undefined; what it reads is not used.
        seeing: (R, L, 1): whether a text token sees any crop.
    """

    keys_values: Mapping[int, torch.Tensor]
    rotation: Rotation
    visible: torch.Tensor
    seeing: torch.Tensor

    def to(self, device: torch.device) -> "ImageContext":
        """Return the same on another device; keys and values move when they are read."""
        if self.visible.device == device:
            return self
        cosine, sine = self.rotation
        return ImageContext(
            keys_values=self.keys_values,
            rotation=(cosine.to(device), sine.to(device)),
            visible=self.visible.to(device),
            seeing=self.seeing.to(device),
        )

    def read(self, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return keys and values (R, kv heads, C * T, head) of one hyper layer.

        Keys are rotated in float32 and then rounded; those of the text rotate in the model's type.
        """
        keys, values = self.keys_values[layer].to(self.visible.device).unbind(dim=-2)
        keys = rotate(keys.float(), self.rotation).to(values.dtype)
        first, second = (states.permute(0, 3, 1, 2, 4).flatten(2, 3) for states in (keys, values))
        return first, second


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Context:
    """What all layers share, for R rows of L tokens.

    Attributes:
        rotation: Of queries and keys: (R, 1, L, head) in the model's type.
        mask: (R, 1, L, L), which tokens a token sees; None: itself and all before it.
        image: None where no row shows an image.
    """

    rotation: Rotation
    mask: torch.Tensor | None
    image: ImageContext | None

    def to(self, device: torch.device) -> "Context":
        """Return the same on another device."""
        cosine, sine = self.rotation
        if cosine.device == device:
            return self
        return Context(
            rotation=(cosine.to(device), sine.to(device)),
            mask=None if self.mask is None else self.mask.to(device),
            image=None if self.image is None else self.image.to(device),
        )


class TextAttention(nn.Module):
    """Causal attention of Qwen2 over the text."""

    def __init__(self, config: Config, layer: int) -> None:
        super().__init__()
        self.layer, self.heads, self.kv_heads = layer, config.heads, config.kv_heads
        self.q_proj = nn.Linear(config.hidden, config.heads * config.head)
        self.k_proj = nn.Linear(config.hidden, config.kv_heads * config.head)
        self.v_proj = nn.Linear(config.hidden, config.kv_heads * config.head)
        self.o_proj = nn.Linear(config.heads * config.head, config.hidden, bias=False)

    def project(self, hidden: torch.Tensor, by: Rotation) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return queries (R, heads, L, head), keys and values (R, kv heads, L, head), rotated."""
        queries = self.q_proj(hidden).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        keys = self.k_proj(hidden).unflatten(-1, (self.kv_heads, -1)).transpose(1, 2)
        values = self.v_proj(hidden).unflatten(-1, (self.kv_heads, -1)).transpose(1, 2)
        return rotate(queries, by), rotate(keys, by), values

    def forward(self, hidden: torch.Tensor, context: Context) -> torch.Tensor:
        """Map (R, L, channels) to the same shape."""
        queries, keys, values = self.project(hidden, context.rotation)
        return self.o_proj(self.mix(queries, keys, values, context))  # type: ignore[no-any-return]

    def mix(self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, context: Context) -> torch.Tensor:
        """Return what the queries read, heads concatenated: (R, L, heads * head)."""
        return attend(queries, keys, values, context.mask)


class HyperAttention(TextAttention):
    """Attention that reads images too; `image_keys_values` is what they are read from."""

    def __init__(self, config: Config, layer: int) -> None:
        super().__init__(config, layer)
        self.v_kv_proj = nn.Linear(config.hidden, 2 * config.kv_heads * config.head)

    def image_keys_values(self, normed: torch.Tensor) -> torch.Tensor:
        """Map image tokens under the layer's norm to keys and values: (n, T, kv heads, 2, head).

        Keys and values lie interleaved head by head in the official map, not as two halves.
        """
        return self.v_kv_proj(normed).unflatten(-1, (self.kv_heads, 2, -1))  # type: ignore[no-any-return]


class FusedAttention(HyperAttention):
    """One softmax over image and text tokens together: 241101."""

    def mix(self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, context: Context) -> torch.Tensor:
        """Return what the queries read, heads concatenated: (R, L, heads * head)."""
        if context.image is None:
            return attend(queries, keys, values, context.mask)
        image_keys, image_values = context.image.read(self.layer)
        own = causal_mask(queries) if context.mask is None else context.mask
        seen = context.image.visible & context.image.seeing[:, None]
        mask = torch.cat([seen, own.expand(len(seen), -1, -1, -1)], dim=-1)
        return attend(queries, torch.cat([image_keys, keys], 2), torch.cat([image_values, values], 2), mask)


class GatedAttention(HyperAttention):
    """Two softmaxes, over the text and over the images, mixed by a gate: 240728.

    From the first token that sees an image on, the result is text * (1 - gate) + image * gate; tokens before it keep
    what they read from the text, without any gate.
    """

    def gate_values(self, text: torch.Tensor) -> torch.Tensor:
        """Return the gate in [0, 1] for what was read from the text (..., heads * head), to be broadcast over it."""
        raise NotImplementedError

    def mix(self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, context: Context) -> torch.Tensor:
        """Return what the queries read, heads concatenated: (R, L, heads * head)."""
        text = attend(queries, keys, values, context.mask)
        if context.image is None:
            return text
        image = attend(queries, *context.image.read(self.layer), context.image.visible)
        gate = self.gate_values(text)
        return torch.where(context.image.seeing, text * (1 - gate) + image * gate, text)


class StaticGateAttention(GatedAttention):
    """A fixed gate for each channel; the code of the 1B and 2B siblings of 240728."""

    def __init__(self, config: Config, layer: int) -> None:
        super().__init__(config, layer)
        self.gate = nn.Parameter(torch.zeros(config.hidden))

    def gate_values(self, text: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        """Return the gate in [0, 1]: (heads * head,)."""
        return torch.sigmoid(self.gate)


class HeadGateAttention(GatedAttention):
    """A gate computed from what each head read from the text. A reconstruction from derivatives of 240728."""

    def __init__(self, config: Config, layer: int) -> None:
        super().__init__(config, layer)
        self.gate_proj = nn.Sequential(nn.Linear(config.head, config.head), nn.Sigmoid())

    def gate_values(self, text: torch.Tensor) -> torch.Tensor:
        """Return the gate in [0, 1], of the shape of `text`."""
        return self.gate_proj(text.unflatten(-1, (self.heads, -1))).flatten(-2)  # type: ignore[no-any-return]


class HeadLinearGateAttention(GatedAttention):
    """`HeadGateAttention` under other names of the weights."""

    def __init__(self, config: Config, layer: int) -> None:
        super().__init__(config, layer)
        self.gate_proj = nn.Linear(config.head, config.head)

    def gate_values(self, text: torch.Tensor) -> torch.Tensor:
        """Return the gate in [0, 1], of the shape of `text`."""
        return torch.sigmoid(self.gate_proj(text.unflatten(-1, (self.heads, -1)))).flatten(-2)


HYPER_ATTENTION: Mapping[Gate, type[HyperAttention]] = MappingProxyType(
    {
        Gate.NONE: FusedAttention,
        Gate.STATIC: StaticGateAttention,
        Gate.HEAD: HeadGateAttention,
        Gate.HEAD_LINEAR: HeadLinearGateAttention,
    }
)


def attend(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Return softmax(queries keys^T / sqrt(head)) values, heads concatenated: (R, L, heads * head).

    Args:
        queries: (R, heads, L, head).
        keys: (R, kv heads, S, head); consecutive query heads share one.
        values: Like `keys`.
        mask: (R, 1, L, S), True where a query sees a key; None: causal, S is L.
    """
    read = functional.scaled_dot_product_attention(
        queries, keys, values, attn_mask=mask, is_causal=mask is None, enable_gqa=True
    )
    return read.transpose(1, 2).flatten(2)


def causal_mask(queries: torch.Tensor) -> torch.Tensor:
    """Return (1, 1, L, L), True where a token sees a token."""
    length = queries.shape[2]
    return torch.ones(length, length, dtype=torch.bool, device=queries.device).tril()[None, None]
