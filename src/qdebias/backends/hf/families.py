"""What differs between families of models when work is shared: one line a family.

A family that is not named here works all the same: every question is then run alone, with its own image encodings.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, TypeAlias

import torch

from qdebias.backends.hf import Model

Part: TypeAlias = Mapping[str, Any]
"""What an image processor makes of one image, by the model's argument names."""

Features: TypeAlias = Mapping[str, Any]
"""What a model makes of one image, by name: tensors whose first axis counts tiles, or lists of tensors."""

Encode: TypeAlias = Callable[[Model, Part], Features]
Insert: TypeAlias = Callable[[Features], Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """How models of a kind let work be shared.

    Attributes:
        axis: The axis along which the arrays of the image processor count images: 1 where prompts come first.
        companion: An image is prepared in another way where it is alone in its prompt.
        tiles: Every tile of an image has its own place in the prompt; only those that have one are encoded.
        prefix: Questions about the same images can follow them in one sequence. Not where the images see the question
            (prefix language models), nor where a layer keeps a running state (linear attention).
        encode: From what the processor made of one or more equal images to their features.
        insert: From the features of all images, in order, to arguments of the forward pass.
    """

    axis: int = 0
    companion: bool = False
    tiles: bool = False
    prefix: bool = True
    encode: Encode
    insert: Insert


def _pooled(model: Model, part: Part) -> Features:
    encode = model.base_model.get_image_features
    taken = inspect.signature(encode).parameters
    output = encode(**{name: value for name, value in part.items() if name in taken})
    layers = getattr(output, "deepstack_features", None) or []
    return {"pooled": output.pooler_output} | {f"layer {number}": layer for number, layer in enumerate(layers)}


def _pooled_in_a_row(model: Model, part: Part) -> Features:
    """Encode images whose patches stand one behind the other along the last axis."""
    return _pooled(model, {**part, "pixel_values": torch.cat(part["pixel_values"].split(1), dim=-1)})


def tokens_of(features: Features) -> int:
    """Return how many tokens the pooled features of an image take, whichever way a model nests them."""
    return sum(int(part[..., 0].numel()) for part in features["pooled"])


class _EncoderOutput(SimpleNamespace):
    """What an image encoder returns, as far as models look at it."""

    def to_tuple(self) -> tuple[object, ...]:
        """Return the parts: transformers 5.24 asks for them where a model passes its output on."""
        return tuple(vars(self).values())


def _as_encoder_output(features: Features) -> Mapping[str, Any]:
    layers = [value for name, value in features.items() if name != "pooled"]
    output = _EncoderOutput(pooler_output=features["pooled"], deepstack_features=layers)
    return {"mm_encoder_outputs": {"image": output}}


def _layered(model: Model, part: Part) -> Features:
    """Encode images of which several layers of the language model take features of their own."""
    output = model.base_model.get_image_features(part["pixel_values"], part["image_sizes"])
    layers = output.deepstack_features
    return {"pooled": layers[0][1]} | {f"{place} {layer}": packed for place, (layer, packed) in enumerate(layers)}


def _as_layers(features: Features) -> Mapping[str, Any]:
    layers = [(int(name.split()[1]), packed) for name, packed in features.items() if name != "pooled"]
    return {"mm_encoder_outputs": {"image": _EncoderOutput(deepstack_features=layers)}}


def _crossed(model: Model, part: Part) -> Features:
    inner = model.model
    states = inner.vision_model(**part).last_hidden_state
    return {"states": inner.multi_modal_projector(states).flatten(0, 2)}


def _as_cross_states(features: Features) -> Mapping[str, Any]:
    return {"cross_attention_states": features["states"]}


_PLAIN = Family(encode=_pooled, insert=_as_encoder_output)
_NESTED = replace(_PLAIN, axis=1)

FAMILIES: Mapping[str, Family] = {
    "aria": _PLAIN,
    "aya_vision": _PLAIN,
    "cohere_compass": _PLAIN,
    "deepseek_vl": _PLAIN,
    "deepseek_vl_hybrid": _PLAIN,
    "ernie4_5_vl_moe": _PLAIN,
    "exaone4_5": _PLAIN,
    "gemma3": _PLAIN,
    "gemma4": replace(_PLAIN, prefix=False),
    "glm46v": _PLAIN,
    "glm4v": _PLAIN,
    "granite4_vision": replace(_PLAIN, encode=_layered, insert=_as_layers),
    "hyperclovax_vision_v2": _PLAIN,
    "idefics3": _NESTED,
    "internvl": _PLAIN,
    "janus": _PLAIN,
    "lfm3_vl": replace(_PLAIN, prefix=False),
    "llava": _PLAIN,
    "llava_next": _PLAIN,
    "llava_next_video": _PLAIN,
    "llava_onevision": replace(_PLAIN, companion=True),
    "minicpmv4_6": replace(_PLAIN, prefix=False, encode=_pooled_in_a_row),
    "minicpmv4_7": replace(_PLAIN, prefix=False, encode=_pooled_in_a_row),
    "mistral3": _PLAIN,
    "mllama": Family(axis=1, encode=_crossed, insert=_as_cross_states),
    "mplug_owl2": _PLAIN,
    "mplugowl3": replace(_PLAIN, tiles=True),
    "paddleocr_vl": _PLAIN,
    "paligemma": replace(_PLAIN, prefix=False),
    "qdebias_nano": _PLAIN,
    "qwen": _PLAIN,
    "qwen2_5_vl": _PLAIN,
    "qwen2_vl": _PLAIN,
    "qwen3_5": replace(_PLAIN, prefix=False),
    "qwen3_5_moe": replace(_PLAIN, prefix=False),
    "qwen3_vl": _PLAIN,
    "qwen3_vl_moe": _PLAIN,
    "smolvlm": _NESTED,
    "video_llama_3": _PLAIN,
    "vipllava": _PLAIN,
}
"""By the `model_type` of config.json."""


def family_of(model: Model) -> Family | None:
    """Return how a model lets work be shared; None where that is not known, or this transformers cannot do it."""
    family = FAMILIES.get(model.config.model_type)
    if family is None:
        return None
    taken = inspect.signature(type(model).forward).parameters  # what is not there would be swallowed in silence
    return family if {"mm_encoder_outputs", "cross_attention_states"} & set(taken) else None


def joined(values: Sequence[Any], axis: int = 0) -> Any:  # noqa: ANN401  tensors or lists of them
    """Return the values of several images as one, in order.

    Smaller tensors are filled up with zeros; of single numbers the largest counts.
    """
    first = values[0]
    if isinstance(first, torch.Tensor):
        if len(values) == 1:
            return first
        return torch.cat(_filled(values, axis), dim=axis) if first.ndim else torch.stack(list(values)).amax()
    if not isinstance(first, list | tuple):
        return first
    if axis:
        return [joined(nested, axis - 1) for nested in zip(*values, strict=True)]
    return [item for value in values for item in value]


def split(value: Any, count: int) -> list[Any]:  # noqa: ANN401
    """Return the parts of a value that belong to each of `count` equal images: the inverse of `joined` at axis 0."""
    if isinstance(value, torch.Tensor):
        return list(value.chunk(count))
    size = len(value) // count
    return [list(value[start : start + size]) for start in range(0, len(value), size)]


def _filled(tensors: Sequence[torch.Tensor], axis: int) -> list[torch.Tensor]:
    largest = [max(sizes) for sizes in zip(*(tensor.shape for tensor in tensors), strict=True)]
    filled = []
    for tensor in tensors:
        missing = [0 if place == axis else largest[place] - size for place, size in enumerate(tensor.shape)]
        widths = [width for gap in reversed(missing) for width in (0, gap)]
        filled.append(torch.nn.functional.pad(tensor, widths) if any(missing) else tensor)
    return filled
