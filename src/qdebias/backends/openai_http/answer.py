"""What is read from a server's reply: the log-probabilities of the first token that the model would say."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from qdebias.backends.openai_http.chat import Json
from qdebias.equations import FloatArray
from qdebias.errors import BackendError, OptionError

LEAST = -9999.0
"""What servers write for a token that they give no probability; no true log-probability of a float is that small."""

_TOKEN_ID = "token_id:"  # noqa: S105  how vLLM writes a token when asked for ids


class MissingOptionError(OptionError):
    """An option is not in the list that the server returned; a longer list might have it."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One entry of the list.

    Attributes:
        text: The token's bytes.
        token: Its id; None where the server gives none.
        logprob: Its log-probability.
    """

    text: bytes
    token: int | None
    logprob: float


@dataclass(frozen=True, slots=True)
class Wanted:
    """How the options of one question are found in a list.

    Attributes:
        words: (K,) the text of each option's token.
        tokens: (K,) its id; None where the server does not tell.
    """

    words: tuple[str, ...]
    tokens: tuple[int, ...] | None = None


def option_logprobs(reply: Json, wanted: Wanted, remedy: str) -> FloatArray:
    """Return the (K,) log-probabilities of the options.

    Args:
        reply: The answer to a chat completion.
        wanted: The options.
        remedy: What helps on this server where an option is missing.

    Raises:
        BackendError: The reply holds no log-probabilities, although they were asked for.
        OptionError: An option is missing, or cannot be told from another token.
    """
    found = candidates(reply)
    return np.array([_find(found, wanted, number, remedy) for number in range(len(wanted.words))])


def candidates(reply: Json) -> list[Candidate]:
    """Return the first token's list, the sampled token included.

    Raises:
        BackendError: There is none.
    """
    try:
        first = reply["choices"][0]["logprobs"]["content"][0]
        entries = [first, *(first.get("top_logprobs") or ())]
        return list(dict.fromkeys(_candidate(entry) for entry in entries))
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise BackendError(
            "the server answers without log-probabilities although they were asked for, so no probability can be "
            "read; use a server that supports logprobs in chat completions, such as vLLM, SGLang or llama.cpp"
        ) from error


def prompt_tokens(reply: Json) -> int | None:
    """Return how many tokens the server counted in the prompt, None where it does not say."""
    usage = reply.get("usage")
    count = usage.get("prompt_tokens") if isinstance(usage, Mapping) else None
    return count if isinstance(count, int) else None


def _candidate(entry: Mapping[str, Any]) -> Candidate:
    text, token = str(entry["token"]), entry.get("id")
    if text.startswith(_TOKEN_ID):
        return Candidate(b"", int(text.removeprefix(_TOKEN_ID)), float(entry["logprob"]))
    raw = entry.get("bytes")
    data = bytes(raw) if isinstance(raw, Sequence) and not isinstance(raw, str) else text.encode()
    return Candidate(data, token if isinstance(token, int) else None, float(entry["logprob"]))


def _find(found: Sequence[Candidate], wanted: Wanted, number: int, remedy: str) -> float:
    word = wanted.words[number]
    told = [one for one in found if one.logprob > LEAST and math.isfinite(one.logprob)]
    if wanted.tokens is not None and all(one.token is not None for one in found):
        fitting = [one for one in told if one.token == wanted.tokens[number]][:1]
    else:
        fitting = [one for one in told if one.text == word.encode()]
    if not fitting:
        raise MissingOptionError(_missing(found, word, remedy))
    if len({one.logprob for one in fitting}) > 1:
        raise OptionError(
            f"option {word!r} stands {len(fitting)} times in the server's list, for different tokens that it writes "
            f"alike; choose another word, or a server that tells token ids"
        )
    return fitting[0].logprob


def _missing(found: Sequence[Candidate], word: str, remedy: str) -> str:
    kin = sorted({one.text.decode(errors="replace") for one in found if _folded(one.text) == _folded(word.encode())})
    near = f" ({', '.join(map(repr, kin))} there is another token)" if kin else ""
    return (
        f"option {word!r} is not among the {len(found)} tokens whose probability the server returned{near}, and none "
        f"is made up for it: it is less likely than they, or several tokens of this model; {remedy}, or choose a word "
        f"that the model answers with"
    )


def _folded(text: bytes) -> str:
    return text.decode(errors="replace").strip().lower()
