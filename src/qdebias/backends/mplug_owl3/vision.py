"""The vision encoder: SigLIP without its last layer, its last norm and its head."""

from typing import cast

import torch
from torch import nn
from transformers import SiglipVisionConfig
from transformers.models.siglip.modeling_siglip import (
    SiglipEncoder,
    SiglipMultiheadAttentionPoolingHead,
    SiglipVisionEmbeddings,
)

from qdebias.backends.mplug_owl3.config import VisionConfig


class VisionEncoder(nn.Module):
    """Maps crops to the output of the last but one layer, as the official model does.

    The modules that it does not run are there so that the names of the weights are the official ones; `drop_unused`
    removes them.
    """

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        parts = SiglipVisionConfig(
            hidden_size=config.hidden,
            image_size=config.side,
            intermediate_size=config.intermediate,
            num_attention_heads=config.heads,
            num_hidden_layers=config.layers,
            patch_size=config.patch,
            layer_norm_eps=config.epsilon,
            attn_implementation="sdpa",
        )
        self.used_layers = config.layers - 1
        self.embeddings = SiglipVisionEmbeddings(parts)
        self.encoder = SiglipEncoder(parts)
        self.post_layernorm = nn.LayerNorm(config.hidden, eps=config.epsilon)
        self.head = SiglipMultiheadAttentionPoolingHead(parts)

    @property
    def unused(self) -> tuple[str, ...]:
        """Beginnings of the names of the weights that are never used; a checkpoint may lack them."""
        return (f"encoder.layers.{self.used_layers}.", "post_layernorm.", "head.")

    def drop_unused(self) -> None:
        """Remove what is never run."""
        del self.encoder.layers[self.used_layers], self.post_layernorm, self.head

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Encode crops.

        Args:
            pixels: (n, 3, side, side) uint8. They become (x / 255 - 0.5) / 0.5 in float32, then the model's type.

        Returns:
            (n, tokens, channels).
        """
        weight = self.embeddings.patch_embedding.weight
        scaled = (pixels.to(weight.device, torch.float32) / 255 - 0.5) / 0.5
        patches = self.embeddings.patch_embedding(scaled.to(weight.dtype)).flatten(2).transpose(1, 2)
        hidden = patches + self.embeddings.position_embedding.weight
        for layer in self.encoder.layers[: self.used_layers]:
            hidden = layer(hidden, None)
        return cast(torch.Tensor, hidden)
