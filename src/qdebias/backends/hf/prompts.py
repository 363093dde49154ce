"""From a question to the prompt of a model of transformers, and the proof that its ids are those of the prompt."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from jinja2 import Environment, TemplateError, TemplateSyntaxError

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


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question as text, after the chat template."""

    text: str  # up to the end of the answer prefix, with one placeholder an image
    lead: str  # white space that the template writes before the first word of a reply; empty after an answer prefix
    ending: str  # what follows the last placeholder in the end
    options: Mapping[str, Any]  # the processor's arguments beside text and images


def render(processor: Processor, form: Form) -> Prompt:
    """Return the prompt of a question: what the template writes before a reply, then the answer prefix."""
    started, prefix = opening(form, partial(rendered, processor, form)), form.question.answer_prefix
    spaces = started.lead in ("", " ") and not prefix  # a line break is no part of a word
    text = started.text if spaces or prefix[:1].isspace() else started.text + started.lead
    image, start = getattr(processor, "image_token", None), processor.tokenizer.bos_token
    return Prompt(
        text=text + prefix,
        lead=started.lead if spaces else "",
        ending=text.rpartition(image)[2] + prefix if image else text,
        options={"add_special_tokens": start is None or not text.startswith(start)},  # the start token stands once
    )


def rendered(processor: Processor, form: Form, images: int, reply: str) -> str:
    """Render a question and a reply by the chat template; without a reply, up to where it begins."""
    pictures = [{"type": "image"}] * images
    text = [{"type": "text", "text": form.question.text}]
    turn = {"role": "user", "content": pictures + text if form.placement == "before" else text + pictures}
    chats: list[list[dict[str, Any]]] = [[turn]]
    if reply:  # as a string, or as a list of typed parts for the templates that read nothing else
        chats = [[turn, {"role": "assistant", "content": one}] for one in (reply, [{"type": "text", "text": reply}])]
    if (apply := getattr(processor, "render", None)) is None:
        from transformers import ProcessorMixin

        apply = partial(ProcessorMixin.apply_chat_template, processor)
    found = ""
    for chat in chats:
        try:
            found = str(apply(chat, add_generation_prompt=not reply))
        except (TemplateError, ValueError, TypeError, KeyError) as error:
            if chat is chats[-1]:
                raise PromptError(
                    f"the chat template of this model refuses the question {form.question.text!r}: {first_line(error)}"
                ) from error
        if reply and reply in found:
            break
    image = getattr(processor, "image_token", None)
    if image is not None and images and found.count(image) != images:
        raise PromptError(
            f"the prompt shows {found.count(image)} images instead of {images}: the chat template lost some, or "
            f"the question contains {image!r}; change the one that does"
        )
    return found


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


def render_prefix(processor: Processor, form: Form) -> Prompt:
    """Return the prompt of a question to a model without a chat template: the images, then the question."""
    question, suffix = form.question, form.question.answer_prefix
    if form.placement != "before":
        raise PromptError(
            f"the images are not {form.placement} the question {question.text!r}: this model takes images "
            f"first; use the other placement"
        )
    return Prompt(
        text=processor.image_token * form.images + question.text,
        lead="",
        ending=f"{processor.tokenizer.bos_token}{question.text}\n{suffix}",
        options={"suffix": [suffix] if suffix else None, "add_special_tokens": False},
    )


def without_ending(made: Mapping[str, Any], tokenizer: Tokenizer, suffix: str) -> Mapping[str, Any]:
    """Return what such a model's processor makes of a prompt, without the end of sequence that it puts behind."""
    inputs = {name: value for name, value in made.items() if name != "labels"}
    if suffix:
        inputs |= {name: inputs[name][:, :-1] for name in ("input_ids", "attention_mask", "token_type_ids")}
    behind = tokenizer.decode(inputs["input_ids"][inputs["token_type_ids"] == 1].tolist())
    if normal(behind) != normal(suffix):
        raise PromptError(
            f"the tokenizer marks {behind!r} as the beginning of the answer instead of {suffix!r}; download "
            f"the tokenizer's files again, or choose another answer_prefix"
        )
    return inputs


RENDER: Mapping[str, Callable[[Processor, Form], Prompt]] = {"paligemma": render_prefix}
"""Writes the prompts of models without a chat template, by `model_type`."""


def fix_template(
    checkpoint: Checkpoint, config: Config, processor: Processor, arguments: Mapping[str, Argument] | None = None
) -> dict[str, str]:
    """Write arguments and a fixed date into the chat template of a processor; return what they add to the identity.

    Beside the arguments that is the hash of what the template makes of a conversation that is always the same.
    """
    if config.model_type in RENDER:
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
        texts = "\0".join(rendered(processor, example, example.images, reply) for reply in ("", "An answer"))
    except PromptError:
        return said | {"template": "refused"}
    return said | {"template": hashlib.blake2b(texts.encode(), digest_size=8).hexdigest()}
