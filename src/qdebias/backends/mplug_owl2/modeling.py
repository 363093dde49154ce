"""mPLUG-Owl2: a ViT, an abstractor, and Llama-2 with separate weights for image tokens, under the official names."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Self, TypeAlias, cast

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812  torch's own abbreviation
from transformers import LlamaConfig
from transformers.activations import QuickGELUActivation
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.llama import modeling_llama as llama

from qdebias.backends.hf.native import NativeModel, check_entries, put_images

IMAGE_TOKEN = -200
"""The id of each token of an image; the official code has one for the whole image."""

_REQUIRED = (
    *("hidden_size", "intermediate_size", "max_position_embeddings", "num_attention_heads", "num_hidden_layers"),
    "rms_norm_eps",
)
_SUPPORTED = {
    "attention_bias": False,
    "hidden_act": "silu",
    "pretraining_tp": 1,
    "quantization_config": None,
    "rope_scaling": None,
    "tie_word_embeddings": False,
}
"""The values of all published checkpoints; another value would silently be another model."""

_VISION = (
    *("hidden_size", "image_size", "intermediate_size", "layer_norm_eps", "num_attention_heads", "num_hidden_layers"),
    "patch_size",
)
_ABSTRACTOR = (
    *("encoder_hidden_size", "grid_size", "hidden_size", "intermediate_size", "layer_norm_eps"),
    *("num_attention_heads", "num_hidden_layers", "num_learnable_queries"),
)


class MplugOwl2Config(LlamaConfig):
    """Entries of `config.json`: Llama's, those of the vision parts, and how images become square."""

    model_type = "mplug_owl2"

    visual_config: dict[str, Any] | None = None
    image_aspect_ratio: str | None = None  # "pad" adds a border, "resize" squeezes, None takes the middle

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **options: Any) -> Self:  # noqa: ANN401
        """Return the config of a `config.json`, or raise a ValueError that names the entry."""
        check_entries(config_dict, required=_REQUIRED, supported=_SUPPORTED)
        parts = config_dict.get("visual_config")
        if not isinstance(parts, dict) or not {"visual_model", "visual_abstractor"} <= parts.keys():
            raise ValueError("has no entry 'visual_config' with 'visual_model' and 'visual_abstractor'")
        vision, abstractor = parts["visual_model"], parts["visual_abstractor"]
        check_entries(vision, required=_VISION, supported={"num_channels": 3}, where="visual_model: ")
        check_entries(abstractor, required=_ABSTRACTOR, supported={}, where="visual_abstractor: ")
        for name, part in (("visual_model", vision), ("visual_abstractor", abstractor), ("decoder", config_dict)):
            if part["hidden_size"] % part["num_attention_heads"]:
                raise ValueError(f"{name}: {part['hidden_size']} channels are not {part['num_attention_heads']} heads")
        if not vision["hidden_size"] == abstractor["encoder_hidden_size"] == abstractor["hidden_size"]:
            raise ValueError("visual_model and visual_abstractor differ in their channels")
        if abstractor["grid_size"] != vision["image_size"] // vision["patch_size"]:
            raise ValueError(f"images of {vision['image_size']} pixels do not fit grid_size {abstractor['grid_size']}")
        return cast(Self, super().from_dict(config_dict, **options))

    @property
    def vision(self) -> Mapping[str, Any]:
        """The vision encoder."""
        return cast(Mapping[str, Any], (self.visual_config or {})["visual_model"])

    @property
    def abstractor(self) -> Mapping[str, Any]:
        """The learned queries that attend to the output of the vision encoder."""
        return cast(Mapping[str, Any], (self.visual_config or {})["visual_abstractor"])

    @property
    def image_positions(self) -> int:
        """Number of tokens of the vision encoder, including the class token."""
        return int(self.abstractor["grid_size"]) ** 2 + 1

    @property
    def image_tokens(self) -> int:
        """Number of tokens of an image in the prompt, including the one that ends it."""
        return int(self.abstractor["num_learnable_queries"]) + 1

    @property
    def image_token_id(self) -> int:
        """The id of each of them."""
        return IMAGE_TOKEN


