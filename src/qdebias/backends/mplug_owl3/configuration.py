"""The `config.json` of mPLUG-Owl3, and what only its weights say: release, gate, and which layers read images."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeAlias, cast

from transformers import Qwen2Config, SiglipVisionConfig

from qdebias.backends.hf.native import check_entries
from qdebias.errors import BackendError

Grid: TypeAlias = tuple[int, int]
"""Rows and columns of the tiles into which an image is cut."""

MARKER = "<|image|>"
"""Where an image stands in a prompt. It is ordinary text of five tokens, not a special token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One generation of the model: as in the name of its repository on the Hugging Face hub, `hub`.

    A crop becomes visible `lag` tokens after the first token of its marker; its keys are rotated by the position of
    that token. 240728 is off by one against 241101: there the first token of a marker does not see its own crop.
    `tiles_text` replaces the marker of an image that is cut, with one marker for each crop.
    """

    name: str
    hub: str
    lag: int
    tiles_text: Callable[[Grid], str]

    def media_offset(self, starts: tuple[int, ...], length: int) -> list[list[int]] | list[int]:
        """Return the argument of that name of the official model, for one sequence.

        240728: (L, 2), the index of the first crop and that plus the number of markers before the token, or -1000000
        without any marker. 241101: `starts`.
        """
        if self.lag == 0:
            return list(starts)
        if not starts:
            return [[0, -1_000_000] for _ in range(length)]
        return [[0, sum(start < token for start in starts)] for token in range(length)]


def _titled(grid: Grid) -> str:
    rows, columns = grid
    tiles = "\n".join(" ".join(f"subimg({row},{column}){MARKER}" for column in range(columns)) for row in range(rows))
    return f"Cut to {rows} rows {columns} columns with a global view\n{tiles}\nglobal_view{MARKER}"


def _bracketed(grid: Grid) -> str:
    rows, columns = grid
    tiles = "\n".join([" ".join([MARKER] * columns)] * rows)
    return f"<|start_cut|>{rows}*{columns}\n{tiles}\n{MARKER}<|end_cut|>"


RELEASE_240728 = Release(name="240728", hub="mPLUG/mPLUG-Owl3-7B-240728", lag=1, tiles_text=_titled)
RELEASE_241101 = Release(name="241101", hub="mPLUG/mPLUG-Owl3-7B-241101", lag=0, tiles_text=_bracketed)
RELEASES = {release.name: release for release in (RELEASE_240728, RELEASE_241101)}


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
"""Entries that no published 7B checkpoint has otherwise; anything else would silently be another model."""

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
    """Entries of `config.json`, and what `fit` adds: the hyper layers counted from 0, the gate, and the release.

    `hyper_layers`, those that read images, are counted **from 1**. None: the file does not say, the weights do. (The
    official class has another default, which no checkpoint has.) `vision_config` lists what is not SigLIP's default.
    """

    model_type = "mplugowl3"

    hyper_layers: list[int] | None = None
    vision_config: dict[str, Any] | None = None
    hyper: list[int] | None = None
    gate: str = ""
    release: str = ""

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **options: Any) -> Self:  # noqa: ANN401
        """Return the config of a `config.json`, or raise a ValueError that names what cannot be."""
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
        """See `Release.lag`."""
        return RELEASES[self.release].lag

    def fit(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Set what the names of the weights say, or raise a BackendError that names those that are unknown."""
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
            self.release = RELEASE_240728.name
        elif self.gate == "none" and projector == {"0.weight", "0.bias", "2.weight", "2.bias"}:
            self.release = RELEASE_241101.name
        else:
            raise BackendError(
                f"the checkpoint has the gate {self.gate!r} and below {PROJECTOR} the weights {sorted(projector)}; "
                f"known are a gate with one linear layer (240728) and no gate with two (241101)"
            )


def _gate(shapes: Iterable[str], hyper: list[int]) -> str:
    names: dict[int, set[str]] = {layer: set() for layer in hyper}
    for name in shapes:
        match = _GATE.fullmatch(name)
        if match and int(match[1]) not in names:
            raise BackendError(f"weight {name}: a gate in a layer that reads no images")
        if match:
            names[int(match[1])].add(match[2])
    kinds = {frozenset(found) for found in names.values()}
    known = GATES.get(next(iter(kinds))) if len(kinds) == 1 else None
    if known is None:
        listed = {layer: sorted(found) for layer, found in names.items()}
        raise BackendError(
            f"the gate of this checkpoint is unknown: below self_attn of the hyper layers lie {listed}; known are "
            f"nothing, 'gate', and 'gate_proj' or 'gate_proj.0' with weight and bias, the same in all"
        )
    return known
