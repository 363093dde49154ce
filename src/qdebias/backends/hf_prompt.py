"""From a question to the prompt of a chat model of transformers, and the proof that its ids are those of the prompt."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError
from PIL import Image
from transformers import ProcessorMixin

from qdebias.backends.hf_types import Processor
from qdebias.backends.messages import first_line
from qdebias.backends.prompt import Form, normal, opening
from qdebias.backends.tokens import Tokenizer
from qdebias.errors import PromptError
from qdebias.prompts import Question


class HfTokenizer:
    """The tokenizer of a processor, as `tokens.py` wants it: nothing added, nothing left out, nothing tidied."""

    def __init__(self, processor: Processor) -> None:
        self._tokenizer = processor.tokenizer

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`."""
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`."""
        text = self._tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return str(text)


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the chat template makes of a question.

    Attributes:
        text: Up to the end of the answer prefix, with one placeholder an image.
        lead: White space that the template writes before the first word of a reply; empty after an answer prefix.
        ending: What follows the last placeholder in the end.
        suffix: An answer prefix that is no part of the text, but goes behind what the processor makes of it.
    """

    text: str
    lead: str
    ending: str
    suffix: str = ""


_EXAMPLE = Form(
    question=Question(text="A question?", options=("Yes", "No"), values=(1.0, 0.0)), placement="before", images=1
)


def render(processor: Processor, form: Form) -> Prompt:
    """Return the prompt of a question: what the template writes before a reply, then the answer prefix.

    Raises:
        PromptError: The template refuses the conversation, or loses an image, or the question is not asked as meant.
    """
    image = getattr(processor, "image_token", None)

    def rendered(images: int, reply: str) -> str:
        text = _apply(processor, form, images, reply)
        if image is not None and images == form.images:
            check_placeholders(text, image, images)
        return text

    begun, prefix = opening(form, rendered), form.question.answer_prefix
    spaces = begun.lead in ("", " ") and not prefix  # a line break is no part of a word
    text = begun.text if spaces or prefix[:1].isspace() else begun.text + begun.lead
    return Prompt(text + prefix, begun.lead if spaces else "", text.rpartition(image)[2] + prefix if image else text)


def template_digest(processor: Processor) -> str:
    """Return the hash of what the template makes of a conversation that is always the same; "refused" if it refuses."""
    try:
        texts = [_apply(processor, _EXAMPLE, _EXAMPLE.images, reply) for reply in ("", "An answer")]
    except PromptError:
        return "refused"
    return hashlib.blake2b("\0".join(texts).encode(), digest_size=8).hexdigest()


def encode(processor: Processor, prompt: Prompt, pictures: Sequence[Image.Image]) -> Mapping[str, Any]:
    """Return what the processor makes of a prompt; the start token stands once, whoever writes it."""
    start = processor.tokenizer.bos_token
    made: Mapping[str, Any] = processor(
        images=[list(pictures)],
        text=[prompt.text],
        add_special_tokens=not (start is not None and prompt.text.startswith(start)),
        return_tensors="pt",
    )
    return made


def _apply(processor: Processor, form: Form, images: int, reply: str) -> str:
    """Render a question and a reply; without a reply, all that stands before one.

    The reply is a text where the template takes one. Others read nothing but a list of typed parts.
    """
    shown = [{"type": "image"}] * images
    text = [{"type": "text", "text": form.question.text}]
    asked = {"role": "user", "content": shown + text if form.placement == "before" else text + shown}
    if not reply:
        return _rendered(processor, form, [asked])
    try:
        found = _rendered(processor, form, [asked, {"role": "assistant", "content": reply}])
    except PromptError:
        found = ""
    if reply in found:
        return found
    return _rendered(processor, form, [asked, {"role": "assistant", "content": [{"type": "text", "text": reply}]}])


def _rendered(processor: Processor, form: Form, messages: list[dict[str, Any]]) -> str:
    try:
        prompt = ProcessorMixin.apply_chat_template(processor, messages, add_generation_prompt=len(messages) == 1)
    except (TemplateError, ValueError, TypeError, KeyError) as error:
        raise PromptError(
            f"the chat template of this model refuses the question {form.question.text!r}: {first_line(error)}"
        ) from error
    return str(prompt)


def check_ids(tokenizer: Tokenizer, ids: Sequence[int], places: Sequence[int], prompt: Prompt, form: Form) -> None:
    """Check in the ids that are about to be run that images, question and answer prefix stand where they should.

    Args:
        tokenizer: The model's own.
        ids: (L,) with the placeholders of the images expanded.
        places: Where images stand in them.
        prompt: What the ids were made from.
        form: Which question, and where its images belong.

    Raises:
        PromptError: They do not.
    """
    if not places:
        raise PromptError("no image reaches the model: the prompt has no image placeholder; check the chat template")
    head, tail = (normal(tokenizer.decode(part)) for part in (ids[: places[0]], ids[places[-1] + 1 :]))
    text, ending, prefix = (normal(part) for part in (form.question.text, prompt.ending, form.question.answer_prefix))
    if not ("".join(tail.split()).endswith("".join(ending.split())) and tail.endswith(prefix)):
        raise PromptError(
            f"the ids end in {tail[-len(ending) - 16 :]!r} instead of {ending!r}: the tokenizer changes or ends the "
            f"text; choose another answer_prefix, or correct the tokenizer's settings"
        )
    if text not in (tail.removesuffix(prefix) if form.placement == "before" else head):
        raise PromptError(
            f"the images do not stand {form.placement} the question {text!r} in the ids: the tokenizer changes the "
            f"text; use the other placement, or word the question otherwise"
        )


def check_placeholders(prompt: str, image_token: str, images: int) -> None:
    """Check that a prompt has one placeholder an image.

    Raises:
        PromptError: It has not.
    """
    if prompt.count(image_token) != images:
        raise PromptError(
            f"the prompt shows {prompt.count(image_token)} images instead of {images}: the chat template lost some, or "
            f"the question contains {image_token!r}; change the one that does"
        )
