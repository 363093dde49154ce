"""From a question to the prompt of a model of transformers, and the proof that its ids are those of the prompt."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from jinja2 import Environment, TemplateError, TemplateSyntaxError
from PIL import Image

from qdebias.backends.checkpoint import Checkpoint
from qdebias.backends.hf import Config, Processor
from qdebias.backends.prompt import PRESETS, Argument, Form, Tokenizer, normal, opening
from qdebias.errors import BackendError, PromptError, SettingError, first_line
from qdebias.prompts import Question

_CLOCK = {
    "%Y": "2025", "%y": "25", "%m": "01", "%d": "01", "%j": "001", "%B": "January", "%b": "Jan", "%A": "Wednesday",
    "%a": "Wed", "%H": "00", "%I": "12", "%M": "00", "%S": "00", "%p": "AM", "%F": "2025-01-01", "%T": "00:00:00",
    "%-d": "1", "%-m": "1", "%e": " 1",
}  # fmt: skip
"""The first second of 2025, by the directives of strftime."""


def fixed(template: str, arguments: Mapping[str, Argument] | None = None) -> tuple[str, dict[str, Argument]]:
    """Return a chat template that renders the same on every day, and the arguments that are written into it.

    `arguments` come before `PRESETS`, which count where the template reads them.
    """
    try:
        lexed = Environment(autoescape=False).lex(template)  # noqa: S701
        names = {value for _, kind, value in lexed if kind == "name"}
    except TemplateSyntaxError as error:
        raise BackendError(f"the chat template of this model is damaged ({error}); download it again") from error
    wanted = dict(arguments or {})
    for name in wanted:
        if name not in names or not name.isidentifier():
            raise SettingError(f"the chat template of this model does not read the argument {name!r}; leave it out")
    if re.search(r"\|\s*random\b|\blipsum\s*\(", template):
        raise BackendError("the chat template of this model draws at random; use another chat template")
    chosen = {name: value for name, value in PRESETS.items() if name in names} | wanted
    lines = []
    for name, value in sorted(chosen.items()):
        literal = str(value).lower() if isinstance(value, bool) else repr(value)
        lines.append(f"{{%- set {name} = {literal} %}}\n")
    if "strftime_now" in names:  # a macro takes the place of the function by which templates read the clock
        replaced = "".join(f"|replace({directive!r}, {text!r})" for directive, text in _CLOCK.items())
        lines.append(f"{{%- macro strftime_now(format) %}}{{{{ format{replaced} }}}}{{% endmacro %}}\n")
    return "".join(lines) + template, chosen


class HfTokenizer:
    """The tokenizer of a processor: nothing added, nothing left out, nothing tidied."""

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
    """What the chat template makes of a question."""

    text: str  # up to the end of the answer prefix, with one placeholder an image
    lead: str  # white space that the template writes before the first word of a reply; empty after an answer prefix
    ending: str  # what follows the last placeholder in the end
    suffix: str = ""  # an answer prefix that is no part of the text, but goes behind what the processor makes of it


def render(processor: Processor, form: Form) -> Prompt:
    """Return the prompt of a question: what the template writes before a reply, then the answer prefix."""
    image = getattr(processor, "image_token", None)

    def rendered(images: int, reply: str) -> str:
        text = _apply(processor, form, images, reply)
        if image is not None and images == form.images:
            _check_placeholders(text, image, images)
        return text

    started, prefix = opening(form, rendered), form.question.answer_prefix
    spaces = started.lead in ("", " ") and not prefix  # a line break is no part of a word
    text = started.text if spaces or prefix[:1].isspace() else started.text + started.lead
    return Prompt(text + prefix, started.lead if spaces else "", text.rpartition(image)[2] + prefix if image else text)


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
    pictures = [{"type": "image"}] * images
    text = [{"type": "text", "text": form.question.text}]
    turn = {"role": "user", "content": pictures + text if form.placement == "before" else text + pictures}
    if not reply:
        return _rendered(processor, form, [turn])
    try:
        found = _rendered(processor, form, [turn, {"role": "assistant", "content": reply}])
    except PromptError:
        found = ""
    if reply in found:
        return found
    return _rendered(processor, form, [turn, {"role": "assistant", "content": [{"type": "text", "text": reply}]}])


def _rendered(processor: Processor, form: Form, messages: list[dict[str, Any]]) -> str:
    if (render := getattr(processor, "render", None)) is None:
        from transformers import ProcessorMixin

        render = partial(ProcessorMixin.apply_chat_template, processor)
    try:
        return str(render(messages, add_generation_prompt=len(messages) == 1))
    except (TemplateError, ValueError, TypeError, KeyError) as error:
        raise PromptError(
            f"the chat template of this model refuses the question {form.question.text!r}: {first_line(error)}"
        ) from error


def check_ids(tokenizer: Tokenizer, ids: Sequence[int], places: Sequence[int], prompt: Prompt, form: Form) -> None:
    """Refuse (L,) ids in which images (at `places`), question and answer prefix do not stand where they should."""
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
            f"the images are not {form.placement} the question {text!r} in the ids: the tokenizer changes the "
            f"text; use the other placement, or reword the question"
        )


def _check_placeholders(prompt: str, image_token: str, images: int) -> None:
    if prompt.count(image_token) != images:
        raise PromptError(
            f"the prompt shows {prompt.count(image_token)} images instead of {images}: the chat template lost some, or "
            f"the question contains {image_token!r}; change the one that does"
        )


def render_prefix(processor: Processor, form: Form) -> Prompt:
    """Return the prompt of a question to a model without a chat template: the images, then the question."""
    question = form.question
    if form.placement != "before":
        raise PromptError(
            f"the images are not {form.placement} the question {question.text!r}: this model takes images "
            f"first; use the other placement"
        )
    text = processor.image_token * form.images + question.text
    _check_placeholders(text, processor.image_token, form.images)
    ending = f"{processor.tokenizer.bos_token}{question.text}\n{question.answer_prefix}"
    return Prompt(text=text, lead="", ending=ending, suffix=question.answer_prefix)


def encode_prefix(processor: Processor, prompt: Prompt, pictures: Sequence[Image.Image]) -> Mapping[str, Any]:
    """Return what the processor makes of such a prompt."""
    made = processor(
        images=[list(pictures)],
        text=[prompt.text],
        suffix=[prompt.suffix] if prompt.suffix else None,
        add_special_tokens=False,
        return_tensors="pt",
    )
    inputs = {name: value for name, value in made.items() if name != "labels"}
    if prompt.suffix:  # the end of sequence
        inputs |= {name: inputs[name][:, :-1] for name in ("input_ids", "attention_mask", "token_type_ids")}
    behind = HfTokenizer(processor).decode(inputs["input_ids"][inputs["token_type_ids"] == 1].tolist())
    if normal(behind) != normal(prompt.suffix):
        raise PromptError(
            f"the tokenizer marks {behind!r} as the beginning of the answer instead of {prompt.suffix!r}; download "
            f"the tokenizer's files again, or choose another answer_prefix"
        )
    return inputs


@dataclass(frozen=True, slots=True)
class Style:
    """How the questions of a family are written: from a question to its prompt, and on to the model's arguments."""

    render: Callable[[Processor, Form], Prompt]
    encode: Callable[[Processor, Prompt, Sequence[Image.Image]], Mapping[str, Any]]


_CHAT = Style(render, encode)
_TEMPLATELESS: Mapping[str, Style] = {"paligemma": Style(render_prefix, encode_prefix)}  # by model_type


def style_of(config: Config) -> Style:
    """Return how questions are written for a model."""
    return _TEMPLATELESS.get(config.model_type, _CHAT)


def fix_template(
    checkpoint: Checkpoint, config: Config, processor: Processor, arguments: Mapping[str, Argument] | None = None
) -> dict[str, str]:
    """Write arguments and a fixed date into the chat template of a processor; return what they add to the identity.

    Beside the arguments that is the hash of what the template makes of a conversation that is always the same.
    """
    if style_of(config) is not _CHAT:
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
    example = Form(
        question=Question(text="A question?", options=("Yes", "No"), values=(1.0, 0.0)), placement="before", images=1
    )
    try:
        texts = "\0".join(_apply(processor, example, example.images, reply) for reply in ("", "An answer"))
    except PromptError:
        return said | {"template": "refused"}
    return said | {"template": hashlib.blake2b(texts.encode(), digest_size=8).hexdigest()}
