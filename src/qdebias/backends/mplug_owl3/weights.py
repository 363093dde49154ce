"""Filling a model with the weights of a checkpoint, one tensor at a time."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from qdebias.backends.devices import check_room
from qdebias.backends.mplug_owl3.model import Model
from qdebias.backends.mplug_owl3.placement import Placement
from qdebias.backends.mplug_owl3.quantization import Quantization
from qdebias.backends.weight_files import WeightFiles
from qdebias.errors import BackendError

REMEDIES = "quantize '8bit' or '4bit', a device_map over several devices, "
"""What takes less memory, or spreads it."""

HARMLESS = (".rotary_emb.inv_freq", ".embeddings.position_ids")
"""Endings of the names of constants that older code stored beside the weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyReport:
    """How the names in a checkpoint compare with those of the model.

    Attributes:
        missing: Needed and absent.
        absent_unused: Absent, and never used: parts of the vision encoder that are not run.
        surplus: There, but of no place in the model.
        ignored: There, and never used.
        wrong: Of another shape than the model's: (name, shape there, shape here).
    """

    missing: tuple[str, ...]
    absent_unused: tuple[str, ...]
    surplus: tuple[str, ...]
    ignored: tuple[str, ...]
    wrong: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]


def compare_keys(shapes: Mapping[str, tuple[int, ...]], model: Model) -> KeyReport:
    """Compare names and shapes in a checkpoint with those of a model that is not filled yet."""
    wanted = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    unused = {name for name in wanted if name.startswith(model.unused)}
    absent = [name for name in wanted if name not in shapes]
    extra = [name for name in shapes if name not in wanted]
    harmless = {name for name in extra if name.endswith(HARMLESS)}
    return KeyReport(
        missing=tuple(name for name in absent if name not in unused),
        absent_unused=tuple(name for name in absent if name in unused),
        surplus=tuple(name for name in extra if name not in harmless),
        ignored=tuple(name for name in shapes if name in unused or name in harmless),
        wrong=tuple(
            (name, shapes[name], wanted[name]) for name in wanted if shapes.get(name, wanted[name]) != wanted[name]
        ),
    )


def check_keys(report: KeyReport) -> None:
    """Refuse a checkpoint that does not fit the model.

    Raises:
        BackendError: Names are missing or surplus, or shapes differ; the message names the first weight.
    """
    if report.wrong:
        name, there, here = report.wrong[0]
        raise BackendError(
            f"weight {name}: has shape {there} in the checkpoint, {here} by config.json "
            f"({len(report.wrong)} such weights); obtain weights and config.json of one version"
        )
    if report.missing:
        raise BackendError(
            f"weight {report.missing[0]}: is missing from the checkpoint ({len(report.missing)} such weights); "
            f"the download is incomplete, or config.json is of another model"
        )
    if report.surplus:
        raise BackendError(
            f"weight {report.surplus[0]}: has no place in the model ({len(report.surplus)} such weights); "
            f"this is another version of mPLUG-Owl3 than is known"
        )


def fill(
    model: Model, files: WeightFiles, *, dtype: torch.dtype, place: Placement, quantization: Quantization | None = None
) -> None:
    """Fill a model that was built without weights; what is never run is removed from it.

    No more than one tensor is in memory besides the model itself.

    Raises:
        BackendError: The checkpoint does not fit the model, or the model does not fit the memory.
    """
    check_keys(compare_keys(files.shapes, model))
    model.vision_model.drop_unused()
    if quantization is not None:
        quantization.prepare(model, dtype)
    parameters = dict(model.named_parameters())
    check_room(_needed(parameters, dtype, place, quantization), REMEDIES)
    for name, tensor in files.tensors(frozenset(parameters)):
        if not tensor.is_floating_point():
            raise BackendError(f"weight {name}: holds {tensor.dtype}, not floating-point numbers")
        owner, _, leaf = name.rpartition(".")
        module = model.get_submodule(owner)
        if quantization is not None and quantization.holds(module, leaf):
            module.register_parameter(leaf, quantization.parameter(tensor, place(name), dtype))
        else:
            module.register_parameter(leaf, nn.Parameter(tensor.to(place(name), dtype, copy=True), requires_grad=False))
    model.eval()


def _needed(
    parameters: Mapping[str, nn.Parameter], dtype: torch.dtype, place: Placement, quantization: Quantization | None
) -> dict[torch.device, int]:
    """Return the bytes that the weights will take on each device."""
    total: Counter[torch.device] = Counter()
    for name, parameter in parameters.items():
        quantized = quantization is not None and quantization.covers(name)
        bits = quantization.bits if quantization is not None and quantized else dtype.itemsize * 8
        total[place(name)] += parameter.numel() * bits // 8
    return dict(total)
