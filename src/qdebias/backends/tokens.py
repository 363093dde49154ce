"""From an answer option to the one token whose logit stands for it.

The option is the token t with decode(prefix ids + [t]) = decode(prefix ids) + option, where the prefix ids are those
that the model is run on. Encoding the word alone is not enough: "poor" and " poor" are different tokens, a word may be
several, and a prefix that ends in a space merges with the word when both are encoded together.
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


def option_tokens(tokenizer: Tokenizer, ids: Sequence[int], question: Question) -> tuple[int, ...]:
    """Return the (K,) tokens whose logits after `ids` stand for the options of `question`.

    Args:
        tokenizer: The model's own.
        ids: (L,) what the model is run on, up to the end of the answer prefix.
        question: The question whose options are meant.

    Raises:
        OptionError: An option is no single token there.
    """
    tail = list(ids[-WINDOW:])
    text = tokenizer.decode(tail)
    return tuple(_option_token(tokenizer, tail, text, option, question) for option in question.options)


def _option_token(tokenizer: Tokenizer, tail: list[int], text: str, option: str, question: Question) -> int:
    for token in _candidates(tokenizer, text, option):
        if tokenizer.decode([*tail, token]) == text + option:
            return token
    raise OptionError(_refusal(tokenizer, option, question))


def _candidates(tokenizer: Tokenizer, text: str, option: str) -> Iterator[int]:
    """Last tokens of the option in its context, alone, and after a line break; most likely first."""
    for before in (text, "", _ANCHOR):
        ids = tokenizer.encode(before + option)
        if ids:
            yield ids[-1]


def _refusal(tokenizer: Tokenizer, option: str, question: Question) -> str:
    ids = tokenizer.encode(option)
    twins = [other for other in question.options if other != option and tokenizer.encode(other)[:1] == ids[:1]]
    shared = f" ({twins[0]!r} begins with the same token)" if twins else ""
    moved = option[1:] if option.startswith(" ") else " " + option
    return (
        f"option {option!r} after {question.answer_prefix!r} becomes {len(ids)} tokens {ids}{shared}, but its "
        f"probability is read from one; choose a word that is one token in this model's vocabulary, or move the space "
        f"between answer_prefix and the option ({moved!r})"
    )
