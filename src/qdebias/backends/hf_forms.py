"""How a question becomes a prompt: by the chat template of the model, except where a family has none."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from qdebias.backends import hf_prefix, hf_prompt
from qdebias.backends.chat_template import fixed
from qdebias.backends.folder import Checkpoint
from qdebias.backends.hf_prompt import Prompt
from qdebias.backends.hf_types import Config, Processor
from qdebias.backends.prompt import Argument, Form
from qdebias.errors import BackendError, SettingError


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How the questions of a family are written.

    Attributes:
        template: Whether a chat template is needed; else there is none, and one that is there is not used.
        render: From a question to its prompt, in text.
        encode: From the prompt and the images to the model's arguments, with a batch axis of 1.
    """

    template: bool
    render: Callable[[Processor, Form], Prompt]
    encode: Callable[[Processor, Prompt, Sequence[Image.Image]], Mapping[str, Any]]


CHAT = Style(template=True, render=hf_prompt.render, encode=hf_prompt.encode)

STYLES: Mapping[str, Style] = {
    "paligemma": Style(template=False, render=hf_prefix.render, encode=hf_prefix.encode),
}
"""Families without a chat template, by the `model_type` of config.json."""


def style_of(config: Config) -> Style:
    """Return how questions are written for a model."""
    return STYLES.get(config.model_type, CHAT)


def fix_template(
    checkpoint: Checkpoint, config: Config, processor: Processor, arguments: Mapping[str, Argument] | None = None
) -> dict[str, str]:
    """Write arguments and a fixed date into the chat template of a processor; return what they add to the identity.

    Raises:
        BackendError: The checkpoint lacks the chat template that its questions need, or it draws at random.
        SettingError: The template does not read an argument.
    """
    if not style_of(config).template:
        if arguments:
            raise SettingError(
                f"{checkpoint.name}: questions are written without a chat template; give no template_args"
            )
        return {}
    template = processor.chat_template
    if isinstance(template, Mapping):  # several, by name
        template = template.get("default")
    if template is None:
        raise BackendError(
            f"{checkpoint.folder}: has no chat template; put the model's own into chat_template.jinja, or take an "
            f"instruction-tuned version of the model"
        )
    processor.chat_template, chosen = fixed(template, arguments)
    said = {"template_args": json.dumps(chosen, sort_keys=True)} if chosen else {}
    return said | {"template": hf_prompt.template_digest(processor)}
