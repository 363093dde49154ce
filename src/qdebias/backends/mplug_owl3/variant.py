"""Which model a checkpoint holds, told by the names and shapes of its weights."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from qdebias.backends.mplug_owl3.config import Config
from qdebias.backends.mplug_owl3.release import RELEASE_240728, RELEASE_241101, Release
from qdebias.errors import BackendError

Shapes = Mapping[str, tuple[int, ...]]

PROJECTOR = "vision2text_model."
_HYPER = re.compile(r"language_model\.model\.layers\.(\d+)\.self_attn\.v_kv_proj\.weight")
_GATE = re.compile(r"language_model\.model\.layers\.(\d+)\.self_attn\.(gate.*)")


class Gate(Enum):
    """How a hyper layer mixes what its queries read from the text and from the images."""

    NONE = "none"
    """One softmax over both: 241101."""

    STATIC = "static"
    """sigmoid of a parameter for each channel: 240728 by the code of its 1B and 2B siblings."""

    HEAD = "head"
    """sigmoid of a linear map of each head's text result: 240728 as its derivatives suggest; a reconstruction."""

    HEAD_LINEAR = "head-linear"
    """The same under the name of a bare linear map instead of the first of a sequence."""


GATE_NAMES: Mapping[frozenset[str], Gate] = {
    frozenset(): Gate.NONE,
    frozenset(("gate",)): Gate.STATIC,
    frozenset(("gate_proj.0.weight", "gate_proj.0.bias")): Gate.HEAD,
    frozenset(("gate_proj.weight", "gate_proj.bias")): Gate.HEAD_LINEAR,
}
"""The names that a gate's weights may have below `self_attn`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """What a checkpoint holds.

    Attributes:
        release: The generation.
        gate: How its hyper layers mix text and images.
        hyper: Indices, from 0, of the decoder layers that read images.
    """

    release: Release
    gate: Gate
    hyper: tuple[int, ...]


def variant_of(shapes: Shapes, config: Config) -> Variant:
    """Return what the weights of these names are.

    Raises:
        BackendError: The gate, the projector or the hyper layers are none that are known, or contradict the config;
            the message names the weights.
    """
    hyper = tuple(sorted(int(match[1]) for match in map(_HYPER.fullmatch, shapes) if match))
    if not hyper:
        raise BackendError("the checkpoint has no weight self_attn.v_kv_proj: it is no mPLUG-Owl3")
    if config.hyper not in (None, hyper):
        raise BackendError(
            f"config.json names the hyper layers {config.hyper} (from 0), but the weights v_kv_proj lie in {hyper}"
        )
    gate = _gate(shapes, hyper)
    projector = {name.removeprefix(PROJECTOR) for name in shapes if name.startswith(PROJECTOR)}
    for release, gates, names in (
        (RELEASE_240728, (Gate.STATIC, Gate.HEAD, Gate.HEAD_LINEAR), {"weight", "bias"}),
        (RELEASE_241101, (Gate.NONE,), {"0.weight", "0.bias", "2.weight", "2.bias"}),
    ):
        if gate in gates and projector == names:
            return Variant(release=release, gate=gate, hyper=hyper)
    raise BackendError(
        f"the checkpoint has the gate {gate.value!r} and below {PROJECTOR} the weights {sorted(projector)}; known are "
        f"a gate with one linear layer (240728) and no gate with two (241101)"
    )


def _gate(shapes: Shapes, hyper: tuple[int, ...]) -> Gate:
    names: dict[int, set[str]] = {layer: set() for layer in hyper}
    for name in shapes:
        match = _GATE.fullmatch(name)
        if match and int(match[1]) not in names:
            raise BackendError(f"weight {name}: a gate in a layer that reads no images")
        if match:
            names[int(match[1])].add(match[2])
    kinds = {frozenset(found) for found in names.values()}
    known = GATE_NAMES.get(next(iter(kinds))) if len(kinds) == 1 else None
    if known is None:
        listed = {layer: sorted(found) for layer, found in names.items()}
        raise BackendError(
            f"the gate of this checkpoint is unknown: below self_attn of the hyper layers lie {listed}; known are "
            f"nothing, 'gate', and 'gate_proj' or 'gate_proj.0' with weight and bias, the same in all"
        )
    return known
