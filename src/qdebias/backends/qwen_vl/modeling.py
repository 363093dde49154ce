"""Qwen-VL: a ViT, 256 learned queries that attend to its output, and Qwen-7B, under the official names."""

import math
from collections import OrderedDict
from typing import Any, Self, TypeAlias, cast

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812  torch's own abbreviation
from transformers import PreTrainedConfig
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.qwen2.modeling_qwen2 import Qwen2RMSNorm, rotate_half

from qdebias.backends.hf.native import NativeModel, check_entries, put_images

SLOTS, READER_HEAD, EPSILON = 256, 128, 1e-6
"""Tokens of an image, channels of one head of the reader, and epsilon of the vision layer norms; not in the config."""

_REQUIRED = (
    *("hidden_size", "intermediate_size", "kv_channels", "layer_norm_epsilon", "max_position_embeddings"),
    *("num_attention_heads", "num_hidden_layers", "rotary_emb_base", "seq_length", "use_dynamic_ntk"),
    *("use_logn_attn", "vocab_size"),
)
_VISUAL = ("heads", "image_size", "image_start_id", "layers", "mlp_ratio", "output_dim", "patch_size", "width")
_SUPPORTED = {
    "no_bias": True,
    "rotary_pct": 1.0,
    "scale_attn_weights": True,
    "tie_word_embeddings": False,
    "quantization_config": None,
}
"""The values of all published bfloat16 checkpoints; another value would silently be another model."""

Rotation: TypeAlias = tuple[torch.Tensor, torch.Tensor]
"""Cosine and sine, float32 (R, L, 1, head)."""


class QwenVLConfig(PreTrainedConfig):
    """Entries of `config.json`; `intermediate_size` is twice the channels inside the MLP."""

    model_type = "qwen"

    hidden_size: int = 4096
    intermediate_size: int = 22016
    kv_channels: int = 128
    layer_norm_epsilon: float = 1e-6
    max_position_embeddings: int = 8192
    num_attention_heads: int = 32
    num_hidden_layers: int = 32
    rotary_emb_base: int | float = 10000
    seq_length: int = 2048  # longer prompts, as with three images, stretch positions and scale later queries
    use_dynamic_ntk: bool = True
    use_logn_attn: bool = True
    vocab_size: int = 151936
    tie_word_embeddings: bool = False
    visual: dict[str, Any] | None = None

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **options: Any) -> Self:  # noqa: ANN401
        """Return the config of a `config.json`, or raise a ValueError that names the entry."""
        if not isinstance(config_dict.get("visual"), dict):
            raise ValueError("has no entry 'visual': this Qwen sees no images; use Qwen-VL or Qwen-VL-Chat")
        visual = config_dict["visual"]
        check_entries(config_dict, required=_REQUIRED, supported=_SUPPORTED)
        check_entries(visual, required=_VISUAL, supported={}, where="visual: ")
        width, heads, head = (config_dict[name] for name in ("hidden_size", "num_attention_heads", "kv_channels"))
        if heads * head != width or head % 2:
            raise ValueError(f"{width} channels are not {heads} heads of {head}")
        if visual["output_dim"] != width or width % READER_HEAD:
            raise ValueError(f"images of {visual['output_dim']} channels do not fit {width}, or not heads of 128")
        if visual["width"] % visual["heads"] or visual["image_size"] % visual["patch_size"]:
            raise ValueError(f"the vision encoder's sizes do not divide: {visual}")
        return cast(Self, super().from_dict(config_dict, **options))

    @property
    def image_token_id(self) -> int:
        """The id of <imgpad>, which follows </img>."""
        return int((self.visual or {})["image_start_id"]) + 2

    def stretch(self, length: int) -> int:
        """Return alpha of the dynamic NTK rule for a prompt of `length` tokens; 1 up to `seq_length`."""
        if not self.use_dynamic_ntk:
            return 1
        return int(max(2 ** math.ceil(math.log2(length / self.seq_length) + 1) - 1, 1))


