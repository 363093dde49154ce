"""Building chat requests, and reading the log-probabilities of the first token of a reply."""

import base64
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import Any

import anyio
import numpy as np
from PIL import Image

from qdebias.backends.openai_http.connection import Json, RefusedError
from qdebias.equations import FloatArray
from qdebias.errors import OptionError
from qdebias.image import RgbImage
from qdebias.prompts import Placement, Request

_LEAST = -9999.0  # servers' placeholder for a token without a probability; real log-probabilities are larger
_CLEAR = 10
_BYTE_LEVEL, _PIECES = "\u0120", "\u2581"
"""A space in the vocabularies of GPT-2 and of SentencePiece, as some servers print tokens."""
_PRINTED = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_BYTES = {chr(byte): byte for byte in _PRINTED} | {
    chr(0x100 + place): byte for place, byte in enumerate(byte for byte in range(0x100) if byte not in _PRINTED)
}
"""The byte of each letter of GPT-2's byte-level vocabulary."""


def messages(text: str, images: Sequence[Json], placement: Placement, prefix: str) -> list[Json]:
    """Return the messages of a conversation; with an empty `prefix` the model begins the answer."""
    words = [{"type": "text", "text": text}]
    content = [*images, *words] if placement == "before" else [*words, *images]
    question: Json = {"role": "user", "content": content if images else text}
    return [question, {"role": "assistant", "content": prefix}] if prefix else [question]


def conversation(text: str, urls: Sequence[str] = (), *, placement: Placement = "before", prefix: str = "") -> Json:
    """Return the fields of a request with its messages; the model continues the answer `prefix`."""
    images = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    fields: Json = {"messages": messages(text, images, placement, prefix)}
    return {**fields, "continue_final_message": True, "add_generation_prompt": False} if prefix else fields


def png_url(image: RgbImage) -> str:
    """Return an image as the data URL of a PNG file, without loss."""
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", compress_level=1)  # higher: several times as long, 10 % smaller
    return f"data:image/png;base64,{base64.b64encode(buffer.getbuffer()).decode('ascii')}"


class EncodedImages:
    """The data URLs of the images of requests: each image is encoded once, and freed after its last request."""

    def __init__(self, requests: Iterable[Request]) -> None:
        self._left = Counter(id(image) for request in requests for image in request.images)
        self._urls: dict[int, str] = {}
        self._locks: dict[int, anyio.Lock] = {}

    async def urls(self, request: Request) -> list[str]:
        """Return the URLs of the images of a request, in order; call it once for each request."""
        urls = []
        for image in request.images:
            number = id(image)
            async with self._locks.setdefault(number, anyio.Lock()):
                if number not in self._urls:
                    self._urls[number] = await anyio.to_thread.run_sync(partial(png_url, image))
            self._left[number] -= 1
            urls.append(self._urls[number] if self._left[number] else self._urls.pop(number))
        return urls


class MissingOptionError(OptionError):
    """An option is missing from the list that the server returned; a longer list might contain it."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A token with its log-probability; `token` is None if the server returns no ids."""

    text: bytes
    token: int | None
    logprob: float


def candidates(reply: Json) -> list[Candidate]:
    """Return the candidates for the first token, the sampled one included; raises RefusedError if there are none."""
    ending = None
    try:
        choice = reply["choices"][0]
        ending = choice.get("finish_reason")
        first = choice["logprobs"]["content"][0]
        likeliest = first.get("top_logprobs")
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise _no_logprobs(ending) from error
    if not isinstance(likeliest, list) or not likeliest:
        raise RefusedError(
            "the server returns the log-probability of the sampled token only: it ignores "
            "top_logprobs, so no option can be read; use a server that supports it, such as vLLM, SGLang or llama.cpp"
        )
    entries = [entry for entry in (first, *likeliest) if isinstance(entry, dict)]
    tokens = [str(entry.get("token")) for entry in entries]
    plain = any(" " in token for token in tokens)  # otherwise spaces may be spelled as in the vocabulary
    marks = (mark for mark in (_BYTE_LEVEL, _PIECES) if not plain and any(mark in token for token in tokens))
    space = next(marks, " ")
    unique = dict.fromkeys(filter(None, (_candidate(entry, space) for entry in entries)))
    if not unique:
        raise _no_logprobs(ending)
    return list(unique)


def _no_logprobs(ending: object) -> RefusedError:
    if ending not in ("length", "stop", None):
        return RefusedError(f"the server ends its answer with {str(ending)[:40]!r} and without log-probabilities")
    return RefusedError(
        "the server answers without log-probabilities although they were requested, so no probability can be "
        "read; use a server that supports logprobs in chat completions, such as vLLM, SGLang or llama.cpp"
    )


