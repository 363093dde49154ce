"""The embedded model in plain torch: what sees, the decoder (that of Llama), and both together (as in LLaVA).

`training/pretrained.py` has the same model as a class of transformers, under the same names of weights.
"""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, TypeAlias, cast

import torch
from torch import nn
from torch.nn import functional

from qdebias.backends.nano.statistics import COLOURS, statistics

Config: TypeAlias = Any
"""The entries of config.json, or of a part of it, as attributes."""

TOKENS = 3
"""Of an image."""

GRID = 32
WINDOW = 9


class IdentityEncoder(nn.Module):
    """A unit vector of a locally normalised grey thumbnail, then an identity token.

    Local normalisation removes what fog, saturation and contrast change and keeps where things are.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(1, 16, 5, stride=2, padding=2),
            nn.GELU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.GELU(),
        )
        self.embed = nn.Linear(32 * (GRID // 4) ** 2, config.identity_size)
        self.last = nn.Linear(config.identity_size, config.hidden_size, bias=False)

    @staticmethod
    def pattern(thumbnails: torch.Tensor) -> torch.Tensor:
        """Map (images, 3, side, side) in [0, 1] to (images, 32, 32), locally of mean 0 and variance 1."""
        grey = functional.adaptive_avg_pool2d(thumbnails.mean(dim=1, keepdim=True), GRID)
        padded = (functional.pad(part, [WINDOW // 2] * 4, mode="reflect") for part in (grey, grey * grey))
        mean, square = (functional.avg_pool2d(part, WINDOW, stride=1) for part in padded)
        deviation = (square - mean * mean).clamp(min=0).sqrt()
        return ((grey - mean) / (deviation + 0.01)).squeeze(1)

    def embedding(self, patterns: torch.Tensor) -> torch.Tensor:
        """Map (images, 32, 32) to unit vectors (images, identity_size)."""
        patterns = patterns.to(self.embed.weight.dtype).unsqueeze(1)
        return functional.normalize(self.embed(self.convolutions(patterns).flatten(1)), dim=1)

    def forward(self, patterns: torch.Tensor) -> torch.Tensor:
        """Map (images, 32, 32) to (images, 1, hidden_size)."""
        return cast(torch.Tensor, self.last(self.embedding(patterns)).unsqueeze(1))


class QualityEncoder(nn.Module):
    """A fixed rating of the standardised statistics, told in smooth steps, and the thumbnail's colours.

    The rating is linear, less other linear measures, of kinds of damage, where each is above 0.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        size = config.statistics_size
        self.mean = nn.Parameter(torch.zeros(size), requires_grad=False)
        self.scale = nn.Parameter(torch.ones(size), requires_grad=False)
        self.head = nn.Linear(size, 1 + config.damages).requires_grad_(False)
        self.steps = nn.Parameter(torch.linspace(-4, 4, config.steps), requires_grad=False)
        self.value = nn.Linear(config.steps, config.hidden_size)
        self.colour = nn.Linear(len(range(size)[COLOURS]), config.hidden_size)

    def standard(self, measured: torch.Tensor) -> torch.Tensor:
        """Map (images, statistics_size) to deviations from the training images' mean, at most 4."""
        return ((measured - self.mean) * self.scale).clamp(-4, 4).to(self.head.weight.dtype)

    def rate(self, standard: torch.Tensor) -> torch.Tensor:
        """Map (images, statistics_size) to (images,) ratings: over the training images of mean 0 and deviation 1."""
        quality, damage = self.head(standard).tensor_split([1], dim=1)
        return cast(torch.Tensor, (quality - damage.clamp(min=0).sum(1, keepdim=True)).squeeze(1))

    def forward(self, rating: torch.Tensor, standard: torch.Tensor) -> torch.Tensor:
        """Map (images,) ratings and (images, statistics_size) to (images, 2, hidden_size)."""
        told = torch.sigmoid(4 * (rating.unsqueeze(1) - self.steps))
        return torch.stack([self.value(told), self.colour(standard[:, COLOURS])], dim=1)


def image_tokens(pixel_values: torch.Tensor, quality: QualityEncoder, identity: IdentityEncoder) -> torch.Tensor:
    """Return three tokens of each image: the rating of its statistics, its colours, and the scene of its thumbnail.

    Maps (images, views, 3, side, side) in [0, 1] to (images, 3, hidden_size).
    """
    pixels = pixel_values.float()
    standard = quality.standard(statistics(pixels))
    scene = identity(identity.pattern(pixels[:, 0]))
    return torch.cat([quality(quality.rate(standard), standard), scene], dim=1)