class VisionLayer(nn.Module):
    """One layer of the vision encoder; its projection holds, head by head, the rows of query, key and value."""

    def __init__(self, width: int, heads: int, intermediate: int) -> None:
        super().__init__()
        self.heads = heads
        self.ln_1 = nn.LayerNorm(width, eps=EPSILON)
        self.attn = nn.ModuleDict({"in_proj": nn.Linear(width, 3 * width), "out_proj": nn.Linear(width, width)})
        self.ln_2 = nn.LayerNorm(width, eps=EPSILON)
        parts = {"c_fc": nn.Linear(width, intermediate), "gelu": nn.GELU(), "c_proj": nn.Linear(intermediate, width)}
        self.mlp = nn.Sequential(OrderedDict(parts))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Map (n, T, width) to the same shape."""
        by_head = self.attn["in_proj"](self.ln_1(hidden)).unflatten(-1, (self.heads, 3, -1)).transpose(1, 2)
        read = F.scaled_dot_product_attention(*by_head.unbind(dim=3))
        hidden = hidden + self.attn["out_proj"](read.transpose(1, 2).flatten(2))
        return cast(torch.Tensor, hidden + self.mlp(self.ln_2(hidden)))


class Reader(nn.Module):
    """Learned queries that attend to the patches; a resampler in the official code."""

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

    def __init__(self, config: QwenVLConfig) -> None:
        super().__init__()
        visual, hidden = config.visual or {}, config.hidden_size
        width, patch = visual["width"], visual["patch_size"]
        layers = (
            VisionLayer(width, visual["heads"], int(width * visual["mlp_ratio"])) for _ in range(visual["layers"])
        )
        self.conv1 = nn.Conv2d(3, width, kernel_size=patch, stride=patch, bias=False)
        self.positional_embedding = nn.Parameter(torch.empty(SLOTS, width))
        self.ln_pre = nn.LayerNorm(width, eps=EPSILON)
        self.transformer = nn.ModuleDict({"resblocks": nn.Sequential(*layers)})
        self.attn_pool = Reader(width, hidden)
        self.ln_post = nn.LayerNorm(hidden, eps=EPSILON)
        self.proj = nn.Parameter(torch.empty(hidden, hidden))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Map (n, 3, side, side) to (n, 256, hidden)."""
        patches = self.conv1(pixels).flatten(2).transpose(1, 2)
        hidden = self.ln_pre(patches + spread(self.positional_embedding, patches.shape[1]))
        hidden = self.attn_pool(self.transformer["resblocks"](hidden))
        return cast(torch.Tensor, self.ln_post(hidden) @ self.proj)


def spread(positions: torch.Tensor, count: int) -> torch.Tensor:
    """Map (s * s, channels), seen as a square, to (count, channels): bicubic, in float32."""
    old, new = math.isqrt(len(positions)), math.isqrt(count)
    if old == new:
        return positions
    square = positions.float().T.unflatten(1, (old, old))[None]
    return F.interpolate(square, size=(new, new), mode="bicubic")[0].flatten(1).T.to(positions.dtype)


class Layer(nn.Module):
    """One layer of the language model: causal self-attention, and a gated linear unit whose gate is `w2`."""

    def __init__(self, config: QwenVLConfig) -> None:
        super().__init__()
        hidden, inner = config.hidden_size, config.intermediate_size // 2
        self.heads = config.num_attention_heads
        self.ln_1, self.ln_2 = (Qwen2RMSNorm(hidden, config.layer_norm_epsilon) for _ in range(2))
        self.attn = nn.ModuleDict(
            {"c_attn": nn.Linear(hidden, 3 * hidden), "c_proj": nn.Linear(hidden, hidden, bias=False)}
        )
        shapes = {"w1": (hidden, inner), "w2": (hidden, inner), "c_proj": (inner, hidden)}
        self.mlp = nn.ModuleDict({name: nn.Linear(*shape, bias=False) for name, shape in shapes.items()})

    def forward(
        self, hidden: torch.Tensor, rotation: Rotation, scale: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        """Map (R, L, hidden) to the same shape; queries are scaled by (R, L, 1, 1); no mask is a causal one."""
        parts = self.attn["c_attn"](self.ln_1(hidden)).unflatten(-1, (3, self.heads, -1))
        query, key, value = parts.unbind(dim=2)
        query, key = rotate(query, rotation) * scale.to(query.dtype), rotate(key, rotation)
        query, key, value = (part.transpose(1, 2) for part in (query, key, value))
        read = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=mask is None)
        hidden = hidden + self.attn["c_proj"](read.transpose(1, 2).flatten(2))
        normed = self.ln_2(hidden)
        return cast(torch.Tensor, hidden + self.mlp["c_proj"](self.mlp["w1"](normed) * F.silu(self.mlp["w2"](normed))))


