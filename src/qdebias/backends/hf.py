"""Any image-and-text model of transformers as a backend, asked through its own processor and chat template.

One forward pass a question, no padding: the plain way, against which every faster one is checked.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import numpy as np
import torch
from PIL import Image

from qdebias.backends.base import Encoding, Fingerprint, OptionLogits
from qdebias.backends.hf_prompt import HfTokenizer, check_ids, render
from qdebias.backends.hf_types import Config, Model, Processor, TensorOrOther
from qdebias.backends.messages import first_line
from qdebias.backends.tokens import WINDOW, option_tokens
from qdebias.errors import BackendError, ImageError, PromptError
from qdebias.probability import FloatArray
from qdebias.prompts import Question, Request


@dataclass(frozen=True, slots=True, eq=False)
class _Prepared:
    """One question, ready to be run.

    Attributes:
        ids: (L,) the prompt.
        inputs: The model's arguments, `input_ids` among them, with a batch axis of 1, on the CPU.
        lead: White space between the prompt and its answer, see `Prompt`.
    """

    ids: list[int]
    inputs: Mapping[str, Any]
    lead: str


class HfBackend:
    """A model and its processor; `qdebias.backends.hf_loading.load_hf` makes one from a checkpoint.

    Args:
        model: A transformers model with an image-text-to-text head, on its device, in evaluation mode.
        processor: Its processor, with a chat template.
        fingerprint: See `Fingerprint`.
    """

    def __init__(self, *, model: Model, processor: Processor, fingerprint: Fingerprint) -> None:
        self._model = model
        self._processor = processor
        self._fingerprint = fingerprint
        self._tokenizer = tokenizer = HfTokenizer(processor)
        self._image_token = _image_token(model.config, processor)
        one = "logits_to_keep" in inspect.signature(type(model).forward).parameters
        self._last_only = {"logits_to_keep": 1} if one else {}  # the others compute all positions; the last is the same
        self._longest = getattr(model.config.get_text_config(), "max_position_embeddings", None)

        @lru_cache(maxsize=1024)
        def tokens(tail: tuple[int, ...], question: Question, lead: str) -> tuple[int, ...]:
            return option_tokens(tokenizer, tail, question, lead)

        self._option_tokens = tokens

    @property
    def fingerprint(self) -> Fingerprint:
        """What made the answers of this backend."""
        return self._fingerprint

    def option_logits(self, requests: Sequence[Request]) -> OptionLogits:
        """Return the logits of every option, see `Backend.option_logits`.

        Raises:
            OptionError: An option is not one token of this model.
            PromptError: The chat template does not keep the images or the answer prefix where they belong.
            ImageError: The processor refuses an image, or the images are more tokens than the model can read.
            BackendError: The model answers with numbers that are none, or does not fit into memory.
        """
        return [[self._ask(request, question) for question in request.questions] for request in requests]

    def encode(self, requests: Sequence[Request]) -> list[list[Encoding]]:
        """Return what the model would be run on, for each question: ids and the processor's arrays."""
        return [[_encoding(self._prepare(request, question)) for question in request.questions] for request in requests]

    def last_logits(self, requests: Sequence[Request]) -> OptionLogits:
        """Return the (vocabulary,) logits from which the options of each question are read."""
        return [
            self._forward([self._prepare(request, question) for question in request.questions]) for request in requests
        ]

    def _ask(self, request: Request, question: Question) -> FloatArray:
        prepared = self._prepare(request, question)
        tokens = self._option_tokens(tuple(prepared.ids[-WINDOW:]), question, prepared.lead)
        return self._forward([prepared])[0][list(tokens)]

    def _prepare(self, request: Request, question: Question) -> _Prepared:
        prompt = render(self._processor, request, question)
        inputs = self._process(prompt.text, request)
        ids = cast(list[int], inputs["input_ids"][0].tolist())
        check_ids(self._tokenizer, ids, self._image_token, prompt, request, question)
        if self._longest is not None and len(ids) > self._longest:
            raise ImageError(
                f"images of {_sizes(request)} become a prompt of {len(ids)} tokens, but this model reads at most "
                f"{self._longest}; make the images smaller, or limit max_pixels where the model has it"
            )
        return _Prepared(ids, inputs, prompt.lead)

    def _process(self, prompt: str, request: Request) -> Mapping[str, Any]:
        """Run the model's own processor; the tokenizer's start token is added unless the template wrote it."""
        start = self._processor.tokenizer.bos_token
        try:
            inputs = self._processor(
                images=[[Image.fromarray(image) for image in request.images]],
                text=[prompt],
                add_special_tokens=not (start is not None and prompt.startswith(start)),
                return_tensors="pt",
            )
        except ValueError as error:
            raise ImageError(
                f"the model's processor refuses images of {_sizes(request)}: {first_line(error)}"
            ) from error
        return cast(Mapping[str, Any], inputs)

    def _forward(self, prepared: Sequence[_Prepared]) -> list[FloatArray]:
        """Return the (vocabulary,) logits at the last position of each prompt."""
        return [self._run(one.inputs) for one in prepared]

    def _run(self, inputs: Mapping[str, Any]) -> FloatArray:
        try:
            with torch.inference_mode():
                moved = {name: self._move(value) for name, value in inputs.items()}
                output = self._model(**moved, **self._last_only)
            logits = np.asarray(output.logits[0, -1].float().cpu().numpy(), dtype=np.float64)
        except torch.OutOfMemoryError as error:
            raise BackendError(
                f"the model does not fit into the memory of {self._model.device}; use a smaller model or images"
            ) from error
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

    def _move(self, value: TensorOrOther) -> TensorOrOther:
        if not isinstance(value, torch.Tensor):
            return value
        return value.to(self._model.device, self._model.dtype if value.is_floating_point() else value.dtype)


def _encoding(prepared: _Prepared) -> Encoding:
    inputs = {name: value for name, value in prepared.inputs.items() if name not in ("input_ids", "attention_mask")}
    arrays = {name: value.numpy() if isinstance(value, torch.Tensor) else value for name, value in inputs.items()}
    return Encoding(np.asarray(prepared.ids, dtype=np.int64), arrays)


def _image_token(config: Config, processor: Processor) -> int:
    """Return the id that holds the place of image features in the prompt."""
    for owner in (config, processor):
        for name in ("image_token_id", "image_token_index"):
            if isinstance(getattr(owner, name, None), int):
                return cast(int, getattr(owner, name))
    raise BackendError(f"models of type {config.model_type!r} do not say which token stands for an image")


def _sizes(request: Request) -> str:
    return " and ".join(f"{image.shape[1]} x {image.shape[0]}" for image in request.images)
