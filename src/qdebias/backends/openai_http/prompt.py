"""The proof that the model is asked what was asked for, where the prompt can be seen: what stands where in it."""

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

from qdebias.backends.openai_http.answer import Wanted
from qdebias.backends.tokens import Tokenizer, option_tokens
from qdebias.errors import PromptError
from qdebias.prompts import Placement, Question

Render = Callable[[int, str], str]
"""Gives the prompt that a question becomes, told how many images are shown and how the answer begins."""

OTHERWISE = (
    "use a method whose questions have no answer prefix (released), or load the backend with prompt='no-prefix', "
    "which drops it"
)
_TAIL = 48
"""How many letters of a prompt are enough for a token to see its neighbours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A question and the way in which it is asked.

    Attributes:
        question: The question.
        placement: Whether the images come before or after it.
        images: How many there are.
    """

    question: Question
    placement: Placement
    images: int


def examine(form: Form, render: Render, tokenizer: Tokenizer | None, *, trusted: bool = False) -> Wanted:
    """Check how a question is asked, and return how its options are found in the answers.

    Args:
        form: The question.
        render: Gives its prompt.
        tokenizer: The model's own, None where nobody lends it.
        trusted: Whether the prompt is believed to be right, unseen.

    Raises:
        PromptError: Something else is asked.
        OptionError: An option is no single token of the model.
    """
    prefix = form.question.answer_prefix
    prompt = render(form.images, prefix)
    if not trusted:
        _check_end(prompt, prefix)
        _check_order(form, prompt, render(0, prefix))
    lead = "" if prefix else _lead(prompt, render(form.images, "X"))
    return wanted(form.question, tokenizer, prefix or prompt[-_TAIL:], lead)


def wanted(question: Question, tokenizer: Tokenizer | None, context: str = "", lead: str = "") -> Wanted:
    """Return how the options of a question are found in the answers.

    Args:
        question: The question.
        tokenizer: The model's own, None where nobody lends it.
        context: What the options stand behind.
        lead: White space that the template writes before a reply.

    Raises:
        OptionError: An option is no single token of the model.
    """
    words = tuple(option if option[0].isspace() else lead + option for option in question.options)
    if tokenizer is None:
        return Wanted(words)
    return Wanted(words, option_tokens(tokenizer, tokenizer.encode(context), question, lead))


def _check_end(prompt: str, prefix: str) -> None:
    if not _normal(prompt).endswith(_normal(prefix)):
        raise PromptError(
            f"the server ends the prompt in {prompt[-len(prefix) - 16 :]!r} instead of the answer prefix {prefix!r}: "
            f"it closes or trims the answer; {OTHERWISE}"
        )


def _check_order(form: Form, prompt: str, bare: str) -> None:
    """Compare the prompt with the one that has no images: what was added must stand on the right side."""
    shown, question = _normal(prompt), _normal(form.question.text)
    before, text, after = _normal(bare).partition(question)
    if not text:
        raise PromptError(f"the chat template changes the text of the question {question!r}; word it otherwise")
    fits = shown.endswith(text + after) if form.placement == "before" else shown.startswith(before + text)
    if not fits or shown == before + text + after:
        raise PromptError(
            f"the images do not stand {form.placement} the question {question!r} in the prompt: the chat template "
            f"moves them, or leaves them out; use the other placement, or another chat template"
        )


def _lead(prompt: str, reply: str) -> str:
    """Return the white space that the template writes between the prompt and the first word of a reply.

    Args:
        prompt: Up to the reply.
        reply: The same, with a reply "X".
    """
    lead, begun, _ = reply[len(prompt) :].partition("X")
    if not reply.startswith(prompt) or not begun or lead.strip():
        raise PromptError(
            f"the chat template does not start a reply where its prompt ends ({prompt[-30:]!r}): it opens a chain of "
            f"thought, or something else first; give the question an answer_prefix"
        )
    return lead


def _normal(text: str) -> str:
    """Return the text in the normal form that many tokenizers bring it to."""
    return unicodedata.normalize("NFC", text)
