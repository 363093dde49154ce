"""Finds where the reply to a question begins, and checks that the chat template leaves the question as it is.

Chat templates may move images, change a text, open a chain of thought, or print what they do not expect, and none of
that raises. Three rendered conversations show it: the question with its images, without them, and with a reply.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from os.path import commonprefix
from typing import NamedTuple, Protocol, TypeAlias

from qdebias.errors import OptionError, PromptError
from qdebias.prompts import Placement, Question

Render: TypeAlias = Callable[[int, str], str]
"""Renders a question with a number of images, and a reply; without a reply, up to where it begins."""

Argument: TypeAlias = str | bool | int | float

PRESETS: Mapping[str, Argument] = {"enable_thinking": False, "thinking": False}
"""Arguments of every template that reads them: no thought before the answer."""

normal = partial(unicodedata.normalize, "NFC")
"""Brings a text to the normal form that many tokenizers bring it to."""

_REPLY = "Xyzzy"  # occurs in no template

# The mark at the end of a thought, as published templates write it; an answer prefix that stands in a thought, and the
# mark that opens it; the beginning of a list of parts that was printed as text.
_CLOSED = re.compile(r"(?:</[^<>]+>|\[/[^\[\]]+\]|<[^<>|]+\|>|<\|(?:/|END_)[^<>|]+\|>|◁/[^◁▷]+▷)\s*\Z")
_INSIDE = re.compile(r"(<[^<>/|]+>\s*)[^<]*\Z")
_LISTED = re.compile(r"""\[?\{["']type["']""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A question, and where how many images stand beside it."""

    question: Question
    placement: Placement  # of the images, before or after the question
    images: int  # how many there are


class Opening(NamedTuple):
    """Where a reply begins."""

    text: str  # everything before it
    lead: str  # white space that belongs to its first word


def opening(form: Form, render: Render, *, trusted: bool = False) -> Opening:
    """Return where the reply to a question begins, which is where the model begins its own.

    If the template opens a thought there, an answer prefix follows where the template writes a reply without thought;
    a prefix that opens a thought itself and does not close it stays inside. `trusted` skips the check of the order.
    """
    opened = render(form.images, "")
    if not trusted:
        _check_order(form, opened, render(0, ""))
    inside = _INSIDE.match(form.question.answer_prefix)
    if inside is not None:
        if not opened.endswith(inside[1]):
            raise PromptError(
                f"the answer of this method stands in a thought, and the chat template opens none behind "
                f"{opened[-30:]!r}; switch thoughts on (template_args), or leave the part open-thought out"
            )
        return Opening(opened.removesuffix(inside[1]), "")
    written, found, _ = render(form.images, _REPLY).rpartition(_REPLY)
    if not found:
        raise PromptError("the chat template leaves out what the assistant says; use another chat template")
    if written.split() == opened.split():
        return Opening(opened, "" if opened[-1:].isspace() else written[len(written.rstrip()) :])
    common = commonprefix([opened, written])  # noqa: RUF071  letter by letter
    rest = written[len(common) :]
    if not rest.strip() and _CLOSED.search(opened):
        return Opening(opened, "")
    if _LISTED.search(rest) or normal(form.question.text) not in normal(common):
        raise PromptError(
            f"the chat template writes a reply behind {written[-40:]!r} instead of {opened[-40:]!r}: it prints a list, "
            f"or changes what stands before; use another chat template"
        )
    if not form.question.answer_prefix:
        raise PromptError(
            f"the chat template does not start a reply where its prompt ends ({opened[-30:]!r}): it opens a chain of "
            f"thought, or something else first; switch thoughts off (template_args), or add the part +prefixed to the "
            f"method, or give the question an answer_prefix of your own"
        )
    return Opening(written, "")


def _check_order(form: Form, prompt: str, bare: str) -> None:
    """Compare the prompt with one without images: the images must be added on the right side of the question.

    Where images follow the question, the text before it may be shorter than without images, but not longer: Llama 3.2
    Vision has a system message only without images.
    """
    shown, question = normal(prompt), normal(form.question.text)
    before, text, after = normal(bare).partition(question)
    if not text:
        raise PromptError(f"the chat template changes the text of the question {question!r}; reword it")
    head = shown.partition(text)[0]
    less = before.endswith(head[len(commonprefix([before, head])) :])  # noqa: RUF071
    fits = shown.endswith(text + after) if form.placement == "before" else less
    if not fits or shown == before + text + after:
        raise PromptError(
            f"the images are not {form.placement} the question {question!r} in the prompt: the chat template "
            f"moves them, or leaves them out; use the other placement, or another chat template"
        )


WINDOW = 64
"""How many of the last ids before an option are decoded: enough for its neighbours, and cheap."""


class Tokenizer(Protocol):
    """The two methods that are needed of a tokenizer of any library."""

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`: special tokens in it are recognised, none is added."""

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`: special tokens are kept, no space is cleaned up."""


def option_tokens(tokenizer: Tokenizer, ids: Sequence[int], question: Question, lead: str = "") -> tuple[int, ...]:
    """Return the (K,) tokens that stand for the options after `ids`, which end in the answer prefix.

    `lead` is white space that the template writes before a reply, used for options that have none of their own.
    """
    tail = list(ids[-WINDOW:])
    text = tokenizer.decode(tail)
    tokens = []
    for option in question.options:
        word = option if option[0].isspace() else lead + option
        # its last token in the context, alone, and after a line break, which keeps tokenizers that add a space to the
        # start of a text from adding it to the option; most likely first
        found = (tokenizer.encode(before + word)[-1:] for before in (text, "", "\n"))
        token = next((one for one in found if one and tokenizer.decode([*tail, *one]) == text + word), None)
        if token is None:
            raise OptionError(_refusal(tokenizer, tail, word, question))
        tokens += token
    return tuple(tokens)


def _refusal(tokenizer: Tokenizer, tail: list[int], word: str, question: Question) -> str:
    ids = tokenizer.encode(word)
    if len(ids) == 1:
        before = tokenizer.decode(tail)
        read = tokenizer.decode([*tail, *ids])[len(before) :]
        return (
            f"option {word!r} is no token behind {before[-16:]!r}: token {ids[0]}, which it is alone, reads {read!r} "
            f"there; write the option so, or choose another word"
        )
    others = [other for other in question.options if other.strip() != word.strip()]
    twins = [other for other in others if tokenizer.encode(other)[:1] == ids[:1]]
    shared = f" ({twins[0]!r} begins with the same token)" if twins else ""
    moved = word[1:] if word.startswith(" ") else " " + word
    remedy = f", or write it {moved!r} and change answer_prefix to fit" if len(tokenizer.encode(moved)) == 1 else ""
    return (
        f"option {word!r} after {question.answer_prefix!r} becomes {len(ids)} tokens {ids}{shared}, but its "
        f"probability is read from one; choose a word that is one token in this model's vocabulary{remedy}"
    )
