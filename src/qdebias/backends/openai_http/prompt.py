"""The proof that the model is asked what was asked for, where a server or engine shows the prompts that it makes."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from qdebias.backends.openai_http.answer import Wanted
from qdebias.backends.prompt import Form, Render, Tokenizer, normal, opening, option_tokens
from qdebias.errors import PromptError
from qdebias.prompts import Question

OTHERWISE = (
    "use a method whose questions have no answer prefix (released), or load the backend with prompt='no-prefix', "
    "which drops it"
)
_TAIL = 48
"""How many letters of a prompt are enough for a token to see its neighbours."""

_DATES = ("%Y-%m-%d", "%d %b %Y", "%d %B %Y", "%B %d, %Y", "%d/%m/%Y", "%m/%d/%Y")
"""How published templates write the date."""


@dataclass(frozen=True, slots=True)
class Asked:
    """How a question is sent, and how its answer is read.

    Attributes:
        reply: How the answer begins.
        wanted: How the options are found in the answers.
    """

    reply: str
    wanted: Wanted


def examine(form: Form, render: Render, tokenizer: Tokenizer | None, *, trusted: bool = False) -> Asked:
    """Check how a question is asked, and return how it is sent and read.

    Args:
        form: The question.
        render: Gives its prompt, which goes on with a begun reply.
        tokenizer: The model's own, None where nobody lends it.
        trusted: Whether the prompt is believed to be right, unseen.

    Raises:
        PromptError: Something else is asked, or something else tomorrow.
        OptionError: An option is no single token of the model.
    """
    question, prefix = form.question, form.question.answer_prefix
    if trusted and prefix:
        return Asked(prefix, wanted(question, tokenizer, prefix))
    if prefix:
        _check_end(render(form.images, prefix), prefix)
    begun = opening(form, render, trusted=trusted)
    _check_date(begun.text)
    if not prefix:
        return Asked("", wanted(question, tokenizer, begun.text[-_TAIL:], begun.lead))
    return Asked(_sent(form, render, begun.text + begun.lead), wanted(question, tokenizer, prefix))


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
    if not normal(prompt).endswith(normal(prefix)):
        raise PromptError(
            f"the server ends the prompt in {prompt[-len(prefix) - 16 :]!r} instead of the answer prefix {prefix!r}: "
            f"it closes or trims the answer; {OTHERWISE}"
        )


def _check_date(prompt: str) -> None:
    """Refuse a prompt that will be another tomorrow."""
    days = (datetime.now(UTC) + timedelta(days=shift) for shift in (-1, 0, 1))
    for date in (day.strftime(form) for day in days for form in _DATES):
        if date in prompt:
            raise PromptError(
                f"the chat template writes today's date ({date}) into the prompt, so that a score would change from "
                f"day to day; give the date in template_args where the template takes it, or serve the model with a "
                f"chat template without it"
            )


def _sent(form: Form, render: Render, before: str) -> str:
    """Return the reply that has to be sent for the answer prefix to stand behind `before`.

    A begun reply may lack what stands before a reply of the model, such as an empty thought; then that is sent too.
    """
    prefix = form.question.answer_prefix
    stem = render(form.images, prefix)[: -len(prefix)].rstrip()
    missing = before[len(stem) :].lstrip("\n") if before.startswith(stem) else ""
    for reply in dict.fromkeys((prefix, missing + prefix)):
        prompt = render(form.images, reply)
        if normal(prompt).split() == normal(before + prefix).split():
            return reply
    raise PromptError(
        f"the server goes on with the answer prefix behind {stem[-40:]!r}, while the model begins its reply behind "
        f"{before[-40:]!r}; {OTHERWISE}"
    )
