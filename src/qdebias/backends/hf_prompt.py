"""From a question to the prompt of a chat model, and the proof that this prompt is the one that was asked for.

Chat templates may drop the spaces around a text, put all images first, or ignore a part they do not know. None of that
raises in transformers; the model would simply be asked something else. So the rendered text and the very ids are
checked before anything is run.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError
from PIL import Image
from transformers import ProcessorMixin

from qdebias.backends.hf_types import Processor
from qdebias.backends.messages import first_line
from qdebias.backends.tokens import Tokenizer
from qdebias.errors import PromptError
from qdebias.prompts import Question, Request


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


def render(processor: Processor, request: Request, question: Question) -> Prompt:
    """Return the prompt of a question.

    Raises:
        PromptError: The template refuses the conversation, or loses the answer prefix or an image.
    """
    text = _apply(processor, request, question, question.answer_prefix)
    image = getattr(processor, "image_token", None)
    if image is not None:
        check_placeholders(text, image, request)
    if not text.endswith(question.answer_prefix):
        raise PromptError(
            f"the chat template ends the prompt in {text[-len(question.answer_prefix) :]!r} instead of the answer "
            f"prefix {question.answer_prefix!r}: it trims spaces; move them from the prefix into the options"
        )
    ending = text.rpartition(image)[2] if image else text
    if question.answer_prefix:
        return Prompt(text, "", ending)
    return Prompt(text, _lead(text, _apply(processor, request, question, "X")), ending)


def _lead(prompt: str, reply: str) -> str:
    """Return the white space between a prompt and the first word of its answer, from a rendered reply of "X".

    Where the prompt ends in white space there is none, however much of it the template writes in an earlier reply:
    the prompt is what the model answers.
    """
    body = reply.removesuffix("X")
    if body == reply or body.split() != prompt.split():
        raise PromptError(
            f"the chat template does not start a reply where its prompt ends ({prompt[-30:]!r}): it opens a chain of "
            f"thought, or something else first; give the question an answer_prefix"
        )
    return "" if prompt[-1:].isspace() else body[len(body.rstrip()) :]


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


def _apply(processor: Processor, request: Request, question: Question, prefix: str) -> str:
    """Render a question and the start of its answer.

    Contents are lists of typed parts, for the assistant too: templates exist that read nothing else.
    """
    images = [{"type": "image"}] * len(request.images)
    text = [{"type": "text", "text": question.text}]
    content = images + text if request.placement == "before" else text + images
    messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
    if prefix:
        messages.append({"role": "assistant", "content": [{"type": "text", "text": prefix}]})
    try:
        prompt = ProcessorMixin.apply_chat_template(
            processor,
            messages,
            add_generation_prompt=not prefix,
            continue_final_message=bool(prefix),
        )
    except (TemplateError, ValueError, TypeError, KeyError) as error:
        raise PromptError(
            f"the chat template of this model refuses the question {question.text!r}: {first_line(error)}"
        ) from error
    return str(prompt)


def check_ids(
    tokenizer: Tokenizer, ids: Sequence[int], image_token: int, prompt: Prompt, request: Request, question: Question
) -> None:
    """Check in the ids that are about to be run that images, question and answer prefix stand where they should.

    Args:
        tokenizer: The model's own.
        ids: (L,) with the placeholders of the images expanded.
        image_token: The placeholder's id.
        prompt: What the ids were made from.
        request: Says where the images belong.
        question: One of its questions.

    Raises:
        PromptError: They do not.
    """
    places = [place for place, token in enumerate(ids) if token == image_token]
    if not places:
        raise PromptError("no image reaches the model: the prompt has no image placeholder; check the chat template")
    head, tail = (normal(tokenizer.decode(part)) for part in (ids[: places[0]], ids[places[-1] + 1 :]))
    text, prefix = normal(question.text), normal(question.answer_prefix)
    end = normal(prompt.ending)[-min(len(tail), max(len(prefix), 16)) :]
    if not (tail.endswith(end) and tail.endswith(prefix)):
        raise PromptError(
            f"the ids end in {tail[-len(end) - 16 :]!r} instead of {end!r}: the tokenizer changes or ends the text; "
            f"choose another answer_prefix, or correct the tokenizer's settings"
        )
    body = tail.removesuffix(prefix) if request.placement == "before" else head
    if text not in body:
        raise PromptError(
            f"the images do not stand {request.placement} the question {question.text!r}: the chat template moved "
            f"them, or changed the text; use the other placement, or a chat template that keeps the order"
        )


def check_placeholders(prompt: str, image_token: str, request: Request) -> None:
    """Check that a prompt has one placeholder an image.

    Raises:
        PromptError: It has not.
    """
    if prompt.count(image_token) != len(request.images):
        raise PromptError(
            f"the prompt shows {prompt.count(image_token)} images instead of {len(request.images)}: the chat template "
            f"lost some, or the question contains {image_token!r}; change the one that does"
        )


def normal(text: str) -> str:
    """Return the text in the normal form that many tokenizers bring it to."""
    return unicodedata.normalize("NFC", text)
