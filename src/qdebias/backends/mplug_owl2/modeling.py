"""mPLUG-Owl2: a ViT, an abstractor, and Llama-2 with weights of its own for image tokens; the official names."""

from typing import NamedTuple, cast

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812  torch's own abbreviation
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.llama import modeling_llama as llama

from qdebias.backends.mplug_owl2.configuration import IMAGE_TOKEN, MplugOwl2Config
from qdebias.backends.mplug_owl2.vision import Abstractor, VisionEncoder
from qdebias.backends.native_model import NativeModel, put_images


class Ways(NamedTuple):
    """Which of R * L tokens are text and which belong to images: indices of both."""

    text: torch.Tensor
    image: torch.Tensor


class Multiway(nn.Module):
    """Two modules of one shape: the first for the text, the second for images."""

    def __init__(self, text: nn.Module, image: nn.Module) -> None:
        super().__init__()
        self.multiway = nn.ModuleList([text, image])

    def forward(self, hidden: torch.Tensor, ways: Ways) -> torch.Tensor:
        """Map (R, L, channels) to (R, L, other channels)."""
        flat = hidden.flatten(0, 1)
        if not len(ways.image):
            return cast(torch.Tensor, self.multiway[0](hidden))
        text, image = (module(flat[places]) for module, places in zip(self.multiway, ways, strict=True))
        mapped: torch.Tensor = text.new_empty(len(flat), text.shape[-1])
        return mapped.index_copy(0, ways.text, text).index_copy(0, ways.image, image).view(*hidden.shape[:2], -1)


class Attention(nn.Module):
    """Causal self-attention; keys and values of image tokens have weights of their own."""

    def __init__(self, config: MplugOwl2Config) -> None:
        super().__init__()
        self.head = config.hidden_size // config.num_attention_heads
        hidden, kept = config.hidden_size, (config.num_key_value_heads or config.num_attention_heads) * self.head
        self.q_proj = nn.Linear(hidden, hidden, bias=False)
        self.k_proj, self.v_proj = (
            Multiway(*(nn.Linear(hidden, kept, bias=False) for _ in range(2))) for _ in range(2)
        )
        self.o_proj = nn.Linear(hidden, hidden, bias=False)

    def forward(
        self,
        hidden: torch.Tensor,
        ways: Ways,
        rotation: tuple[torch.Tensor, torch.Tensor],
        mask: torch.Tensor | None,
    ) -> torch.Tensor:
        """Map (R, L, hidden) to the same shape.

        Args:
            hidden: R rows of L tokens.
            ways: Which of them belong to images.
            rotation: Cosine and sine, (R, L, head), of queries and keys.
            mask: (R, 1, L, L), added to the scores; None: a token sees itself and all before it.
        """
        parts = self.q_proj(hidden), self.k_proj(hidden, ways), self.v_proj(hidden, ways)
        query, key, value = (part.unflatten(-1, (-1, self.head)).transpose(1, 2) for part in parts)
        query, key = llama.apply_rotary_pos_emb(query, key, *rotation)
        read = F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=mask is None, enable_gqa=query.shape[1] != key.shape[1]
        )
        return cast(torch.Tensor, self.o_proj(read.transpose(1, 2).flatten(2)))


class Layer(nn.Module):
    """One layer of the language model."""

    def __init__(self, config: MplugOwl2Config) -> None:
        super().__init__()
        self.self_attn = Attention(config)
        self.mlp = llama.LlamaMLP(config)
        self.input_layernorm, self.post_attention_layernorm = (
            Multiway(*(llama.LlamaRMSNorm(config.hidden_size, config.rms_norm_eps) for _ in range(2))) for _ in range(2)
        )

    def forward(
        self,
        hidden: torch.Tensor,
        ways: Ways,
        rotation: tuple[torch.Tensor, torch.Tensor],
        mask: torch.Tensor | None,
    ) -> torch.Tensor:
        """Map (R, L, hidden) to the same shape; the arguments are those of `Attention`."""
        hidden = hidden + self.self_attn(self.input_layernorm(hidden, ways), ways, rotation, mask)
        return cast(torch.Tensor, hidden + self.mlp(self.post_attention_layernorm(hidden, ways)))


class MplugOwl2Model(nn.Module):
    """Embedding, layers, last norm, and beside them the parts that see."""

    def __init__(self, config: MplugOwl2Config) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = llama.LlamaRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.rotary_emb = llama.LlamaRotaryEmbedding(config)
        self.vision_model = VisionEncoder(config)
        self.visual_abstractor = Abstractor(config)

    def get_image_features(self, pixel_values: torch.Tensor) -> BaseModelOutputWithPooling:
        """Encode images (n, 3, side, side); `pooler_output` is (n, tokens, hidden), the end of each included."""
        return BaseModelOutputWithPooling(pooler_output=self.visual_abstractor(self.vision_model(pixel_values)))

    def forward(
        self,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        mask: torch.Tensor | None,
        images: torch.Tensor | None,
    ) -> torch.Tensor:
        """Return (R, L, hidden) under the last norm."""
        slots = input_ids == IMAGE_TOKEN
        hidden = self.embed_tokens(input_ids.masked_fill(slots, 0))
        put_images(hidden, slots, images)
        ways = Ways(*(places.flatten().nonzero()[:, 0] for places in (~slots, slots)))
        rotation = self.rotary_emb(hidden, position_ids)
        for layer in self.layers:
            hidden = layer(hidden, ways, rotation, mask)
        return cast(torch.Tensor, self.norm(hidden))


class MplugOwl2ForConditionalGeneration(NativeModel):
    """mPLUG-Owl2; what it was trained for decides the prompt, not the architecture."""

    config: MplugOwl2Config
    config_class = MplugOwl2Config
    base_model_prefix = "model"
    _no_split_modules = ["VisionLayer", "AbstractorLayer", "Layer"]  # noqa: RUF012  transformers reads a list

    def __init__(self, config: MplugOwl2Config) -> None:
        super().__init__(config)
        self.model = MplugOwl2Model(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_decoder(self) -> nn.Module:
        """Return the layers of the language model, without what sees."""
        return self.model.layers
