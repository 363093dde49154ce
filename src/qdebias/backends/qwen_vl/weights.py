"""Filling a model with the weights of a checkpoint, one tensor at a time."""

import torch
from torch import nn

from qdebias.backends.devices import check_room
from qdebias.backends.qwen_vl.model import Model
from qdebias.backends.weight_files import WeightFiles
from qdebias.errors import BackendError


def fill(model: Model, files: WeightFiles, *, device: torch.device, dtype: torch.dtype) -> None:
    """Fill a model that was built without weights.

    No more than one tensor is in memory besides the model itself.

    Raises:
        BackendError: The checkpoint does not fit the model, or the model does not fit the memory.
    """
    parameters = dict(model.named_parameters())
    _check(files, {name: tuple(parameter.shape) for name, parameter in parameters.items()})
    check_room({device: sum(parameter.numel() for parameter in parameters.values()) * dtype.itemsize})
    for name, tensor in files.tensors(frozenset(parameters)):
        if not tensor.is_floating_point():
            raise BackendError(f"weight {name}: holds {tensor.dtype}, not floating-point numbers")
        owner, _, leaf = name.rpartition(".")
        weight = nn.Parameter(tensor.to(device, dtype, copy=True), requires_grad=False)
        model.get_submodule(owner).register_parameter(leaf, weight)
    model.eval()


def _check(files: WeightFiles, wanted: dict[str, tuple[int, ...]]) -> None:
    """Refuse a checkpoint that does not fit the model; the message names the first weight."""
    shapes = files.shapes
    wrong = [name for name in wanted if shapes.get(name, wanted[name]) != wanted[name]]
    missing = [name for name in wanted if name not in shapes]
    surplus = [name for name in shapes if name not in wanted]
    if wrong:
        raise BackendError(
            f"weight {wrong[0]}: has shape {shapes[wrong[0]]} in the checkpoint, {wanted[wrong[0]]} by config.json "
            f"({len(wrong)} such weights); obtain weights and config.json of one version"
        )
    if missing:
        raise BackendError(
            f"weight {missing[0]}: is missing from the checkpoint ({len(missing)} such weights); the download is "
            f"incomplete, or config.json is of another model"
        )
    if surplus:
        raise BackendError(
            f"weight {surplus[0]}: has no place in the model ({len(surplus)} such weights); use a checkpoint of "
            f"Qwen-VL or Qwen-VL-Chat that is not quantised"
        )
