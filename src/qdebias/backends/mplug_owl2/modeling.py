"""mPLUG-Owl2: a ViT, an abstractor, and Llama-2 with weights of its own for image tokens; the official names."""

from typing import NamedTuple, cast

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812  torch's own abbreviation
from transformers import CLIPVisionConfig
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.clip.modeling_clip import CLIPMLP
from transformers.models.llama import modeling_llama as llama

from qdebias.backends.hf.native import NativeModel, put_images
from qdebias.backends.mplug_owl2.configuration import IMAGE_TOKEN, MplugOwl2Config


class VisionEmbeddings(nn.Module):
    """Patches behind a class token, at learned positions."""

    def __init__(self, config: MplugOwl2Config) -> None:
        super().__init__()
        vision = config.vision
        width, patch, epsilon = vision["hidden_size"], vision["patch_size"], vision["layer_norm_eps"]
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.patch_embed = nn.Conv2d(3, width, kernel_size=patch, stride=patch, bias=False)
        self.position_embedding = nn.Parameter(torch.empty(1, config.image_positions, width))
        self.pre_layernorm = nn.LayerNorm(width, eps=epsilon)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Map (n, 3, side, side) to (n, T, width)."""
        patches = self.patch_embed(pixels).flatten(2).transpose(1, 2)
        first = self.cls_token.expand(len(patches), -1, -1)
        hidden = torch.cat([first, patches], dim=1) + self.position_embedding
        return cast(torch.Tensor, self.pre_layernorm(hidden))


class VisionAttention(nn.Module):
    """Self-attention whose projection holds, head by head, the rows of query, key and value."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_key_value = nn.Linear(width, 3 * width)
        self.dense = nn.Linear(width, width)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Map (n, T, width) to the same shape."""
        by_head = self.query_key_value(hidden).unflatten(-1, (self.heads, 3, -1)).transpose(1, 2)
        read = F.scaled_dot_product_attention(*by_head.unbind(dim=3))
        return cast(torch.Tensor, self.dense(read.transpose(1, 2).flatten(2)))


class VisionLayer(nn.Module):
    """One layer of the vision encoder; its activation is the quick GELU, whatever the config calls it."""

    def __init__(self, config: MplugOwl2Config) -> None:
        super().__init__()
        vision = config.vision
        width, epsilon = vision["hidden_size"], vision["layer_norm_eps"]
        heads, intermediate = vision["num_attention_heads"], vision["intermediate_size"]
        mlp = CLIPVisionConfig(
            hidden_size=width, intermediate_size=intermediate, num_attention_heads=heads, hidden_act="quick_gelu"
        )
        self.self_attn = VisionAttention(width, heads)
        self.input_layernorm = nn.LayerNorm(width, eps=epsilon)
        self.mlp = CLIPMLP(mlp)
        self.post_attention_layernorm = nn.LayerNorm(width, eps=epsilon)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Map (n, T, width) to the same shape."""
        hidden = hidden + self.self_attn(self.input_layernorm(hidden))
        return cast(torch.Tensor, hidden + self.mlp(self.post_attention_layernorm(hidden)))


class VisionEncoder(nn.Module):
    """Maps images to tokens, that of the class first."""

    def __init__(self, config: MplugOwl2Config) -> None:
        super().__init__()
        layers = nn.Sequential(*(VisionLayer(config) for _ in range(config.vision["num_hidden_layers"])))
        self.embeddings = VisionEmbeddings(config)
        self.encoder = nn.ModuleDict({"layers": layers})
        self.post_layernorm = nn.LayerNorm(config.vision["hidden_size"], eps=config.vision["layer_norm_eps"])

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Map (n, 3, side, side) to (n, T, width)."""
        return cast(torch.Tensor, self.post_layernorm(self.encoder["layers"](self.embeddings(pixels))))


class AbstractorAttention(nn.Module):
    """Attention of Q queries to themselves and to T image tokens.

    The positions are numbers computed once and stored in the checkpoint, rounded to its type.
    """

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


class AbstractorMlp(nn.Module):
    """Gated linear unit with a norm inside; the gate is `w1`."""

    def __init__(self, width: int, intermediate: int, epsilon: float) -> None:
        super().__init__()
        self.w1 = nn.Linear(width, intermediate)
        self.w2 = nn.Linear(intermediate, width)
        self.w3 = nn.Linear(width, intermediate)
        self.ffn_ln = nn.LayerNorm(intermediate, eps=epsilon)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Map (n, Q, width) to the same shape."""
        return cast(torch.Tensor, self.w2(self.ffn_ln(F.silu(self.w1(hidden)) * self.w3(hidden))))


class AbstractorLayer(nn.Module):
    """One layer of the abstractor; its norms have torch's epsilon, 1e-5, except the one inside the MLP."""

    def __init__(self, config: MplugOwl2Config) -> None:
        super().__init__()
        shape, width = config.abstractor, config.abstractor["hidden_size"]
        self.attention = AbstractorAttention(
            width, shape["num_attention_heads"], shape["num_learnable_queries"], config.image_positions
        )
        mlp = AbstractorMlp(width, shape["intermediate_size"], shape["layer_norm_eps"])
        self.output = nn.ModuleDict({"out_proj": nn.Linear(width, width), "norm2": nn.LayerNorm(width), "mlp": mlp})
        self.norm1 = nn.LayerNorm(width)
        self.normk = nn.LayerNorm(width)

    def forward(self, queries: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        """Map (n, Q, width) and (n, T, width) to (n, Q, width); the residual is of normed queries."""
        queries = self.norm1(queries)
        hidden = queries + self.output["out_proj"](self.attention(queries, self.normk(image)))
        return cast(torch.Tensor, hidden + self.output["mlp"](self.output["norm2"](hidden)))


class Abstractor(nn.Module):
    """Maps the tokens of an image to Q tokens of the language model, and one that ends the image."""

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