class VisionLayer(nn.Module):
    """One layer of the vision encoder; its projection holds, head by head, the rows of query, key and value."""

    def __init__(self, config: MplugOwl2Config) -> None:
        super().__init__()
        vision = config.vision
        width, epsilon, self.heads = vision["hidden_size"], vision["layer_norm_eps"], vision["num_attention_heads"]
        self.self_attn = nn.ModuleDict(
            {"query_key_value": nn.Linear(width, 3 * width), "dense": nn.Linear(width, width)}
        )
        self.input_layernorm = nn.LayerNorm(width, eps=epsilon)
        inner = vision["intermediate_size"]
        parts = {"fc1": nn.Linear(width, inner), "act": QuickGELUActivation(), "fc2": nn.Linear(inner, width)}
        self.mlp = nn.Sequential(OrderedDict(parts))
        self.post_attention_layernorm = nn.LayerNorm(width, eps=epsilon)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Map (n, T, width) to the same shape."""
        attention = self.self_attn
        parts = attention["query_key_value"](self.input_layernorm(hidden)).unflatten(-1, (self.heads, 3, -1))
        read = F.scaled_dot_product_attention(*parts.transpose(1, 2).unbind(dim=3))
        hidden = hidden + attention["dense"](read.transpose(1, 2).flatten(2))
        return cast(torch.Tensor, hidden + self.mlp(self.post_attention_layernorm(hidden)))


class VisionEncoder(nn.Module):
    """Maps images to tokens: a class token and the patches, at learned positions, through the layers."""

    def __init__(self, config: MplugOwl2Config) -> None:
        super().__init__()
        vision = config.vision
        width, patch, epsilon = vision["hidden_size"], vision["patch_size"], vision["layer_norm_eps"]
        layers = nn.Sequential(*(VisionLayer(config) for _ in range(vision["num_hidden_layers"])))
        self.embeddings = nn.Module()
        self.embeddings.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.embeddings.patch_embed = nn.Conv2d(3, width, kernel_size=patch, stride=patch, bias=False)
        self.embeddings.position_embedding = nn.Parameter(torch.empty(1, config.image_positions, width))
        self.embeddings.pre_layernorm = nn.LayerNorm(width, eps=epsilon)
        self.encoder = nn.ModuleDict({"layers": layers})
        self.post_layernorm = nn.LayerNorm(width, eps=epsilon)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Map (n, 3, side, side) to (n, T, width), the class token first."""
        first: Any = self.embeddings
        patches = first.patch_embed(pixels).flatten(2).transpose(1, 2)
        placed = torch.cat([first.cls_token.expand(len(patches), -1, -1), patches], dim=1) + first.position_embedding
        return cast(torch.Tensor, self.post_layernorm(self.encoder["layers"](first.pre_layernorm(placed))))


