"""One question about some images as it is sent, and the log-probabilities of the first token as they are read."""

import base64
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import Any

import anyio
import numpy as np
from PIL import Image

from qdebias.backends.openai_http import Json
from qdebias.backends.openai_http.connection import RefusedError
from qdebias.equations import FloatArray
from qdebias.errors import OptionError
from qdebias.image import RgbImage
from qdebias.prompts import Placement, Request

CONTINUE: Mapping[str, Any] = {"continue_final_message": True, "add_generation_prompt": False}
"""Asks the server to leave the assistant's message open, so that the model continues it."""

PLAIN_SAMPLING: Mapping[str, Any] = {"max_tokens": 1, "temperature": 1, "top_p": 1, "logprobs": True}
"""One token, sampled from the model's own distribution: nothing between its logits and the log-probabilities."""


def messages(text: str, images: Sequence[Json], placement: Placement, prefix: str) -> list[Json]:
    """Return the messages of a conversation; with an empty `prefix` the model begins the answer."""
    words = [{"type": "text", "text": text}]
    content = [*images, *words] if placement == "before" else [*words, *images]
    question: Json = {"role": "user", "content": content if images else text}
    return [question, {"role": "assistant", "content": prefix}] if prefix else [question]


def conversation(text: str, urls: Sequence[str] = (), *, placement: Placement = "before", prefix: str = "") -> Json:
    """Return the fields of a request that say what is asked: `messages`, and how the last one is meant."""
    images = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    fields: Json = {"messages": messages(text, images, placement, prefix)}
    return {**fields, **CONTINUE} if prefix else fields


_FAST = 1  # level of zlib; higher ones take several times as long for a tenth of the size


def png_url(image: RgbImage) -> str:
    """Return the data URL of a PNG file that decodes to exactly these pixels."""
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", compress_level=_FAST)
    return f"data:image/png;base64,{base64.b64encode(buffer.getbuffer()).decode('ascii')}"


class EncodedImages:
    """The data URLs of the images of some requests: each image is encoded once, and dropped after its last request.

    Args:
        requests: Each of them takes its URLs once.
    """

    def __init__(self, requests: Iterable[Request]) -> None:
        self._left = Counter(id(image) for request in requests for image in request.images)
        self._urls: dict[int, str] = {}
        self._locks: dict[int, anyio.Lock] = {}

    async def urls(self, request: Request) -> list[str]:
        """Return the URLs of the images of a request, in order."""
        return [await self._url(image) for image in request.images]

    async def _url(self, image: RgbImage) -> str:
        number = id(image)
        async with self._locks.setdefault(number, anyio.Lock()):
            if number not in self._urls:
                self._urls[number] = await anyio.to_thread.run_sync(partial(png_url, image))
        self._left[number] -= 1
        return self._urls[number] if self._left[number] else self._urls.pop(number)


LEAST = -9999.0
"""What servers write for a token that they give no probability; no true log-probability of a float is that small."""

_TOKEN_ID = "token_id:"  # noqa: S105  how vLLM writes a token when asked for ids
_BYTE_LEVEL, _PIECES = "\u0120", "\u2581"
"""How the vocabularies of GPT-2 and of SentencePiece spell a space; some servers show tokens so."""
_CLEAR = 10
_ONE_BYTE = re.compile("<0x([0-9A-Fa-f]{2})>")
_PRINTED = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_BYTES = {chr(byte): byte for byte in _PRINTED} | {
    chr(0x100 + place): byte for place, byte in enumerate(byte for byte in range(0x100) if byte not in _PRINTED)
}
"""The byte that each letter of a byte-level vocabulary stands for."""


class MissingOptionError(OptionError):
    """An option is not in the list that the server returned; a longer list might have it."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One entry of the list; `token` is None where the server gives no ids."""

    text: bytes
    token: int | None
    logprob: float


@dataclass(frozen=True, slots=True)
class OptionTokens:
    """The (K,) tokens of the options of a question as text, and their ids where the server tells them."""

    words: tuple[str, ...]
    tokens: tuple[int, ...] | None = None


def option_logprobs(reply: Json, wanted: OptionTokens, remedy: str) -> FloatArray:
    """Return the (K,) log-probabilities of the options; `remedy` is what helps where one is missing.

    Raises:
        RefusedError: The reply holds no log-probabilities, although they were requested.
        OptionError: An option is missing, or cannot be told from another token.
    """
    found = candidates(reply)
    return np.array([_find(found, wanted, number, remedy) for number in range(len(wanted.words))])


