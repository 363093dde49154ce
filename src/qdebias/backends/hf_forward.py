"""The forward pass of a transformers model: inputs to its device, its refusals into our words."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from qdebias.backends.hf_types import Model, TensorOrOther
from qdebias.backends.messages import first_line
from qdebias.backends.sharing_memory import memory_of
from qdebias.errors import BackendError, PromptError

Logits = npt.NDArray[np.float32]


class Forward:
    """Runs a model.

    Args:
        model: On its device, in evaluation mode.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._picks = "logits_to_keep" in inspect.signature(type(model).forward).parameters

    def __call__(self, inputs: Mapping[str, Any], reads: Sequence[int] = (-1,)) -> Logits:
        """Return the logits at some positions: (rows, positions, vocabulary).

        Args:
            inputs: The model's arguments, with a batch axis of so many rows.
            reads: Positions, the same in each row.

        Raises:
            OutOfMemoryError: The device has no room for it.
            PromptError: The model refuses its inputs.
            BackendError: The logits are no numbers.
        """
        try:
            with memory_of(self._model.device), torch.inference_mode():
                logits = self._logits(inputs, list(reads))
        except ValueError as error:
            raise PromptError(
                f"the model refuses the prompt that its own processor made: {first_line(error)}"
            ) from error
        if np.isnan(logits).any() or np.isposinf(logits).any():
            raise BackendError(
                f"the model answers with numbers that are none (NaN or infinity) in {self._model.dtype}; "
                f"load it with dtype='bfloat16' or dtype='float32'"
            )
        return logits

    def _logits(self, inputs: Mapping[str, Any], reads: list[int]) -> Logits:
        kept: dict[str, Any] = {}
        if self._picks:  # the others compute all positions
            kept = {"logits_to_keep": 1 if reads == [-1] else torch.tensor(reads, device=self._model.device)}
        logits = self._model(**{name: self._moved(value) for name, value in inputs.items()}, **kept).logits
        logits = logits if self._picks else logits[:, reads]
        return np.asarray(logits.float().cpu().numpy(), dtype=np.float32)

    def _moved(self, value: TensorOrOther) -> TensorOrOther:
        if isinstance(value, dict):
            return {name: self._moved(one) for name, one in value.items()}
        if not isinstance(value, torch.Tensor):
            return value
        return value.to(self._model.device, self._model.dtype if value.is_floating_point() else value.dtype)
