"""The proof that a server asks what was asked for: images where they belong, the answer begun by its prefix.

Where a server shows the prompt that it makes of a conversation, the prompt is looked at. Where it does not, it is asked
three short questions without images, and its counts of tokens tell whether it goes on with a begun answer.
"""

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from qdebias.backends.openai_http.answer import Wanted, prompt_tokens
from qdebias.backends.openai_http.chat import conversation
from qdebias.backends.openai_http.connection import Json, Session
from qdebias.backends.openai_http.failures import RefusedError
from qdebias.backends.openai_http.pictures import png_url
from qdebias.backends.openai_http.servers import Server
from qdebias.backends.tokens import option_tokens
from qdebias.errors import PromptError
from qdebias.prompts import Placement, Question

Completion = Callable[[Json], Json]
"""Sends a conversation and returns the server's reply."""

_OTHERWISE = (
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


def examine(session: Session, server: Server, form: Form, complete: Completion, *, trusted: bool) -> Wanted:
    """Check how the server asks a question, and return how the options are found in its answers.

    Args:
        session: The connection.
        server: Its kind.
        form: The question.
        complete: Sends a conversation.
        trusted: Whether the prompt is believed to be right, unseen.

    Raises:
        PromptError: The server asks something else, or it cannot be told.
        OptionError: An option is no single token of the model.
    """
    question = form.question
    prompt = _rendered(session, server, form, question.answer_prefix)
    lead = ""
    if prompt is None:
        if not trusted:
            _check_unseen(form, complete)
    else:
        if not trusted:
            _check_end(prompt, question.answer_prefix)
            _check_order(session, server, form, prompt)
        if not question.answer_prefix:
            lead = _lead(session, server, form, prompt)
    words = tuple(option if option[0].isspace() else lead + option for option in question.options)
    tokenizer = server.tokenizer(session)
    if tokenizer is None:
        return Wanted(words)
    context = tokenizer.encode(question.answer_prefix or (prompt or "")[-_TAIL:])
    return Wanted(words, option_tokens(tokenizer, context, question, lead))


def _rendered(session: Session, server: Server, form: Form, prefix: str) -> str | None:
    grey = png_url(np.full((64, 64, 3), 128, dtype=np.uint8))
    urls = [grey] * form.images
    messages = conversation(form.question.text, urls, placement=form.placement, prefix=prefix)
    return server.render(session, messages)


def _check_end(prompt: str, prefix: str) -> None:
    if not _normal(prompt).endswith(_normal(prefix)):
        raise PromptError(
            f"the server ends the prompt in {prompt[-len(prefix) - 16 :]!r} instead of the answer prefix {prefix!r}: "
            f"it closes or trims the answer; {_OTHERWISE}"
        )


def _check_order(session: Session, server: Server, form: Form, prompt: str) -> None:
    """Compare the prompt with the one that has no images: what was added must stand on the right side."""
    question = form.question
    bare = server.render(session, conversation(question.text, prefix=question.answer_prefix))
    before, text, after = _normal(bare or "").partition(_normal(question.text))
    if not text:
        raise PromptError(
            f"the server's chat template changes the text of the question {question.text!r}; word it otherwise"
        )
    shown = _normal(prompt)
    fits = shown.endswith(text + after) if form.placement == "before" else shown.startswith(before + text)
    if not fits or shown == before + text + after:
        raise PromptError(
            f"the images do not stand {form.placement} the question {question.text!r} in the server's prompt: its "
            f"chat template moves them, or leaves them out; use the other placement, or another chat template"
        )


def _lead(session: Session, server: Server, form: Form, prompt: str) -> str:
    """Return the white space that the template writes between the prompt and the first word of a reply."""
    reply = _rendered(session, server, form, "X") or ""
    lead, begun, _ = reply[len(prompt) :].partition("X")
    if not reply.startswith(prompt) or not begun or lead.strip():
        raise PromptError(
            f"the chat template does not start a reply where its prompt ends ({prompt[-30:]!r}): it opens a chain of "
            f"thought, or something else first; give the question an answer_prefix"
        )
    return lead


def _check_unseen(form: Form, complete: Completion) -> None:
    if form.placement == "after":
        raise PromptError(
            "this server does not show its prompts, so nothing tells whether the images stand after the question; "
            "use a method that places them before it, or load the backend with prompt='trusted'"
        )
    if form.question.answer_prefix:
        _check_continued(form.question.text, form.question.answer_prefix, complete)


def _check_continued(text: str, prefix: str, complete: Completion) -> None:
    """Check by counting that the prefix is the end of the prompt.

    Written once, the prefix costs as many tokens as written a second time behind itself, unless the server closes the
    message and opens another one: that costs tokens too. A space at its end costs a token too, unless it is trimmed.
    """
    core = prefix.rstrip()
    try:
        none, once, twice, whole = (_count(complete, text, begun) for begun in ("", core, f"{core} {core}", prefix))
    except RefusedError as error:
        raise PromptError(f"this server does not go on with a begun answer ({error}); {_OTHERWISE}") from error
    added, again = once - none, twice - once
    trimmed = prefix != core and whole <= once
    if again <= 0 or added != again or trimmed:
        raise PromptError(
            f"this server does not go on with the answer prefix {prefix!r}: it makes {added} tokens of it, and {again} "
            f"when it is there twice; {_OTHERWISE}"
        )


def _count(complete: Completion, text: str, prefix: str) -> int:
    count = prompt_tokens(complete(conversation(text, prefix=prefix)))
    if count is None:
        raise PromptError(
            f"this server does not count the tokens of a prompt (usage.prompt_tokens), so nothing tells whether it "
            f"goes on with a begun answer; {_OTHERWISE}, or with prompt='trusted'"
        )
    return count


def _normal(text: str) -> str:
    """Return the text in the normal form that many tokenizers bring it to."""
    return unicodedata.normalize("NFC", text)
