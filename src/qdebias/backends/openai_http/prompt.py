"""The proof that the model is asked what was requested: from the prompts that a server shows, or their length."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from qdebias.backends.openai_http import Json
from qdebias.backends.openai_http.chat import OptionTokens, conversation, prompt_tokens
from qdebias.backends.openai_http.connection import RefusedError
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
class PreparedQuestion:
    """How the answer to a question is started, and how its options are found in it."""

    reply: str
    options: OptionTokens


def prepare(form: Form, render: Render, tokenizer: Tokenizer | None, *, trusted: bool = False) -> PreparedQuestion:
    """Check how a question is asked, and return how it is sent and read.

    `render` gives its prompt, which continues a started reply; `trusted` prompts are believed to be right, unseen.

    Raises:
        PromptError: Something else is asked, or something else tomorrow.
        OptionError: An option is no single token of the model.
    """
    question, prefix = form.question, form.question.answer_prefix
    if trusted and prefix:
        return PreparedQuestion(prefix, tokens_to_read(question, tokenizer, prefix))
    prompt = render(form.images, prefix) if prefix else ""
    if not normal(prompt).endswith(normal(prefix)):
        raise PromptError(
            f"the server ends the prompt in {prompt[-len(prefix) - 16 :]!r} instead of the answer prefix {prefix!r}: "
            f"it closes or trims the answer; {OTHERWISE}"
        )
    started = opening(form, render, trusted=trusted)
    _check_date(started.text)
    if not prefix:
        return PreparedQuestion("", tokens_to_read(question, tokenizer, started.text[-_TAIL:], started.lead))
    return PreparedQuestion(
        _sent(form, render, started.text + started.lead), tokens_to_read(question, tokenizer, prefix)
    )


def tokens_to_read(question: Question, tokenizer: Tokenizer | None, context: str = "", lead: str = "") -> OptionTokens:
    """Return how the options of a question are found in the answers.

    They stand behind `context` and the white space `lead` that the template writes before a reply.

    Raises:
        OptionError: An option is no single token of the model.
    """
    words = tuple(option if option[0].isspace() else lead + option for option in question.options)
    if tokenizer is None:
        return OptionTokens(words)
    return OptionTokens(words, option_tokens(tokenizer, tokenizer.encode(context), question, lead))


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

    A started reply may lack what stands before a reply of the model, such as an empty thought; then that is sent too.
    """
    prefix = form.question.answer_prefix
    stem = render(form.images, prefix)[: -len(prefix)].rstrip()
    missing = before[len(stem) :].lstrip("\n") if before.startswith(stem) else ""
    for reply in dict.fromkeys((prefix, missing + prefix)):
        prompt = render(form.images, reply)
        if normal(prompt).split() == normal(before + prefix).split():
            return reply
    raise PromptError(
        f"the server continues the answer prefix behind {stem[-40:]!r}, while the model begins its reply behind "
        f"{before[-40:]!r}; {OTHERWISE}"
    )


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
    else:
        _check_thought(form.question.text, complete)


def _check_continued(text: str, prefix: str, complete: Completion) -> None:
    """Check that the prefix is the end of the prompt.

    Written once, it costs as many tokens as written a second time behind itself, unless the server closes the message
    and opens another one: that costs tokens too. A space at its end costs a token, unless it is trimmed.
    """
    core = prefix.rstrip()
    started = ("", core, f"{core} {core}", prefix)
    try:
        counts = [prompt_tokens(complete(conversation(text, prefix=one))) or 0 for one in started]
    except RefusedError as error:
        raise PromptError(f"this server does not continue a started answer ({error}); {OTHERWISE}") from error
    if not all(counts):
        raise PromptError(
            f"this server does not count the tokens of a prompt (usage.prompt_tokens), so nothing tells whether it "
            f"continues a started answer; {OTHERWISE}, or with prompt='trusted'"
        )
    none, once, twice, whole = counts
    added, again = once - none, twice - once
    trimmed = prefix != core and whole <= once
    if again <= 0 or added != again or trimmed:
        raise PromptError(
            f"this server does not continue the answer prefix {prefix!r}: it makes {added} tokens of it, and {again} "
            f"more when it is there twice; {OTHERWISE}"
        )


def _check_thought(text: str, complete: Completion) -> None:
    """Refuse a prompt that holds more where the model begins its reply than where a reply was started: a thought.

    A single token may be a space that the first word merges with. A server that does not continue a started answer, or
    does not count, tells nothing.
    """
    none, once, twice = (_tokens(complete, conversation(text, prefix=started)) for started in ("", "Yes", "Yes Yes"))
    again = twice - once
    if min(none, once, again) > 0 and once - none <= again - 2:
        raise PromptError(
            f"the prompt has {none + again - once} tokens more where the model begins its reply than where it is begun "
            f"for it: the chat template opens a chain of thought, or something else first; switch thoughts off "
            f"(template_args, such as enable_thinking=false), or load the backend with prompt='trusted'"
        )


@dataclass(frozen=True, slots=True)
class Lead:
    """The white space that a template writes before a reply; None where the number of tokens does not tell."""

    text: str | None
    counted: bool = True


def find_lead(complete: Completion) -> Lead:
    """Return the white space that the template writes before a reply, from what replies of an earlier turn cost.

    Where a space at the front is kept, it costs a token behind another one, as "  Yes" is two tokens, and none where
    the template writes none, as " Yes" is one. Where it is trimmed, words are tried of which the vocabulary has
    another number of tokens with a space before them. Where the prompt itself ends in the space, so that a started
    reply costs nothing, the model does not write it.
    """
    yes, twice = _cost(complete, "Yes"), _cost(complete, "Yes Yes")
    if not yes or not twice or twice == yes:
        return Lead(None, counted=False)
    if twice != yes + 1:  # characters are counted, not tokens
        return Lead(None)
    if _cost(complete, "    Yes") > yes:
        spaced = _cost(complete, " Yes") > yes
    else:
        found = _spaced_by_words(complete, yes)
        if found is None:
            return Lead(None)
        spaced = found
    if not spaced:
        return Lead("")
    none, started = (_tokens(complete, conversation(_ASKED, prefix=prefix)) for prefix in ("", "Yes"))
    return Lead("" if none and none == started else " ")


def _spaced_by_words(complete: Completion, yes: int) -> bool | None:
    line = _cost(complete, "Yes\nYes")
    for word in _RARE_WORDS:
        inside, alone = _cost(complete, f"Yes {word}") - yes, _cost(complete, f"Yes\n{word}") - line + 1
        first = _cost(complete, word) - yes + 1
        if inside != alone and first in (inside, alone):
            return first == inside
    return None


_ASKED = "Yes or no?"
_RARE_WORDS = ("photograph", "watermelon", "kaleidoscope", "thunderstorm", "hippopotamus", "Zanzibar", "grandmother")
"""Words that many vocabularies have as one token behind a space, and as several without."""


def _cost(complete: Completion, reply: str) -> int:
    """Return how many tokens a conversation has in which this was once replied; 0 where the server does not say."""
    question = {"role": "user", "content": _ASKED}
    return _tokens(complete, {"messages": [question, {"role": "assistant", "content": reply}, question]})


def _tokens(complete: Completion, fields: Json) -> int:
    try:
        return prompt_tokens(complete(fields)) or 0
    except RefusedError:
        return 0
