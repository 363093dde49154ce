"""From an answer option to the one token whose logit stands for it.

The option is the token t with decode(prefix ids + [t]) = decode(prefix ids) + option, where the prefix ids are those
that the model is run on. Encoding the word alone is not enough: "poor" and " poor" are different tokens, a word may be
several, and a prefix that ends in a space merges with the word when both are encoded together.

Where the option is the first word of the reply, some chat templates write a space before it ("ASSISTANT: Yes") that the
prompt does not end in ("ASSISTANT:"). That space is the `lead`, and belongs to the token: models answer " Yes" there.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

from qdebias.errors import OptionError
from qdebias.prompts import Question

WINDOW = 64
"""How many of the last prefix ids are decoded: enough for any token to see its neighbours, few enough to be cheap."""

_ANCHOR = "\n"
"""Put before an option so that tokenizers that add a space to the start of a text do not add it to the option."""


class Tokenizer(Protocol):
    """The two functions that are needed of a tokenizer, in any library."""

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`: special tokens in it are recognised, none is added."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`: special tokens are kept, no space is cleaned up."""
        ...


def option_tokens(tokenizer: Tokenizer, ids: Sequence[int], question: Question, lead: str = "") -> tuple[int, ...]:
    """Return the (K,) tokens whose logits after `ids` stand for the options of `question`.

    Args:
        tokenizer: The model's own.
        ids: (L,) what the model is run on, up to the end of the answer prefix.
        question: The question whose options are meant.
        lead: White space that the template writes before a reply; not doubled where an option brings its own.

    Raises:
        OptionError: An option is no single token there.
    """
    tail = list(ids[-WINDOW:])
    text = tokenizer.decode(tail)
    words = [option if option[0].isspace() else lead + option for option in question.options]
    return tuple(_one_token(tokenizer, tail, text, word, question) for word in words)


def _one_token(tokenizer: Tokenizer, tail: list[int], text: str, word: str, question: Question) -> int:
    for token in _candidates(tokenizer, text, word):
        if tokenizer.decode([*tail, token]) == text + word:
            return token
    raise OptionError(_refusal(tokenizer, tail, word, question))


def _candidates(tokenizer: Tokenizer, text: str, word: str) -> Iterator[int]:
    """Last tokens of the word in its context, alone, and after a line break; most likely first."""
    for before in (text, "", _ANCHOR):
        ids = tokenizer.encode(before + word)
        if ids:
            yield ids[-1]


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