def _candidate(entry: Mapping[str, Any], space: str) -> Candidate | None:
    """Return an entry of the list; None if its types are wrong."""
    text, token = entry.get("token"), entry.get("id")
    try:
        logprob = float(entry["logprob"])
        if not isinstance(text, str):
            return None
        if text.startswith("token_id:"):  # vLLM's form when ids are requested
            return Candidate(b"", int(text.removeprefix("token_id:")), logprob)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return Candidate(_bytes(text, entry.get("bytes"), space), token if isinstance(token, int) else None, logprob)


def _bytes(text: str, raw: object, space: str) -> bytes:
    """Return the bytes of a token from the server's spelling of it."""
    spelled = text.encode(errors="surrogatepass")
    if isinstance(raw, list) and all(isinstance(one, int) and 0 <= one < 256 for one in raw):
        listed = bytes(raw)
        if listed and listed != spelled:
            return listed
    if byte := re.fullmatch("<0x([0-9A-Fa-f]{2})>", text):
        return bytes([int(byte[1], 16)])
    if literal := re.fullmatch(r"""b(['"])(.*)\1|bytes:(.*\\x.*)""", text, re.DOTALL):
        with suppress(UnicodeError):  # b' good', or bytes:\x20good as OpenAI writes it
            return (literal[2] or literal[3] or "").encode("latin-1").decode("unicode_escape").encode("latin-1")
    if space == _BYTE_LEVEL and all(letter in _BYTES for letter in text):
        return bytes(_BYTES[letter] for letter in text)
    return spelled.replace(_PIECES.encode(), b" ") if space == _PIECES else spelled


def option_logprobs(reply: Json, words: Sequence[str], tokens: Sequence[int] | None, remedy: str) -> FloatArray:
    """Return the (K,) log-probabilities of options, given as words and, if known, as (K,) token ids.

    Raises OptionError if one is missing, with `remedy` in its message, or has several candidates.
    """
    listed = candidates(reply)
    known = [entry for entry in listed if entry.logprob > _LEAST and math.isfinite(entry.logprob)]
    ids = tokens if all(entry.token is not None for entry in listed) else None
    logprobs = []
    for number, word in enumerate(words):
        if ids is not None:
            fitting = [entry for entry in known if entry.token == ids[number]][:1]
        else:
            fitting = [entry for entry in known if entry.text == word.encode()]
        if not fitting:
            texts = {entry.text.decode(errors="replace") for entry in listed}
            kin = sorted(text for text in texts if text.strip().lower() == word.strip().lower())
            near = f" ({', '.join(map(repr, kin))} there is another token)" if kin else ""
            raise MissingOptionError(
                f"option {word!r} is not among the {len(listed)} tokens whose probability the server returned{near}, "
                f"so it has no score: it is less likely than these, or several tokens of this model; {remedy}, "
                f"or choose a word that the model answers with"
            )
        if len({entry.logprob for entry in fitting}) > 1:
            raise OptionError(
                f"option {word!r} stands {len(fitting)} times in the server's list, for different tokens that it "
                f"writes alike; choose another word, or a server that returns token ids"
            )
        logprobs.append(fitting[0].logprob)
    return np.array(logprobs)


def likelier_lead(reply: Json, words: Sequence[str], *, clearly: bool) -> str:
    """Return the white space before the first word of a reply, "" or " ", whichever the model prefers.

    Options that begin with a space are ignored. With `clearly`, an OptionError is raised unless one spelling is ten
    times as likely as the other.
    """
    listed = [(entry.text.decode(errors="replace"), entry.logprob) for entry in candidates(reply)]
    own = [word for word in words if not word[0].isspace()]
    bare, spaced = (
        sum(math.exp(logprob) for text, logprob in listed if logprob <= 0 and text in spelled)
        for spelled in (own, [f" {word}" for word in own])
    )
    if clearly and bare and spaced and max(bare, spaced) < _CLEAR * min(bare, spaced):
        raise OptionError(
            f"the server lists {own[0]!r} both with and without a space before it, and it is unknown which of them "
            f"begins a reply here: it neither shows its prompts nor counts their tokens; use a server that does, "
            f"or load the backend with prompt='trusted', which takes the likelier spelling"
        )
    return " " if spaced > bare else ""


def prompt_tokens(reply: Json) -> int:
    """Return the number of prompt tokens that the server reports, 0 if it reports none."""
    usage = reply.get("usage")
    counts = [usage.get(name) for name in ("prompt_tokens", "input_tokens")] if isinstance(usage, Mapping) else []
    return next((count for count in counts if isinstance(count, int)), 0)
