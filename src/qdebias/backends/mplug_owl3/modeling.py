"""mPLUG-Owl3: SigLIP, a projector, and Qwen2, some of whose layers read images (hyper attention).

The queries of a hyper layer are those of the text; keys and values of an image come from one linear map of the image
tokens under the layer's own RMS norm, and its keys are rotated by the position of its marker. The mixed result goes
through the ordinary output projection. Keys and values of an image depend on the image alone, so prompts share them.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self, cast

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812  torch's own abbreviation
from transformers import Qwen2Config, Qwen2ForCausalLM, SiglipVisionConfig, SiglipVisionModel
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.qwen2.modeling_qwen2 import Qwen2Attention, apply_rotary_pos_emb, rotate_half

from qdebias.backends.hf.native import NativeModel, check_entries
from qdebias.errors import BackendError

FIRST, LATER = RELEASES = ("240728", "241101")
"""The generations of the model, as in the names of their repositories, mPLUG/mPLUG-Owl3-7B-240728 and -241101."""

_REQUIRED = (
    *("hidden_size", "intermediate_size", "max_position_embeddings", "num_attention_heads", "num_hidden_layers"),
    *("num_key_value_heads", "rms_norm_eps", "rope_theta", "vocab_size"),
)
_SUPPORTED = {
    "hidden_act": "silu",
    "quantization_config": None,
    "rope_scaling": None,
    "tie_word_embeddings": False,
    "use_sliding_window": False,
}
"""The values of all published 7B checkpoints; another value would silently be another model."""

_VISION = {"hidden_act": "gelu_pytorch_tanh", "num_channels": 3, "vision_use_head": True}

PROJECTOR = "vision2text_model."
_HYPER = re.compile(r"language_model\.model\.layers\.(\d+)\.self_attn\.v_kv_proj\.weight")
_GATE = re.compile(r"language_model\.model\.layers\.(\d+)\.self_attn\.(gate.*)")

GATES = {
    frozenset[str](): "none",
    frozenset(("gate",)): "static",
    frozenset(("gate_proj.0.weight", "gate_proj.0.bias")): "head",
    frozenset(("gate_proj.weight", "gate_proj.bias")): "head-linear",
}
"""From the names of a gate's weights below `self_attn` to how a hyper layer mixes text and images."""


