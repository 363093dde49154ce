"""The decoder's large linear layers in 8 or 4 bits, by bitsandbytes: another model, so it is part of the identity."""

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from qdebias.errors import MissingPackageError, SettingError

_COVERED = re.compile(
    r"language_model\.model\.layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)(\.weight)?"
)
"""What is quantised: not the vision encoder, not what turns images into keys and values, not the output layer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization:
    """One way of storing linear layers.

    Attributes:
        name: As the user writes it.
        bits: How many a weight takes, scales aside.
        alone: Whether requests have to be run one at a time, so that none changes another's logits: LLM.int8 treats
            a channel as an outlier when any token of the batch is one there.
    """

    name: str
    bits: int
    alone: bool

    def covers(self, name: str) -> bool:
        """Tell whether a module or weight of that name is quantised."""
        return _COVERED.fullmatch(name) is not None

    def holds(self, module: nn.Module, leaf: str) -> bool:
        """Tell whether `leaf` of a prepared module is a quantised weight."""
        return leaf == "weight" and type(module).__name__ in ("Linear8bitLt", "Linear4bit")

    def prepare(self, model: nn.Module, dtype: torch.dtype) -> None:
        """Replace the linear layers of a model without weights."""
        for name, module in list(model.named_modules()):
            if isinstance(module, nn.Linear) and self.covers(name):
                owner, _, leaf = name.rpartition(".")
                setattr(model.get_submodule(owner), leaf, self._layer(module, dtype))

    def parameter(self, tensor: torch.Tensor, device: torch.device, dtype: torch.dtype) -> nn.Parameter:
        """Return a weight in its stored form; the packing happens on the way to the device."""
        modules = _bitsandbytes().nn
        rounded = tensor.to(dtype, copy=True)
        if self.bits == 8:
            packed = modules.Int8Params(rounded, requires_grad=False, has_fp16_weights=False)
        else:
            packed = modules.Params4bit(rounded, requires_grad=False, quant_type="nf4")
        return packed.to(device)  # type: ignore[no-any-return]

    def _layer(self, old: nn.Linear, dtype: torch.dtype) -> nn.Module:
        modules, sizes, bias = _bitsandbytes().nn, (old.in_features, old.out_features), old.bias is not None
        with torch.device("meta"):
            if self.bits == 8:
                return modules.Linear8bitLt(*sizes, bias=bias, has_fp16_weights=False, threshold=6.0)  # type: ignore[no-any-return]
            return modules.Linear4bit(*sizes, bias=bias, quant_type="nf4", compute_dtype=dtype)  # type: ignore[no-any-return]


QUANTIZATIONS: Mapping[str, Quantization] = MappingProxyType(
    {
        "8bit": Quantization(name="8bit", bits=8, alone=True),
        "4bit": Quantization(name="4bit", bits=4, alone=False),
    }
)


def quantization(name: str | None) -> Quantization | None:
    """Return the way of that name; None is none.

    Raises:
        SettingError: There is no such way.
        MissingPackageError: bitsandbytes is not installed.
    """
    if name is None:
        return None
    if name not in QUANTIZATIONS:
        raise SettingError(f"quantize {name!r} is unknown; use one of {', '.join(QUANTIZATIONS)}, or leave it out")
    _bitsandbytes()
    return QUANTIZATIONS[name]


def _bitsandbytes() -> Any:  # noqa: ANN401  an optional module
    try:
        return importlib.import_module("bitsandbytes")
    except ImportError as error:
        raise MissingPackageError('bitsandbytes not installed: pip install "qdebias[quantize]"') from error
