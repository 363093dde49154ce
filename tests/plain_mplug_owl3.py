"""The plain way through mPLUG-Owl3, one prompt at a time: the reference that its forward pass is tested against.

Every image is encoded anew for every prompt, every position gets its logits, masks are written out from the official
`media_offset`, and attention is a softmax between two products. Only the weights are shared with the fast way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from transformers.models.qwen2.modeling_qwen2 import Qwen2Attention

from qdebias.backends.mplug_owl3.modeling import FIRST, HyperAttention, MplugOwl3ForConditionalGeneration


def rotation(positions: torch.Tensor, head: int, theta: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return cosine and sine, float32 (..., head), of the angles of integer positions (...)."""
    steps = torch.arange(0, head, 2, dtype=torch.float32)
    angles = positions[..., None].float() * (1.0 / theta ** (steps / head))
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos(), angles.sin()


def rotate(states: torch.Tensor, by: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Rotate (..., head): channel i together with channel i + head / 2."""
    cosine, sine = by
    first, second = states.chunk(2, dim=-1)
    return states * cosine + torch.cat([-second, first], dim=-1) * sine


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """What came out.

    Attributes:
        logits: (L, vocabulary) float32.
        hidden: The embeddings, and the output of every layer: (L, channels) each, the last under the last norm.
    """

    logits: torch.Tensor
    hidden: tuple[torch.Tensor, ...]


def trace(
    model: MplugOwl3ForConditionalGeneration, ids: Sequence[int], starts: Sequence[int], pixels: torch.Tensor
) -> Trace:
    """Run one prompt.

    Args:
        model: Filled with weights, on one device.
        ids: The prompt.
        starts: For each marker in order, the index in `ids` of its first token.
        pixels: (n, 3, side, side), the tiles in the order of the markers; tiles without a marker are not read, as in
            the official decoder.
    """
    decoder, config = model.language_model.model, model.config
    hidden = decoder.embed_tokens(torch.tensor(ids))
    images = hidden[None, :0]
    if starts:
        images = model.get_image_features(pixels[: len(starts)]).last_hidden_state
    states = [hidden]
    for layer in decoder.layers:
        theta = config.rope_parameters["rope_theta"]
        reading = _Reading(layer.self_attn, config, theta, config.release, tuple(starts))
        read = reading.read(layer.input_layernorm(hidden), layer.input_layernorm(images))
        hidden = hidden + layer.self_attn.o_proj(read)
        hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
        states.append(hidden)
    states[-1] = decoder.norm(hidden)
    return Trace(model.lm_head(states[-1]).float(), tuple(states))


@dataclass(frozen=True, slots=True)
class _Reading:
    """The attention of one layer in one prompt."""

    attention: Qwen2Attention
    config: Any
    theta: float
    release: str
    starts: tuple[int, ...]

    def read(self, hidden: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        """Return what the queries read, (L, channels), from `hidden` (L, channels) and `images` (n, T, channels)."""
        attention, heads, kv_heads = self.attention, self.config.num_attention_heads, self.config.num_key_value_heads
        groups = heads // kv_heads
        places = torch.arange(len(hidden), device=hidden.device)
        queries = self._rotated(_heads(attention.q_proj(hidden), heads), places)
        keys = self._rotated(_heads(attention.k_proj(hidden), kv_heads), places).repeat_interleave(groups, 0)
        values = _heads(attention.v_proj(hidden), kv_heads).repeat_interleave(groups, 0)
        causal = places[None] <= places[:, None]
        if not isinstance(attention, HyperAttention) or not self.starts:
            return _softmax(queries, keys, values, causal)
        counts, positions = _media(self.release, self.starts, len(hidden))
        image_keys, image_values = self._image(attention, images, positions.to(hidden.device), groups)
        order = torch.arange(len(images), device=hidden.device).repeat_interleave(images.shape[1])
        visible = order[None] < counts.to(hidden.device)[:, None]
        if attention.kind == "none":
            both = torch.cat([image_keys, keys], 1), torch.cat([image_values, values], 1)
            return _softmax(queries, *both, torch.cat([visible, causal], 1))
        text, first = _softmax(queries, keys, values, causal), int((counts > 0).long().argmax())
        image = _softmax(queries[:, first:], image_keys, image_values, visible[first:])
        gate = attention.gate_values(text[first:])
        return torch.cat([text[:first], text[first:] * (1 - gate) + image * gate])

    def _image(
        self, attention: HyperAttention, images: torch.Tensor, positions: torch.Tensor, groups: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return keys and values (heads, n * T, head) of images (n, T, channels) at positions (n,)."""
        flat = attention.v_kv_proj(images.flatten(0, 1)).view(images.shape[0] * images.shape[1], -1)
        by_head = _heads(flat, self.config.num_key_value_heads)
        keys, values = by_head.chunk(2, dim=-1)
        cosine, sine = rotation(positions.repeat_interleave(images.shape[1]), keys.shape[-1], self.theta)
        rotated = rotate(keys.float(), (cosine, sine)).to(values.dtype)
        return rotated.repeat_interleave(groups, 0), values.repeat_interleave(groups, 0)

    def _rotated(self, states: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        cosine, sine = rotation(places, states.shape[-1], self.theta)
        return rotate(states, (cosine.to(states.dtype), sine.to(states.dtype)))


def media_offset(release: str, starts: Sequence[int], length: int) -> list[list[int]] | list[int]:
    """Return the argument of that name of the official model, for one sequence.

    240728: (L, 2), the index of the first crop and that plus the number of markers before the token, or -1000000
    without any marker. 241101: `starts`.
    """
    if release != FIRST:
        return list(starts)
    if not starts:
        return [[0, -1_000_000] for _ in range(length)]
    return [[0, sum(start < token for start in starts)] for token in range(length)]


def _media(release: str, starts: tuple[int, ...], length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return how many crops each token sees (L,), and the position of each crop (n,), from `media_offset`.

    240728: the position is the first token at which the second column grows. 241101: the offset itself.
    """
    offset = torch.tensor(media_offset(release, starts, length))
    if offset.dim() == 1:
        return (torch.arange(length)[:, None] >= offset[None]).sum(dim=1), offset
    counts = offset[:, 1] - offset[:, 0]
    return counts, 1 + (counts[1:] > counts[:-1]).nonzero()[:, 0]


def _heads(states: torch.Tensor, heads: int) -> torch.Tensor:
    return cast(torch.Tensor, states.unflatten(-1, (heads, -1)).transpose(0, 1))


def _softmax(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return (L, heads * head) from (heads, L, head), (heads, S, head) twice, and a mask (L, S)."""
    scores = (queries @ keys.transpose(1, 2) * queries.shape[-1] ** -0.5).masked_fill(~mask, -torch.inf)
    return cast(torch.Tensor, (scores.float().softmax(dim=-1).to(values.dtype) @ values).transpose(0, 1).flatten(1))