class MplugOwl3Config(Qwen2Config):
    """Entries of `config.json`, and those that `fit` adds: the hyper layers counted from 0, the gate, and the release.

    `hyper_layers`, those that read images, are counted **from 1**. If they are None, only the weights show them. (The
    official class has another default, which no checkpoint has.) `vision_config` has what differs from SigLIP's.
    """

    model_type = "mplugowl3"

    hyper_layers: list[int] | None = None
    vision_config: dict[str, Any] | None = None
    hyper: list[int] | None = None
    gate: str = ""
    release: str = ""

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **options: Any) -> Self:  # noqa: ANN401
        """Return the config of a `config.json`, or raise a ValueError that names the entry."""
        check_entries(config_dict, required=_REQUIRED, supported=_SUPPORTED)
        check_entries(config_dict.get("vision_config") or {}, supported=_VISION, where="vision_config: ")
        hidden, heads = config_dict["hidden_size"], config_dict["num_attention_heads"]
        if hidden % heads or hidden // heads % 2 or heads % config_dict["num_key_value_heads"]:
            raise ValueError(
                f"{hidden} channels do not divide into {heads} heads over {config_dict['num_key_value_heads']}"
            )
        return cast(Self, super().from_dict(config_dict, **options))

    @property
    def vision(self) -> SiglipVisionConfig:
        """The vision encoder; the official model stops before its last layer."""
        return SiglipVisionConfig(**(self.vision_config or {}))

    @property
    def lag(self) -> int:
        """How many tokens after the first token of its marker a crop is seen first; its keys are rotated by that place.

        240728 is off by one: there the first token of a marker does not see its own crop.
        """
        return int(self.release == FIRST)

    def fit(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Set the entries that follow from the names of the weights; a BackendError names weights that are unknown."""
        self.hyper = sorted(int(match[1]) for match in map(_HYPER.fullmatch, shapes) if match)
        listed = None if self.hyper_layers is None else sorted(layer - 1 for layer in self.hyper_layers)
        if not self.hyper:
            raise BackendError("the checkpoint has no weight self_attn.v_kv_proj: it is not mPLUG-Owl3")
        if listed not in (None, self.hyper):
            raise BackendError(
                f"config.json names the hyper layers {listed} (from 0), but the weights v_kv_proj lie in {self.hyper}"
            )
        self.gate = _gate(shapes, self.hyper)
        projector = {name.removeprefix(PROJECTOR) for name in shapes if name.startswith(PROJECTOR)}
        if self.gate != "none" and projector == {"weight", "bias"}:
            self.release = FIRST
        elif self.gate == "none" and projector == {"0.weight", "0.bias", "2.weight", "2.bias"}:
            self.release = LATER
        else:
            raise BackendError(
                f"the checkpoint has the gate {self.gate!r} and below {PROJECTOR} the weights {sorted(projector)}; "
                f"known are a gate with one linear layer (240728) and no gate with two (241101)"
            )


def _gate(shapes: Iterable[str], hyper: list[int]) -> str:
    """Return the kind of gate that all hyper layers have."""
    names: dict[int, set[str]] = {layer: set() for layer in hyper}
    for match in filter(None, map(_GATE.fullmatch, shapes)):
        if int(match[1]) not in names:
            raise BackendError(f"weight {match[0]}: a gate in a layer that reads no images")
        names[int(match[1])].add(match[2])
    kinds = {GATES.get(frozenset(found), "") for found in names.values()}
    if len(kinds) > 1 or "" in kinds:
        listed = {layer: sorted(found) for layer, found in names.items()}
        raise BackendError(
            f"the gate of this checkpoint is unknown: below self_attn of the hyper layers lie {listed}; known are "
            f"nothing, 'gate', and 'gate_proj' or 'gate_proj.0' with weight and bias, the same in all"
        )
    return kinds.pop()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImageContext:
    """The images of R rows of L tokens with C tiles of T tokens each, and the masks with which hyper layers read them.

    `keys_values` (R, C, hyper layers, T, kv heads, 2, head), keys not yet rotated; `rotation`, cosine and sine of the
    keys (R, C, 1, 1, head) float32; `visible` (R, 1, L, C * T), which tokens of tiles a text token sees: all for one
    that sees no tile, as a softmax over nothing is undefined, and the result is not used; `seeing` (R, L, 1), whether
    it sees any; `text` (R or 1, 1, L, L), which text tokens it sees.
    """

    keys_values: torch.Tensor
    rotation: tuple[torch.Tensor, torch.Tensor]
    visible: torch.Tensor
    seeing: torch.Tensor
    text: torch.Tensor

    def to(self, device: torch.device, **_: object) -> "ImageContext":
        """Return it on another device; keys and values move when they are read."""
        cosine, sine = (part.to(device) for part in self.rotation)
        masks = {name: getattr(self, name).to(device) for name in ("visible", "seeing", "text")}
        return replace(self, rotation=(cosine, sine), **masks)

    def read(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return keys and values (R, kv heads, C * T, head) of one hyper layer.

        Keys are rotated in float32 and then rounded; those of the text rotate in the model's type.
        """
        keys, values = self.keys_values[:, :, index].to(self.visible.device).unbind(dim=-2)
        (cosine, sine), exact = self.rotation, keys.float()
        keys = (exact * cosine + rotate_half(exact) * sine).to(values.dtype)
        first, second = (states.permute(0, 3, 1, 2, 4).flatten(2, 3) for states in (keys, values))
        return first, second


class HyperAttention(Qwen2Attention):
    """Attention that reads images too, depending on the kind of gate, see `GATES`.

    "none", 241101: one softmax over image and text tokens together. The others, 240728: two softmaxes, mixed by a gate.
    "static" is one for each channel, as in the code of the 1B and 2B siblings; "head" and "head-linear" compute it from
    what each head read from the text, under other names: a reconstruction from derivatives.
    """

    def __init__(self, config: MplugOwl3Config, layer: int, index: int) -> None:
        super().__init__(config, layer)
        self.index, self.kind = index, config.gate  # which of the hyper layers it is
        self.v_kv_proj = nn.Linear(config.hidden_size, 2 * config.num_key_value_heads * self.head_dim)
        if self.kind == "static":
            self.gate = nn.Parameter(torch.zeros(config.hidden_size))
        elif self.kind != "none":
            gate = nn.Linear(self.head_dim, self.head_dim)
            self.gate_proj = nn.Sequential(gate) if self.kind == "head" else gate

    def gate_values(self, text: torch.Tensor) -> torch.Tensor:
        """Return the gate in [0, 1] for the result of the attention to the text (..., heads * head)."""
        if self.kind == "static":
            return torch.sigmoid(self.gate)
        return torch.sigmoid(self.gate_proj(text.unflatten(-1, (-1, self.head_dim)))).flatten(-2)

    def forward(
        self,
        hidden_states: torch.Tensor,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        attention_mask: torch.Tensor | None,
        image_context: ImageContext | None = None,
        **options: Any,  # noqa: ANN401
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Map (R, L, hidden) to the same shape, as the attention of Qwen2 does.

        With a gate, tokens before the first that sees an image attend to the text alone.
        """
        if image_context is None:
            read = super().forward(hidden_states, position_embeddings, attention_mask, **options)
            return cast(tuple[torch.Tensor, torch.Tensor | None], read)
        projected = (project(hidden_states) for project in (self.q_proj, self.k_proj, self.v_proj))
        queries, keys, values = (part.unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for part in projected)
        queries, keys = apply_rotary_pos_emb(queries, keys, *position_embeddings)
        image_keys, image_values = image_context.read(self.index)
        if self.kind == "none":
            seen = image_context.visible & image_context.seeing[:, None]
            mask = torch.cat([seen, image_context.text.expand(len(seen), -1, -1, -1)], dim=-1)
            both = torch.cat([image_keys, keys], 2), torch.cat([image_values, values], 2)
            return self.o_proj(_attend(queries, *both, mask)), None
        text = _attend(queries, keys, values, image_context.text)
        image = _attend(queries, image_keys, image_values, image_context.visible)
        gate = self.gate_values(text)
        return self.o_proj(torch.where(image_context.seeing, text * (1 - gate) + image * gate, text)), None


class MplugOwl3ForConditionalGeneration(NativeModel):
    """mPLUG-Owl3; the names of its weights are the official ones."""

    config: MplugOwl3Config
    config_class = MplugOwl3Config
    base_model_prefix = ""
    _no_split_modules = ["SiglipEncoderLayer", "Qwen2DecoderLayer"]  # noqa: RUF012  transformers reads a list

    def __init__(self, config: MplugOwl3Config) -> None:
        super().__init__(config)
        vision, hidden = config.vision, config.hidden_size
        last = vision.num_hidden_layers - 1
        self._keys_to_ignore_on_load_missing = [rf"^vision_model\.(head|post_layernorm|encoder\.layers\.{last})\."]
        self.vision_model = SiglipVisionModel(vision)
        self.vision2text_model: nn.Module = nn.Linear(vision.hidden_size, hidden)
        if config.release != FIRST:
            self.vision2text_model = nn.Sequential(self.vision2text_model, nn.GELU(), nn.Linear(hidden, hidden))
        self.language_model = Qwen2ForCausalLM(config)
        for index, layer in enumerate(config.hyper or ()):
            self.language_model.model.layers[layer].self_attn = HyperAttention(config, layer, index)
        self.post_init()

    @property
    def lm_head(self) -> nn.Module:
        """From the last hidden state to logits."""
        return cast(nn.Module, self.language_model.lm_head)

    def get_decoder(self) -> nn.Module:
        """Return the layers of the language model, without the vision encoder."""
        return cast(nn.Module, self.language_model.model.layers)

    def image_tokens(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Map tiles (n, 3, side, side) to the states of the vision encoder before its last layer, (n, T, width)."""
        embeddings = self.vision_model.embeddings
        patches = embeddings.patch_embedding(pixel_values.to(self.dtype)).flatten(2).transpose(1, 2)
        hidden = patches + embeddings.position_embedding.weight
        for layer in self.vision_model.encoder.layers[:-1]:
            hidden = layer(hidden, None)
        return cast(torch.Tensor, hidden)

    def get_image_features(self, pixel_values: torch.Tensor) -> BaseModelOutputWithPooling:
        """Encode tiles (n, 3, side, side).

        `last_hidden_state` (n, T, hidden) are the image tokens, `pooler_output` (n, hyper layers, T, kv heads, 2, head)
        their keys and values.
        """
        tokens = self.vision2text_model(self.image_tokens(pixel_values))
        layers = (self.language_model.model.layers[layer] for layer in self.config.hyper or ())
        mapped = torch.stack([layer.self_attn.v_kv_proj(layer.input_layernorm(tokens)) for layer in layers], dim=1)
        head = self.config.hidden_size // self.config.num_attention_heads
        return BaseModelOutputWithPooling(last_hidden_state=tokens, pooler_output=mapped.unflatten(-1, (-1, 2, head)))

    def hidden_states(self, *inputs: torch.Tensor | None, **places: torch.Tensor) -> torch.Tensor:
        """Return (R, L, hidden) under the last norm; `image_places` marks equally many tiles in each row."""
        ids, positions, mask, images = inputs
        context = None
        if images is not None and positions is not None:
            context = self._context(positions, mask, images, places["image_places"])
        made = self.language_model.model(
            input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False, image_context=context
        )
        return cast(torch.Tensor, made.last_hidden_state)

    def _context(
        self, positions: torch.Tensor, mask: torch.Tensor | None, images: torch.Tensor, places: torch.Tensor
    ) -> ImageContext:
        """Return the images for the hyper layers; a token that sees the start of a tile's marker sees the tile."""
        rows, length = positions.shape
        starts = places.nonzero()[:, 1].view(rows, -1)
        triangle = torch.ones(1, 1, length, length, dtype=torch.bool, device=positions.device).tril()
        text = triangle if mask is None else mask == 0
        visible = text[:, 0].expand(rows, -1, -1).gather(2, starts[:, None].expand(-1, length, -1))
        if self.config.lag:  # the first token itself does not see it yet
            visible = visible & (torch.arange(length, device=positions.device)[:, None] != starts[:, None])
        seeing = visible.any(dim=2, keepdim=True)
        exact = torch.empty((), device=positions.device)  # float32 for any type of the model
        rotation = self.language_model.model.rotary_emb(exact, positions.gather(1, starts) + self.config.lag)
        cosine, sine = (part[:, :, None, None] for part in rotation)
        return ImageContext(
            keys_values=images.unflatten(0, (rows, -1)),
            rotation=(cosine, sine),
            visible=(visible | ~seeing).repeat_interleave(images.shape[2], dim=2)[:, None],
            seeing=seeing,
            text=text,
        )


def _attend(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Attend with queries (R, heads, L, head) to (R, kv heads, S, head) under a mask; return (R, L, heads * head)."""
    read = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, enable_gqa=True)
    return read.transpose(1, 2).flatten(2)