class AbstractorAttention(nn.Module):
    """Attention of queries to themselves and to image tokens, with stored positions."""

    def __init__(self, width: int, heads: int, queries: int, tokens: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.q_pos_embed = nn.Parameter(torch.empty(queries, width))
        self.k_pos_embed = nn.Parameter(torch.empty(tokens, width))

    def forward(self, queries: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        """Map (n, Q, width) and (n, T, width) to (n, Q, width)."""
        read = torch.cat([queries, image], dim=1)
        places = torch.cat([self.q_pos_embed, self.k_pos_embed])
        parts = self.query(queries + self.q_pos_embed), self.key(read + places), self.value(read)
        by_head = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        return F.scaled_dot_product_attention(*by_head).transpose(1, 2).flatten(2)


class AbstractorLayer(nn.Module):
    """One layer of the abstractor; only the norm inside the MLP, whose gate is `w1`, has an epsilon other than 1e-5."""

    def __init__(self, config: MplugOwl2Config) -> None:
        super().__init__()
        shape, width = config.abstractor, config.abstractor["hidden_size"]
        inner = shape["intermediate_size"]
        self.attention = AbstractorAttention(
            width, shape["num_attention_heads"], shape["num_learnable_queries"], config.image_positions
        )
        mlp = nn.ModuleDict({"w1": nn.Linear(width, inner), "w2": nn.Linear(inner, width)})
        mlp.update({"w3": nn.Linear(width, inner), "ffn_ln": nn.LayerNorm(inner, eps=shape["layer_norm_eps"])})
        self.output = nn.ModuleDict({"out_proj": nn.Linear(width, width), "norm2": nn.LayerNorm(width), "mlp": mlp})
        self.norm1, self.normk = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, queries: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        """Map (n, Q, width) and (n, T, width) to (n, Q, width); the residual is that of the normed queries."""
        queries, output = self.norm1(queries), self.output
        hidden = queries + output["out_proj"](self.attention(queries, self.normk(image)))
        normed, mlp = output["norm2"](hidden), cast(nn.ModuleDict, output["mlp"])
        gated = F.silu(mlp["w1"](normed)) * mlp["w3"](normed)
        return cast(torch.Tensor, hidden + mlp["w2"](mlp["ffn_ln"](gated)))


class Abstractor(nn.Module):
    """Maps the tokens of an image to Q tokens of the language model and one that ends the image."""

    def __init__(self, config: MplugOwl2Config) -> None:
        super().__init__()
        shape, width = config.abstractor, config.abstractor["hidden_size"]
        layers = (nn.ModuleDict({"crossattention": AbstractorLayer(config)}) for _ in range(shape["num_hidden_layers"]))
        self.query_embeds = nn.Parameter(torch.empty(1, shape["num_learnable_queries"], width))
        self.encoder = nn.ModuleDict({"layers": nn.ModuleList(layers)})
        self.visual_fc = nn.Linear(width, config.hidden_size)
        self.vit_eos = nn.Parameter(torch.empty(1, 1, config.hidden_size))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Map (n, T, width) to (n, Q + 1, hidden)."""
        queries = self.query_embeds.expand(len(image), -1, -1)
        for layer in cast(nn.ModuleList, self.encoder["layers"]):
            queries = cast(nn.ModuleDict, layer)["crossattention"](queries, image)
        return torch.cat([self.visual_fc(queries), self.vit_eos.expand(len(image), -1, -1)], dim=1)


Ways: TypeAlias = tuple[torch.Tensor, torch.Tensor]
"""Indices of the text tokens and of the image tokens among R * L."""


class Multiway(nn.Module):
    """Two modules of one shape, one for text and one for images."""

    def __init__(self, text: nn.Module, image: nn.Module) -> None:
        super().__init__()
        self.multiway = nn.ModuleList([text, image])

    def forward(self, hidden: torch.Tensor, ways: Ways) -> torch.Tensor:
        """Map (R, L, channels) to (R, L, other channels)."""
        flat = hidden.flatten(0, 1)
        if not len(ways[1]):
            return cast(torch.Tensor, self.multiway[0](hidden))
        text, image = (module(flat[places]) for module, places in zip(self.multiway, ways, strict=True))
        mapped: torch.Tensor = text.new_empty(len(flat), text.shape[-1])
        return mapped.index_copy(0, ways[0], text).index_copy(0, ways[1], image).view(*hidden.shape[:2], -1)


class Layer(nn.Module):
    """One layer of the language model, with separate keys, values and norms for image tokens."""

    def __init__(self, config: MplugOwl2Config) -> None:
        super().__init__()
        self.head = config.hidden_size // config.num_attention_heads
        hidden, kept = config.hidden_size, (config.num_key_value_heads or config.num_attention_heads) * self.head
        self.self_attn = nn.ModuleDict(
            {
                "q_proj": nn.Linear(hidden, hidden, bias=False),
                "k_proj": Multiway(*(nn.Linear(hidden, kept, bias=False) for _ in range(2))),
                "v_proj": Multiway(*(nn.Linear(hidden, kept, bias=False) for _ in range(2))),
                "o_proj": nn.Linear(hidden, hidden, bias=False),
            }
        )
        self.mlp = llama.LlamaMLP(config)
        self.input_layernorm, self.post_attention_layernorm = (
            Multiway(*(llama.LlamaRMSNorm(hidden, config.rms_norm_eps) for _ in range(2))) for _ in range(2)
        )

    def forward(
        self, hidden: torch.Tensor, ways: Ways, rotation: tuple[torch.Tensor, torch.Tensor], mask: torch.Tensor | None
    ) -> torch.Tensor:
        """Map (R, L, hidden) to the same shape; `rotation` is cosine and sine (R, L, head); no mask is a causal one."""
        attention, normed = self.self_attn, self.input_layernorm(hidden, ways)
        parts = attention["q_proj"](normed), attention["k_proj"](normed, ways), attention["v_proj"](normed, ways)
        query, key, value = (part.unflatten(-1, (-1, self.head)).transpose(1, 2) for part in parts)
        query, key = llama.apply_rotary_pos_emb(query, key, *rotation)
        read = F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=mask is None, enable_gqa=query.shape[1] != key.shape[1]
        )
        hidden = hidden + attention["o_proj"](read.transpose(1, 2).flatten(2))
        return cast(torch.Tensor, hidden + self.mlp(self.post_attention_layernorm(hidden, ways)))


class MplugOwl2Model(nn.Module):
    """Embedding, layers and last norm, and the vision parts."""

    def __init__(self, config: MplugOwl2Config) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = llama.LlamaRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.rotary_emb = llama.LlamaRotaryEmbedding(config)
        self.vision_model = VisionEncoder(config)
        self.visual_abstractor = Abstractor(config)

    def get_image_features(self, pixel_values: torch.Tensor) -> BaseModelOutputWithPooling:
        """Encode images (n, 3, side, side); `pooler_output` is (n, tokens, hidden), including the end of each."""
        return BaseModelOutputWithPooling(pooler_output=self.visual_abstractor(self.vision_model(pixel_values)))

    def forward(
        self, ids: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor | None, images: torch.Tensor | None
    ) -> torch.Tensor:
        """Return (R, L, hidden) under the last norm."""
        slots = ids == IMAGE_TOKEN
        hidden = self.embed_tokens(ids.masked_fill(slots, 0))
        put_images(hidden, slots, images)
        ways = (~slots).flatten().nonzero()[:, 0], slots.flatten().nonzero()[:, 0]
        rotation = self.rotary_emb(hidden, positions)
        for layer in self.layers:
            hidden = layer(hidden, ways, rotation, mask)
        return cast(torch.Tensor, self.norm(hidden))


class MplugOwl2ForConditionalGeneration(NativeModel):
    """mPLUG-Owl2; checkpoints for different tasks differ in the prompt, not in the architecture."""

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
        """Return the layers of the language model, without the vision parts."""
        return self.model.layers
