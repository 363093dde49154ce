"""How families of models share work: one name or one line for each.

A family that is not listed here works too: each of its questions runs alone, with its own image encodings.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from types import SimpleNamespace
from typing import Any, TypeAlias

import torch

from qdebias.backends.hf import Model

Part: TypeAlias = Mapping[str, Any]
"""Output of an image processor for one image, by the model's argument names."""

Features: TypeAlias = Mapping[str, Any]
"""An encoded image, by name: tensors whose first axis counts tiles, or lists of tensors."""


class _EncoderOutput(SimpleNamespace):
    """The part of an image encoder's output that models read."""

    def to_tuple(self) -> tuple[object, ...]:
        """Return the parts: transformers 5.24 asks for them where a model passes its output on."""
        return tuple(vars(self).values())


_signature = lru_cache(maxsize=32)(inspect.signature)


def _pooled(model: Model, part: Part) -> Features:
    encode = model.base_model.get_image_features
    taken = _signature(type(model.base_model).get_image_features).parameters
    output = encode(**{name: value for name, value in part.items() if name in taken})
    layers = getattr(output, "deepstack_features", None) or []
    return {"pooled": output.pooler_output} | {f"layer {number}": layer for number, layer in enumerate(layers)}


def _as_encoder_output(features: Features) -> Mapping[str, Any]:
    layers = [value for name, value in features.items() if name != "pooled"]
    output = _EncoderOutput(pooler_output=features["pooled"], deepstack_features=layers)
    return {"mm_encoder_outputs": {"image": output}}


def _pooled_in_a_row(model: Model, part: Part) -> Features:
    """Encode images whose patches stand one behind the other along the last axis."""
    return _pooled(model, {**part, "pixel_values": torch.cat(part["pixel_values"].split(1), dim=-1)})


def _layered(model: Model, part: Part) -> Features:
    """Encode images of which several layers of the language model take features of their own."""
    layers = model.base_model.get_image_features(part["pixel_values"], part["image_sizes"]).deepstack_features
    return {"pooled": layers[0][1]} | {f"{place} {layer}": packed for place, (layer, packed) in enumerate(layers)}


def _as_layers(features: Features) -> Mapping[str, Any]:
    layers = [(int(name.split()[1]), packed) for name, packed in features.items() if name != "pooled"]
    return {"mm_encoder_outputs": {"image": _EncoderOutput(deepstack_features=layers)}}


def _crossed(model: Model, part: Part) -> Features:
    states = model.model.vision_model(**part).last_hidden_state
    return {"states": model.model.multi_modal_projector(states).flatten(0, 2)}


def _as_cross_states(features: Features) -> Mapping[str, Any]:
    return {"cross_attention_states": features["states"]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """How models of a kind let work be shared.

    Attributes:
        axis: The axis along which the arrays of the image processor count images: 1 where prompts come first.
        companion: An image is prepared in another way where it is alone in its prompt.
        tiles: Every tile of an image has its own place in the prompt; only those that have one are encoded.
        prefix: Questions about the same images can follow them in one sequence. Not where the images see the question
            (prefix language models), nor where a layer keeps a running state (linear attention).
        encode: Maps the processor's output for one or more images of equal shape to their features.
        insert: Maps the features of all images, in order, to arguments of the forward pass.
    """

    axis: int = 0
    companion: bool = False
    tiles: bool = False
    prefix: bool = True
    encode: Callable[[Model, Part], Features] = _pooled
    insert: Callable[[Features], Mapping[str, Any]] = _as_encoder_output


_PLAIN = """
    aria aya_vision cohere_compass deepseek_vl deepseek_vl_hybrid ernie4_5_vl_moe exaone4_5 gemma3 glm46v glm4v
    hyperclovax_vision_v2 internvl janus llava llava_next llava_next_video mistral3 mplug_owl2 paddleocr_vl
    qdebias_nano qwen qwen2_5_vl qwen2_vl qwen3_vl qwen3_vl_moe video_llama_3 vipllava
"""

FAMILIES: Mapping[str, Family] = {
    **dict.fromkeys(_PLAIN.split(), Family()),
    **dict.fromkeys(("gemma4", "lfm3_vl", "paligemma", "qwen3_5", "qwen3_5_moe"), Family(prefix=False)),
    **dict.fromkeys(("idefics3", "smolvlm"), Family(axis=1)),
    **dict.fromkeys(("minicpmv4_6", "minicpmv4_7"), Family(prefix=False, encode=_pooled_in_a_row)),
    "granite4_vision": Family(encode=_layered, insert=_as_layers),
    "llava_onevision": Family(companion=True),
    "mllama": Family(axis=1, encode=_crossed, insert=_as_cross_states),
    "mplugowl3": Family(tiles=True),
}
"""By the `model_type` of config.json."""


def family_of(model: Model, sharing: str = "all") -> Family | None:
    """Return how a model lets work be shared: "all", "images" alone, or nothing ("off", None).

    None also where that is not known, or where this transformers cannot do it.
    """
    taken = inspect.signature(type(model).forward).parameters  # another argument would be swallowed in silence
    family = FAMILIES.get(model.config.model_type)
    if family is None or sharing == "off" or not {"mm_encoder_outputs", "cross_attention_states"} & set(taken):
        return None
    return replace(family, prefix=False) if sharing == "images" else family