class Transformer(nn.Module):
    """Embedding, layers and last norm, and the vision encoder."""

    def __init__(self, config: QwenVLConfig) -> None:
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.hidden_size)
        self.h = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.ln_f = Qwen2RMSNorm(config.hidden_size, config.layer_norm_epsilon)
        self.visual = VisionEncoder(config)

    def get_image_features(self, pixel_values: torch.Tensor) -> BaseModelOutputWithPooling:
        """Encode images (n, 3, side, side); `pooler_output` is (n, 256, hidden)."""
        return BaseModelOutputWithPooling(pooler_output=self.visual(pixel_values))

    def get_rope_index(self, input_ids: torch.Tensor, **_: object) -> tuple[torch.Tensor]:
        """Return (2, R, L): the position of each token, and the `stretch` of its prompt."""
        length = input_ids.shape[1]
        places = torch.arange(length, device=input_ids.device).expand_as(input_ids)
        return (torch.stack([places, torch.full_like(places, self.config.stretch(length))]),)

    def forward(
        self, ids: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor | None, images: torch.Tensor | None
    ) -> torch.Tensor:
        """Return (R, L, hidden) under the last norm; `positions` (2, R, L) are those of `get_rope_index`."""
        hidden = self.wte(ids)
        put_images(hidden, ids == self.config.image_token_id, images)
        (places, stretches), head = positions, self.config.kv_channels
        steps = torch.arange(0, head, 2, dtype=torch.float32) / head
        found, which = stretches.unique(return_inverse=True)
        bases = [self.config.rotary_emb_base * stretch ** (head / (head - 2)) for stretch in found.tolist()]
        frequencies = torch.stack([1.0 / base**steps for base in bases]).to(places.device)[which]
        angles = (places[..., None].float() * frequencies).repeat(1, 1, 2)[:, :, None]
        rotation, scale = (angles.cos(), angles.sin()), torch.ones_like(places, dtype=torch.float32)
        if self.config.use_logn_attn:  # 1 up to the trained length, then growing
            scale = ((places + 1).float().log() / math.log(self.config.seq_length)).clamp(min=1)
        for layer in self.h:
            hidden = layer(hidden, rotation, scale[:, :, None, None], mask)
        return cast(torch.Tensor, self.ln_f(hidden))


class QwenVLForConditionalGeneration(NativeModel):
    """Qwen-VL."""

    config: QwenVLConfig
    config_class = QwenVLConfig
    base_model_prefix = "transformer"
    _no_split_modules = ["VisionEncoder", "Layer"]  # noqa: RUF012  transformers reads a list

    def __init__(self, config: QwenVLConfig) -> None:
        super().__init__(config)
        self.transformer = Transformer(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """Return the embedding of words."""
        return self.transformer.wte

    def get_decoder(self) -> nn.Module:
        """Return the layers of the language model, without the vision encoder."""
        return self.transformer.h


def rotate(states: torch.Tensor, by: Rotation) -> torch.Tensor:
    """Rotate (R, L, heads, head) in float32: channel i together with channel i + head / 2."""
    (cosine, sine), exact = by, states.float()
    return cast(torch.Tensor, (exact * cosine + rotate_half(exact) * sine).to(states.dtype))
