"""Checks that the model is asked the question as written, from the prompts that a server shows or from their length."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from qdebias.backends.openai_http.chat import conversation, prompt_tokens
from qdebias.backends.openai_http.connection import Json, RefusedError
from qdebias.backends.prompt import Form, Render, Tokenizer, normal, opening, option_tokens
from qdebias.errors import PromptError

_OTHERWISE = (
    "use a method whose questions have no answer prefix (released), or load the backend with prompt='no-prefix', "
    "which drops it"
)
_TAIL = 48  # characters at the end of a prompt that may influence how the next token is split
_DATES = ("%Y-%m-%d", "%d %b %Y", "%d %B %Y", "%B %d, %Y", "%d/%m/%Y", "%m/%d/%Y")  # as published templates write them
_ASKED = "Yes or no?"
_RARE_WORDS = ("photograph", "watermelon", "kaleidoscope", "thunderstorm", "hippopotamus", "Zanzibar", "grandmother")
"""Words that are one token behind a space in many vocabularies, and several without it."""

Completion = Callable[[Json], Json]  # sends a conversation and returns the server's reply


@dataclass(frozen=True, slots=True)
class PreparedQuestion:
    """The started answer (`reply`), and the (K,) options in it: as words, and as token ids if these are known."""

    reply: str
    words: tuple[str, ...]
    tokens: tuple[int, ...] | None


def prepare(form: Form, render: Render, tokenizer: Tokenizer | None, *, trusted: bool = False) -> PreparedQuestion:
    """Check how a question is asked, and return how it is sent and read.

    `render` returns the prompt for a number of images and a started reply; `trusted` prompts are not checked.
    """
    prefix = form.question.answer_prefix
    if trusted and prefix:
        return readable(form, tokenizer, reply=prefix, context=prefix)
    prompt = render(form.images, prefix) if prefix else ""
    if not normal(prompt).endswith(normal(prefix)):
        raise PromptError(
            f"the server ends the prompt in {prompt[-len(prefix) - 16 :]!r} instead of the answer prefix {prefix!r}: "
            f"it closes or trims the answer; {_OTHERWISE}"
        )
    started = opening(form, render, trusted=trusted)
    days = (datetime.now(UTC) + timedelta(days=shift) for shift in (-1, 0, 1))
    for date in (day.strftime(style) for day in days for style in _DATES):
        if date in started.text:
            raise PromptError(
                f"the chat template writes today's date ({date}) into the prompt, so that a score would change from "
                f"day to day; give the date in template_args where the template takes it, or serve the model with a "
                f"chat template without it"
            )
    if not prefix:
        return readable(form, tokenizer, context=started.text[-_TAIL:], lead=started.lead)
    # A started reply may lack the text before a reply of the model, such as an empty thought; then that is sent too.
    before, stem = started.text + started.lead, prompt[: -len(prefix)].rstrip()
    missing = before[len(stem) :].lstrip("\n") if before.startswith(stem) else ""
    for reply in dict.fromkeys((prefix, missing + prefix)):
        if normal(render(form.images, reply)).split() == normal(before + prefix).split():
            return readable(form, tokenizer, reply=reply, context=prefix)
    raise PromptError(
        f"the server continues the answer prefix behind {stem[-40:]!r}, while the model begins its reply behind "
        f"{before[-40:]!r}; {_OTHERWISE}"
    )


def readable(
    form: Form, tokenizer: Tokenizer | None, *, reply: str = "", context: str = "", lead: str = ""
) -> PreparedQuestion:
    """Return how the options are read behind `context` and the white space `lead` that the template writes."""
    words = tuple(option if option[0].isspace() else lead + option for option in form.question.options)
    if tokenizer is None:
        return PreparedQuestion(reply, words, None)
    return PreparedQuestion(reply, words, option_tokens(tokenizer, tokenizer.encode(context), form.question, lead))


def check_unseen(form: Form, complete: Completion) -> None:
    """Raise PromptError if the length of its prompt shows that a question is not asked as written."""
    text, prefix = form.question.text, form.question.answer_prefix
    if form.placement == "after":
        raise PromptError(
            "this server does not show its prompts, so it is unknown whether the images come after the question; "
            "use a method that places them before it, or load the backend with prompt='trusted'"
        )
    if prefix:
        _check_continued(text, prefix, complete)
        return
    # If the prompt is longer where the model begins its reply than where one was started, the template opens a thought;
    # one token more may be a space that merges with the first word. Servers that do not count show nothing.
    none, once, twice = (_tokens(complete, conversation(text, prefix=started)) for started in ("", "Yes", "Yes Yes"))
    again = twice - once
    if min(none, once, again) > 0 and once - none <= again - 2:
        raise PromptError(
            f"the prompt has {none + again - once} tokens more where the model begins its reply than where it is begun "
            f"for it: the chat template opens a chain of thought, or something else first; switch thoughts off "
            f"(template_args, such as enable_thinking=false), or load the backend with prompt='trusted'"
        )


def _check_continued(text: str, prefix: str, complete: Completion) -> None:
    """Check that the prompt ends in the prefix.

    The prefix then adds as many tokens as it does when written a second time; a server that closes the message and
    opens another adds more. A space at its end adds a token, unless it is trimmed.
    """
    core = prefix.rstrip()
    started = ("", core, f"{core} {core}", prefix)
    try:
        counts = [prompt_tokens(complete(conversation(text, prefix=one))) for one in started]
    except RefusedError as error:
        raise PromptError(f"this server does not continue a started answer ({error}); {_OTHERWISE}") from error
    if not all(counts):
        raise PromptError(
            f"this server does not count the tokens of a prompt (usage.prompt_tokens), so it is unknown whether it "
            f"continues a started answer; {_OTHERWISE}, or with prompt='trusted'"
        )
    none, once, twice, whole = counts
    added, again = once - none, twice - once
    if again <= 0 or added != again or (prefix != core and whole <= once):
        raise PromptError(
            f"this server does not continue the answer prefix {prefix!r}: it makes {added} tokens of it, and {again} "
            f"more when it is there twice; {_OTHERWISE}"
        )


def find_lead(complete: Completion) -> tuple[str | None, bool]:
    """Return the white space before a reply, None if unknown, and whether the server counts tokens.

    It follows from the number of tokens of replies in an earlier turn. If a leading space is kept, it adds a token
    behind another space ("  Yes" is two tokens), and none otherwise (" Yes" is one). If it is trimmed, words are tried
    whose number of tokens depends on a space before them. If the prompt itself ends in the space, so that a started
    reply adds nothing, the model does not write it.
    """
    question = {"role": "user", "content": _ASKED}

    def cost(reply: str) -> int:
        return _tokens(complete, {"messages": [question, {"role": "assistant", "content": reply}, question]})

    yes, twice = cost("Yes"), cost("Yes Yes")
    if not yes or not twice or twice == yes:
        return None, False
    if twice != yes + 1:  # characters are counted, not tokens
        return None, True
    spaced: bool | None = None
    if cost("    Yes") > yes:
        spaced = cost(" Yes") > yes
    else:
        line = cost("Yes\nYes")
        for word in _RARE_WORDS:
            inside, alone = cost(f"Yes {word}") - yes, cost(f"Yes\n{word}") - line + 1
            first = cost(word) - yes + 1
            if inside != alone and first in (inside, alone):
                spaced = first == inside
                break
    if not spaced:
        return (None if spaced is None else ""), True
    none, started = (_tokens(complete, conversation(_ASKED, prefix=prefix)) for prefix in ("", "Yes"))
    return ("" if none and none == started else " "), True


def _tokens(complete: Completion, fields: Json) -> int:
    """Return the number of tokens of a prompt, 0 if the server does not report it."""
    try:
        return prompt_tokens(complete(fields))
    except RefusedError:
        return 0