def candidates(reply: Json) -> list[Candidate]:
    """Return the first token's list, the sampled token included.

    Raises:
        RefusedError: There is none.
    """
    try:
        choice = reply["choices"][0]
        first = choice["logprobs"]["content"][0]
        likeliest = first.get("top_logprobs")
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise RefusedError(_no_logprobs(reply), 200) from error
    if not isinstance(likeliest, list) or not likeliest:
        raise RefusedError(
            "the server tells the log-probability of the token that it sampled and of no other: it ignores "
            "top_logprobs, so no option can be read; use a server that supports it, such as vLLM, SGLang or llama.cpp",
            200,
        )
    entries = [entry for entry in (first, *likeliest) if isinstance(entry, dict)]
    space = _written_space([str(entry.get("token")) for entry in entries])
    found = dict.fromkeys(one for one in (_candidate(entry, space) for entry in entries) if one)
    if not found:
        raise RefusedError(_no_logprobs(reply), 200)
    return list(found)


def _no_logprobs(reply: Json) -> str:
    try:
        reason = str(reply["choices"][0]["finish_reason"])
    except (KeyError, IndexError, TypeError):
        reason = "length"
    if reason not in ("length", "stop", "None"):
        return f"the server ends its answer with {reason[:40]!r} and without log-probabilities"
    return (
        "the server answers without log-probabilities although they were requested, so no probability can be "
        "read; use a server that supports logprobs in chat completions, such as vLLM, SGLang or llama.cpp"
    )


def likelier_lead(reply: Json, words: Sequence[str], *, clearly: bool) -> str:
    """Return whether a space belongs before the first word of a reply: "" or " ", whichever the model prefers.

    Options that bring a space along have no part in it. `clearly`: one spelling must be ten times as likely as the
    other.

    Raises:
        OptionError: It cannot be told.
    """
    found = candidates(reply)
    own = [word for word in words if not word[0].isspace()]
    bare, spaced = (
        sum(math.exp(one.logprob) for one in found if one.logprob <= 0 and one.text.decode(errors="replace") in spelled)
        for spelled in (own, [f" {word}" for word in own])
    )
    if clearly and bare and spaced and max(bare, spaced) < _CLEAR * min(bare, spaced):
        raise OptionError(
            f"the server lists {own[0]!r} both with and without a space before it, and nothing tells which of them "
            f"begins a reply here: it neither shows its prompts nor counts their tokens; use a server that does, "
            f"or load the backend with prompt='trusted', which takes the likelier spelling"
        )
    return " " if spaced > bare else ""


def prompt_tokens(reply: Json) -> int | None:
    """Return how many tokens the server counted in the prompt, None where it does not say."""
    usage = reply.get("usage")
    counts = [usage.get(name) for name in ("prompt_tokens", "input_tokens")] if isinstance(usage, Mapping) else []
    return next((count for count in counts if isinstance(count, int)), None)


def reported_name(reply: Json) -> str | None:
    """Return the name of the model that a reply bears, None where it bears none."""
    name = reply.get("model")
    return name if isinstance(name, str) and name else None


def _written_space(tokens: Sequence[str]) -> str:
    """Return how the tokens of a list spell a space: as vocabularies do (U+0120, U+2581), or as it is."""
    plain = any(" " in token for token in tokens)
    return next((mark for mark in (_BYTE_LEVEL, _PIECES) if not plain and any(mark in token for token in tokens)), " ")


def _candidate(entry: Mapping[str, Any], space: str) -> Candidate | None:
    """Return an entry of the list, None for one of odd types."""
    text, token = entry.get("token"), entry.get("id")
    try:
        logprob = float(entry["logprob"])
        if not isinstance(text, str):
            return None
        if text.startswith(_TOKEN_ID):
            return Candidate(b"", int(text.removeprefix(_TOKEN_ID)), logprob)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return Candidate(_bytes(text, entry.get("bytes"), space), token if isinstance(token, int) else None, logprob)


def _bytes(text: str, raw: object, space: str) -> bytes:
    """Return the bytes of a token, from how the server spells it."""
    spelled = text.encode(errors="surrogatepass")
    if isinstance(raw, list) and all(isinstance(one, int) and 0 <= one < 256 for one in raw):
        told = bytes(raw)
        if told and told != spelled:
            return told
    if byte := _ONE_BYTE.fullmatch(text):
        return bytes([int(byte[1], 16)])
    if (literal := _literal(text)) is not None:
        return literal
    if space == _BYTE_LEVEL and all(letter in _BYTES for letter in text):
        return bytes(_BYTES[letter] for letter in text)
    return spelled.replace(_PIECES.encode(), b" ") if space == _PIECES else spelled


def _literal(text: str) -> bytes | None:
    r"""Return the bytes of a token that is written as such: b' good', or bytes:\x20good as OpenAI writes it."""
    inside = re.fullmatch(r"""b(['"])(.*)\1|bytes:(.*\\x.*)""", text, re.DOTALL)
    if not inside:
        return None
    letters = inside[2] if inside[1] else inside[3]
    try:
        return letters.encode("latin-1").decode("unicode_escape").encode("latin-1")
    except UnicodeError:
        return None


def _find(found: Sequence[Candidate], wanted: OptionTokens, number: int, remedy: str) -> float:
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
