"""From a question about images to the arrays that a model is run on, by its own processor, and the forward pass."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from qdebias.backends.base import Encoding
from qdebias.backends.hf import Config, Model, Processor, TensorOrOther
from qdebias.backends.hf.devices import memory_of
from qdebias.backends.hf.prompts import HfTokenizer, Prompt, check_ids, style_of
from qdebias.backends.prompt import WINDOW, Form, special_tokens
from qdebias.errors import BackendError, ImageError, PromptError, first_line
from qdebias.prompts import Question, Request, refuse_special_tokens


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """One question, ready to be run.

    Attributes:
        ids: (L,) the prompt.
        inputs: The model's arguments, `input_ids` among them, with a batch axis of 1, on the CPU.
        lead: White space between the prompt and its answer, see `Prompt`.
    """

    ids: list[int]
    inputs: Mapping[str, Any]
    lead: str

    @property
    def tail(self) -> tuple[int, ...]:
        """The last ids, from which the options' tokens follow."""
        return tuple(self.ids[-WINDOW:])

    @property
    def encoding(self) -> Encoding:
        """What the model is run on, for inspection."""
        inputs = {name: value for name, value in self.inputs.items() if name not in ("input_ids", "attention_mask")}
        arrays = {name: value.numpy() if isinstance(value, torch.Tensor) else value for name, value in inputs.items()}
        return Encoding(np.asarray(self.ids, dtype=np.int64), arrays)


Pick: TypeAlias = Callable[[Prepared, Question], list[int] | slice]
"""Says which logits of a question are wanted."""


class Preparer:
    """Makes the inputs of a model and checks that they are what was requested.

    Args:
        model: Says how long a prompt may be, and which token stands for an image.
        processor: The model's own.

    Attributes:
        tokenizer: The model's own.
        image_token: The id that holds the place of image features in the prompt; None: see `places_of`.
    """

    def __init__(self, model: Model, processor: Processor) -> None:
        self._processor = processor
        self._style = style_of(model.config)
        self._longest = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        self._prompts: dict[Form, Prompt] = {}
        self.tokenizer = HfTokenizer(processor)
        self.image_token = _image_token(model.config, processor)

    def prepare(
        self, request: Request, *, processor: Processor = None, pictures: Sequence[Image.Image] | None = None
    ) -> list[Prepared]:
        """Return every question of a request, ready to be run.

        Args:
            request: Images and questions.
            processor: Takes the place of the model's own; gives the same ids.
            pictures: The request's images, as that processor takes them.

        Raises:
            PromptError: The chat template does not keep the images or the answer prefix where they belong.
            ImageError: The processor refuses an image, or the images are more tokens than the model can read.
        """
        pictures = pictures or [Image.fromarray(image) for image in request.images]
        return [self._one(request, question, processor or self._processor, pictures) for question in request.questions]

    def _one(
        self, request: Request, question: Question, processor: Processor, pictures: Sequence[Image.Image]
    ) -> Prepared:
        form = Form(question=question, placement=request.placement, images=len(request.images))
        if form not in self._prompts:
            refuse_special_tokens(question, special_tokens(self._processor.tokenizer))
            self._prompts[form] = self._style.render(self._processor, form)
        prompt = self._prompts[form]
        try:
            inputs = self._style.encode(processor, prompt, pictures)
        except UnicodeEncodeError as error:
            raise PromptError(f"the question {question.text!r} is not Unicode text ({error}); correct it") from error
        except ValueError as error:
            raise ImageError(
                f"the model's processor refuses images of {_sizes(request)}: {first_line(error)}"
            ) from error
        ids = cast(list[int], inputs["input_ids"][0].tolist())
        check_ids(self.tokenizer, ids, places_of(inputs, self.image_token).nonzero()[:, 0].tolist(), prompt, form)
        if self._longest is not None and len(ids) > self._longest:
            raise ImageError(
                f"images of {_sizes(request)} become a prompt of {len(ids)} tokens, but this model reads at most "
                f"{self._longest}; make the images smaller, or limit max_pixels where the model has it"
            )
        return Prepared(ids, inputs, prompt.lead)


def places_of(inputs: Mapping[str, Any], image_token: int | None) -> torch.Tensor:
    """Return where images stand in the (1, L) ids of a prompt, (L,): a token of theirs, or the beginning of a marker.

    Args:
        inputs: The model's arguments.
        image_token: Stands for an image. None: images are marked in words, and `mm_token_type_ids` says where.
    """
    if image_token is None:
        return cast(torch.Tensor, inputs["mm_token_type_ids"][0] == 1)
    return cast(torch.Tensor, inputs["input_ids"][0] == image_token)


def _image_token(config: Config, processor: Processor) -> int | None:
    if getattr(processor, "marks_images", False):
        return None
    for owner in (config, processor):
        for name in ("image_token_id", "image_token_index"):
            if isinstance(getattr(owner, name, None), int):
                return cast(int, getattr(owner, name))
    raise BackendError(f"models of type {config.model_type!r} do not say which token stands for an image")


def _sizes(request: Request) -> str:
    return " and ".join(f"{image.shape[1]} x {image.shape[0]}" for image in request.images)


Logits = npt.NDArray[np.float32]


class Forward:
    """Runs a model."""

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
                f"the model's logits are not finite (NaN or infinity) in {self._model.dtype}; "
                f"load it with dtype='bfloat16' or dtype='float32'"
            )
        return logits

    def _logits(self, inputs: Mapping[str, Any], reads: list[int]) -> Logits:
        kept: dict[str, Any] = {}
        if self._picks:  # the others compute all positions
            kept = {"logits_to_keep": 1 if reads == [-1] else torch.tensor(reads, device=self._model.device)}
        logits = self._model(**{name: moved(self._model, value) for name, value in inputs.items()}, **kept).logits
        logits = logits if self._picks else logits[:, reads]
        return np.asarray(logits.float().cpu().numpy(), dtype=np.float32)


def moved(model: Model, value: TensorOrOther) -> TensorOrOther:
    """Return one of a model's inputs where the model is; floating-point numbers in its type."""
    if isinstance(value, dict):
        return {name: moved(model, one) for name, one in value.items()}
    if not isinstance(value, torch.Tensor):
        return value
    return value.to(model.device, model.dtype if value.is_floating_point() else value.dtype)
