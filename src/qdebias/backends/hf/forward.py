"""From a question about images to the arrays that a model is run on, by its own processor, and the forward pass."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from qdebias.backends.hf import Model, Processor
from qdebias.backends.hf.devices import memory_of
from qdebias.backends.hf.prompts import HfTokenizer, Prompt, check_ids, style_of
from qdebias.backends.prompt import Form, special_tokens
from qdebias.errors import BackendError, ImageError, PromptError, first_line
from qdebias.prompts import Question, Request, refuse_special_tokens

Logits: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """One question, ready to be run."""

    ids: list[int]  # (L,) the prompt
    inputs: Mapping[str, Any]  # the model's arguments, `input_ids` among them, with a batch axis of 1, on the CPU
    lead: str  # white space between the prompt and its answer, see `Prompt`


Pick: TypeAlias = Callable[[Prepared, Question], list[int] | slice]
"""Says which logits of a question are wanted."""


class Preparer:
    """Makes the inputs of a model and checks that they are what was requested."""

    def __init__(self, model: Model, processor: Processor) -> None:
        self._processor = processor
        self._style = style_of(model.config)
        self._longest = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        self._prompts: dict[Form, Prompt] = {}
        self.tokenizer = HfTokenizer(processor)
        self.image_token: int | None = None  # see `places_of`
        if not getattr(processor, "marks_images", False):
            names = ("image_token_id", "image_token_index")
            said = (getattr(owner, name, None) for owner in (model.config, processor) for name in names)
            self.image_token = next((one for one in said if isinstance(one, int)), None)
            if self.image_token is None:
                kind = model.config.model_type
                raise BackendError(f"models of type {kind!r} do not say which token stands for an image")

    def prepare(
        self, request: Request, *, processor: Processor = None, pictures: Sequence[Image.Image] | None = None
    ) -> list[Prepared]:
        """Return every question of a request, ready to be run.

        A `processor` in place of the model's own gives the same ids; `pictures` are the request's images as it takes
        them.
        """
        pictures = pictures or [Image.fromarray(image) for image in request.images]
        sizes = " and ".join(f"{image.shape[1]} x {image.shape[0]}" for image in request.images)
        found = []
        for question in request.questions:
            form = Form(question=question, placement=request.placement, images=len(request.images))
            if form not in self._prompts:
                refuse_special_tokens(question, special_tokens(self._processor.tokenizer))
                self._prompts[form] = self._style.render(self._processor, form)
            prompt = self._prompts[form]
            try:
                inputs = self._style.encode(processor or self._processor, prompt, pictures)
            except UnicodeEncodeError as error:
                raise PromptError(
                    f"the question {question.text!r} is not Unicode text ({error}); correct it"
                ) from error
            except ValueError as error:
                raise ImageError(f"the model's processor refuses images of {sizes}: {first_line(error)}") from error
            ids = cast(list[int], inputs["input_ids"][0].tolist())
            places = places_of(inputs, self.image_token).nonzero()[:, 0].tolist()
            check_ids(self.tokenizer, ids, places, prompt, form)
            if self._longest is not None and len(ids) > self._longest:
                raise ImageError(
                    f"images of {sizes} become a prompt of {len(ids)} tokens, but this model reads at most "
                    f"{self._longest}; make the images smaller, or limit max_pixels where the model has it"
                )
            found.append(Prepared(ids, inputs, prompt.lead))
        return found


def places_of(inputs: Mapping[str, Any], image_token: int | None) -> torch.Tensor:
    """Return where images stand in the (1, L) ids of a prompt, (L,): a token of theirs, or the beginning of a marker.

    Without an image token images are marked in words, and `mm_token_type_ids` says where.
    """
    if image_token is None:
        return cast(torch.Tensor, inputs["mm_token_type_ids"][0] == 1)
    return cast(torch.Tensor, inputs["input_ids"][0] == image_token)


class Forward:
    """Runs a model."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._picks = "logits_to_keep" in inspect.signature(type(model).forward).parameters

    def __call__(self, inputs: Mapping[str, Any], reads: Sequence[int] = (-1,)) -> Logits:
        """Return the (rows, positions, vocabulary) logits at some positions, the same in each row."""
        model, places, kept = self._model, list(reads), dict[str, Any]()
        if self._picks:  # the others compute all positions
            kept = {"logits_to_keep": 1 if places == [-1] else torch.tensor(places, device=model.device)}
        try:
            with memory_of(model.device), torch.inference_mode():
                found = model(**{name: moved(model, value) for name, value in inputs.items()}, **kept).logits
                found = found if self._picks else found[:, places]
                logits = np.asarray(found.float().cpu().numpy(), dtype=np.float32)
        except ValueError as error:
            raise PromptError(
                f"the model refuses the prompt that its own processor made: {first_line(error)}"
            ) from error
        if np.isnan(logits).any() or np.isposinf(logits).any():
            raise BackendError(
                f"the model's logits are not finite (NaN or infinity) in {model.dtype}; "
                f"load it with dtype='bfloat16' or dtype='float32'"
            )
        return logits


def moved(model: Model, value: Any) -> Any:  # noqa: ANN401  mostly a tensor
    """Return one of a model's inputs where the model is; floating-point numbers in its type."""
    if isinstance(value, dict):
        return {name: moved(model, one) for name, one in value.items()}
    if not isinstance(value, torch.Tensor):
        return value
    return value.to(model.device, model.dtype if value.is_floating_point() else value.dtype)
