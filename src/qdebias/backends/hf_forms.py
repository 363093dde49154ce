"""How a question becomes a prompt: by the chat template of the model, except where a family has none."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from qdebias.backends import hf_prefix, hf_prompt
from qdebias.backends.folder import Checkpoint
from qdebias.backends.hf_prompt import Prompt
from qdebias.backends.hf_types import Config, Processor
from qdebias.errors import BackendError
from qdebias.prompts import Question, Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How the questions of a family are written.

    Attributes:
        template: Whether a chat template is needed; else there is none, and one that is there is not used.
        render: From a question to its prompt, in text.
        encode: From the prompt and the images to the model's arguments, with a batch axis of 1.
    """

    template: bool
    render: Callable[[Processor, Request, Question], Prompt]
    encode: Callable[[Processor, Prompt, Sequence[Image.Image]], Mapping[str, Any]]


CHAT = Form(template=True, render=hf_prompt.render, encode=hf_prompt.encode)

FORMS: Mapping[str, Form] = {
    "paligemma": Form(template=False, render=hf_prefix.render, encode=hf_prefix.encode),
}
"""Families without a chat template, by the `model_type` of config.json."""


def form_of(config: Config) -> Form:
    """Return how questions are written for a model."""
    return FORMS.get(config.model_type, CHAT)


def check_template(checkpoint: Checkpoint, config: Config, processor: Processor) -> None:
    """Refuse a checkpoint that lacks the chat template that its questions need.

    Raises:
        BackendError: It does.
    """
    if form_of(config).template and processor.chat_template is None:
        raise BackendError(
            f"{checkpoint.folder}: has no chat template; put the model's own into chat_template.jinja, or take an "
            f"instruction-tuned version of the model"
        )
