"""The decoder: Qwen2, of which some layers read images."""

from collections.abc import Mapping
from typing import cast

import torch
from torch import nn
from transformers import Qwen2Config
from transformers.models.qwen2.modeling_qwen2 import Qwen2MLP, Qwen2RMSNorm

from qdebias.backends.mplug_owl3.attention import (
    HYPER_ATTENTION,
    Context,
    HyperAttention,
    ImageContext,
    TextAttention,
)
from qdebias.backends.mplug_owl3.config import Config
from qdebias.backends.mplug_owl3.rotary import rotation
from qdebias.backends.mplug_owl3.rows import Batch
from qdebias.backends.mplug_owl3.variant import Variant


class DecoderLayer(nn.Module):
    """One layer; `layer` is its index from 0."""

    def __init__(self, config: Config, layer: int, variant: Variant) -> None:
        super().__init__()
        parts = Qwen2Config(hidden_size=config.hidden, intermediate_size=config.intermediate, hidden_act="silu")
        attention = HYPER_ATTENTION[variant.gate] if layer in variant.hyper else TextAttention
        self.self_attn = attention(config, layer)
        self.mlp = Qwen2MLP(parts)
        self.input_layernorm = Qwen2RMSNorm(config.hidden, eps=config.epsilon)
        self.post_attention_layernorm = Qwen2RMSNorm(config.hidden, eps=config.epsilon)

    @property
    def device(self) -> torch.device:
        """Where the layer's weights lie."""
        return cast(torch.device, self.input_layernorm.weight.device)

    def image_keys_values(self, features: torch.Tensor) -> torch.Tensor:
        """Map image tokens (n, T, channels) to keys and values (n, T, kv heads, 2, head)."""
        normed = self.input_layernorm(features.to(self.device))
        return cast(HyperAttention, self.self_attn).image_keys_values(normed)

    def forward(self, hidden: torch.Tensor, context: Context) -> torch.Tensor:
        """Map (R, L, channels) to the same shape."""
        hidden = hidden + self.self_attn(self.input_layernorm(hidden), context)
        return hidden + self.mlp(self.post_attention_layernorm(hidden))  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """Embedding, layers and last norm."""

    def __init__(self, config: Config, variant: Variant) -> None:
        super().__init__()
        self.hyper, self.head, self.theta = variant.hyper, config.head, config.theta
        self.embed_tokens = nn.Embedding(config.vocabulary, config.hidden)
        self.layers = nn.ModuleList(DecoderLayer(config, layer, variant) for layer in range(config.layers))
        self.norm = Qwen2RMSNorm(config.hidden, eps=config.epsilon)

    def image_keys_values(self, features: torch.Tensor) -> dict[int, torch.Tensor]:
        """Map projected crops (n, T, channels) to (n, T, kv heads, 2, head) for each hyper layer by its index.

        They depend on nothing but the crop, so that all prompts share them.
        """
        return {index: cast(DecoderLayer, self.layers[index]).image_keys_values(features) for index in self.hyper}

    def forward(self, batch: Batch, keys_values: Mapping[int, torch.Tensor]) -> torch.Tensor:
        """Run a batch.

        Args:
            batch: R rows of L tokens with up to C crops.
            keys_values: For each hyper layer (R, C, T, kv heads, 2, head); not read where C is 0.

        Returns:
            (prompts, channels) at the last token of each prompt, under the last norm.
        """
        weight = self.embed_tokens.weight
        batch = batch.to(weight.device)
        hidden = self.embed_tokens(batch.ids)
        context = self._context(batch, keys_values, weight.dtype)
        for layer in self.layers:
            device = cast(DecoderLayer, layer).device
            hidden, context = hidden.to(device), context.to(device)
            hidden = layer(hidden, context)
        rows, last = batch.reads.to(hidden.device).unbind(dim=1)
        return self.norm(hidden[rows, last].to(self.norm.weight.device))  # type: ignore[no-any-return]

    def _context(self, batch: Batch, keys_values: Mapping[int, torch.Tensor], dtype: torch.dtype) -> Context:
        cosine, sine = (part[:, None].to(dtype) for part in rotation(batch.positions, self.head, self.theta))
        image = _image_context(batch, keys_values, self.head, self.theta) if batch.visible.shape[2] else None
        return Context(rotation=(cosine, sine), mask=batch.mask, image=image)


def _image_context(batch: Batch, keys_values: Mapping[int, torch.Tensor], head: int, theta: float) -> ImageContext:
    tokens = next(iter(keys_values.values())).shape[2]
    cosine, sine = rotation(batch.crop_positions, head, theta)
    seeing = batch.visible.any(dim=2, keepdim=True)
    visible = (batch.visible | ~seeing).repeat_interleave(tokens, dim=2)
    return ImageContext(
        keys_values=keys_values,
        rotation=(cosine[:, :, None, None], sine[:, :, None, None]),
        visible=visible[:, None],
        seeing=seeing,
    )


class LanguageModel(nn.Module):
    """Decoder and output layer."""

    def __init__(self, config: Config, variant: Variant) -> None:
        super().__init__()
        self.model = Decoder(config, variant)
        self.lm_head = nn.Linear(config.hidden, config.vocabulary, bias=False)