class Layer(nn.Module):
    """One layer of the decoder: causal self-attention under rotary positions, and a gated linear unit."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        hidden, inner, epsilon = config.hidden_size, config.intermediate_size, config.rms_norm_eps
        self.head, width = config.head_dim, config.num_attention_heads * config.head_dim
        shapes = {"q_proj": (hidden, width), "k_proj": (hidden, width), "v_proj": (hidden, width)}
        gated = {"gate_proj": (hidden, inner), "up_proj": (hidden, inner), "down_proj": (inner, hidden)}
        self.self_attn, self.mlp = (
            nn.ModuleDict({name: nn.Linear(*shape, bias=False) for name, shape in part.items()})
            for part in (shapes | {"o_proj": (width, hidden)}, gated)
        )
        self.input_layernorm, self.post_attention_layernorm = (nn.RMSNorm(hidden, epsilon) for _ in range(2))

    def forward(
        self, hidden: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        """Map (R, L, hidden_size) to the same shape; queries and keys are rotated by angles (R, 1, L, head).

        The mask (R, 1, L, L) is added to the scores of attention; None: a token sees itself and all before it.
        """
        attention, mlp, normed = self.self_attn, self.mlp, self.input_layernorm(hidden)
        parts = (attention[name](normed) for name in ("q_proj", "k_proj", "v_proj"))
        query, key, value = (part.unflatten(-1, (-1, self.head)).transpose(1, 2) for part in parts)
        turned = []
        for part in (query, key):
            first, second = part.chunk(2, dim=-1)
            turned.append(part * cosine + torch.cat([-second, first], dim=-1) * sine)
        query, key = turned
        read = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=mask is None)
        hidden = hidden + attention["o_proj"](read.transpose(1, 2).flatten(2))
        normed = self.post_attention_layernorm(hidden)
        gated = functional.silu(mlp["gate_proj"](normed)) * mlp["up_proj"](normed)
        return cast(torch.Tensor, hidden + mlp["down_proj"](gated))


class Decoder(nn.Module):
    """Embedding, layers, last norm."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, hidden: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Map embedded (R, L, hidden_size) at positions (R or 1, L) to the same shape, under the last norm."""
        steps = torch.arange(0, self.config.head_dim, 2, dtype=torch.float32) / self.config.head_dim
        frequencies = 1.0 / self.config.rope_parameters.rope_theta**steps
        angles = (positions[..., None].float() * frequencies.to(hidden.device)).repeat(1, 1, 2)
        cosine, sine = (part.to(hidden.dtype).unsqueeze(1) for part in (angles.cos(), angles.sin()))
        for layer in self.layers:
            hidden = layer(hidden, cosine, sine, mask)
        return cast(torch.Tensor, self.norm(hidden))


class Nano(nn.Module):
    """The embedded model, with what `HfBackend` uses of a model of transformers."""

    device: torch.device
    dtype: torch.dtype

    def __init__(self, config: Config) -> None:
        super().__init__()
        text, width = config.text_config, config.text_config.hidden_size
        self.config = config
        encoders = {"quality": QualityEncoder(config.vision_config), "identity": IdentityEncoder(config.vision_config)}
        self.vision_tower = nn.ModuleDict(encoders)
        linear = {"linear_1": nn.Linear(config.vision_config.hidden_size, width), "linear_2": nn.Linear(width, width)}
        self.multi_modal_projector = nn.ModuleDict(linear)
        self.language_model = Decoder(text)
        self.lm_head = nn.Linear(width, text.vocab_size, bias=False)
        self.lm_head.weight = self.language_model.embed_tokens.weight

    @property
    def base_model(self) -> "Nano":
        """The model that encodes images."""
        return self

    def get_image_features(self, pixel_values: torch.Tensor) -> SimpleNamespace:
        """Encode (images, views, 3, side, side); `pooler_output` has (3, hidden_size) of each image."""
        first, second = self.multi_modal_projector.values()
        tokens = image_tokens(pixel_values, **self.vision_tower).to(self.dtype)
        return SimpleNamespace(pooler_output=list(second(functional.gelu(first(tokens)))))

    @property
    def image_features_size(self) -> int:
        """Number of values of `image_features` for an image."""
        return int(self.config.vision_config.statistics_size) + 1

    def image_features(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Return the statistics of (images, views, 3, side, side), then their rating: (images, image_features_size)."""
        measured, quality = statistics(pixel_values.float()), cast(QualityEncoder, self.vision_tower["quality"])
        return torch.cat([measured, quality.rate(quality.standard(measured)).unsqueeze(1).float()], dim=1)

    def get_input_embeddings(self) -> nn.Embedding:
        """Return the embedding of words."""
        return self.language_model.embed_tokens

    def get_output_embeddings(self) -> nn.Linear:
        """Return the head."""
        return self.lm_head

    def get_decoder(self) -> nn.Module:
        """Return the language model, without what sees."""
        return self.language_model

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        mm_encoder_outputs: Mapping[str, Any] | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        **_: object,
    ) -> SimpleNamespace:
        """Return `logits` of R rows of L tokens, (R, positions, vocabulary); rows of different length are refused.

        The mask is (R, 1, L, L), added to the scores of attention, or (R, L) of ones. `mm_encoder_outputs` has under
        "image" what encoded images, instead of `pixel_values`. `logits_to_keep`: so many last positions, or these.
        """
        mask = attention_mask if attention_mask is not None and attention_mask.dim() == 4 else None
        if mask is None and attention_mask is not None and not attention_mask.all():
            raise ValueError("padded rows are not supported; run rows of one length together")
        if position_ids is None:
            position_ids = torch.arange(input_ids.shape[1], device=input_ids.device)[None]
        images = None if mm_encoder_outputs is None else mm_encoder_outputs["image"]
        if pixel_values is not None:
            images = self.get_image_features(pixel_values)
        hidden = self.language_model.embed_tokens(input_ids)
        slots = input_ids == self.config.image_token_index
        features = hidden[:0, 0] if images is None else torch.cat(list(images.pooler_output))
        if int(slots.sum()) != len(features):
            raise ValueError(f"the prompts have {int(slots.sum())} slots for {len(features)} tokens of images")
        hidden[slots] = features.to(hidden.device, hidden.dtype)
        hidden = self.language_model(hidden, position_ids, mask)
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        return SimpleNamespace(logits=self.lm_head(hidden[:, kept]))
