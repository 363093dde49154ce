"""The proof that a begun answer is gone on with, where the prompt cannot be seen: its tokens are counted."""

from collections.abc import Callable

from qdebias.backends.openai_http.answer import prompt_tokens
from qdebias.backends.openai_http.chat import Json, conversation
from qdebias.backends.openai_http.failures import RefusedError
from qdebias.backends.openai_http.prompt import OTHERWISE, Form
from qdebias.errors import PromptError

Completion = Callable[[Json], Json]
"""Sends a conversation and returns the server's reply."""


def check_unseen(form: Form, complete: Completion) -> None:
    """Check what can be checked of a question without seeing its prompt.

    Raises:
        PromptError: The server asks something else, or it cannot be told.
    """
    if form.placement == "after":
        raise PromptError(
            "this server does not show its prompts, so nothing tells whether the images stand after the question; "
            "use a method that places them before it, or load the backend with prompt='trusted'"
        )
    if form.question.answer_prefix:
        _check_continued(form.question.text, form.question.answer_prefix, complete)


def _check_continued(text: str, prefix: str, complete: Completion) -> None:
    """Check that the prefix is the end of the prompt.

    Written once, it costs as many tokens as written a second time behind itself, unless the server closes the message
    and opens another one: that costs tokens too. A space at its end costs a token, unless it is trimmed.
    """
    core = prefix.rstrip()
    try:
        none, once, twice, whole = (_count(complete, text, begun) for begun in ("", core, f"{core} {core}", prefix))
    except RefusedError as error:
        raise PromptError(f"this server does not go on with a begun answer ({error}); {OTHERWISE}") from error
    added, again = once - none, twice - once
    trimmed = prefix != core and whole <= once
    if again <= 0 or added != again or trimmed:
        raise PromptError(
            f"this server does not go on with the answer prefix {prefix!r}: it makes {added} tokens of it, and {again} "
            f"more when it is there twice; {OTHERWISE}"
        )


def _count(complete: Completion, text: str, prefix: str) -> int:
    count = prompt_tokens(complete(conversation(text, prefix=prefix)))
    if count is None:
        raise PromptError(
            f"this server does not count the tokens of a prompt (usage.prompt_tokens), so nothing tells whether it "
            f"goes on with a begun answer; {OTHERWISE}, or with prompt='trusted'"
        )
    return count
