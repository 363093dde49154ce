"""A backend without a model, for the tests of programs that use qdebias."""

import hashlib
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from qdebias.backends.base import Fingerprint, OptionLogits, TopLogits
from qdebias.backends.top import top_of
from qdebias.equations import FloatArray
from qdebias.errors import BackendError, ImageError
from qdebias.image import digest
from qdebias.prompts import Question, Request

Answer: TypeAlias = Callable[[Request, Question], Sequence[float]]
"""Gives the (K,) logits of the options of one question about one request."""


def digest_logits(request: Request, question: Question, words: Sequence[str] = ()) -> list[float]:
    """Return logits in [-4, 4) of words, or the options, that depend on the whole request, and on nothing else."""
    asked = "\0".join([*map(digest, request.images), request.placement, question.text, question.answer_prefix])
    return [_uniform(f"{asked}\0{word}") for word in words or question.options]


@dataclass(slots=True, kw_only=True)
class FakeBackend:
    """Answers at once, always the same to the same request, and remembers the requests.

    Example:
        Scores that follow the brightness of the last image:

        >>> def brightness(request, question):
        ...     return [request.images[-1].mean() / 64, 0.0]
        >>> backend = FakeBackend(answer=brightness)

    Attributes:
        answer: Gives the logits; the default derives them from the digests of the images and the texts.
        name: Part of the fingerprint: give two differently answering fakes two names.
        delay: Seconds that each call of `option_logits` takes, as if a model ran.
        failing: Digests (`qdebias.image.digest`) of images that raise an ImageError.
        remember: Whether `calls` grows, with the images in it; False for what runs long.
        calls: The requests of every call so far, in order.
    """

    answer: Answer = digest_logits
    name: str = "fake"
    delay: float = 0.0
    failing: Collection[str] = ()
    remember: bool = True
    calls: list[tuple[Request, ...]] = field(default_factory=list, init=False)

    @property
    def fingerprint(self) -> Fingerprint:
        """The name; no environment matters."""
        return Fingerprint(identity={"backend": "fake", "model": self.name})

    def option_logits(self, requests: Sequence[Request]) -> OptionLogits:
        """Return the logits of every option, see `Backend.option_logits`.

        Raises:
            ImageError: An image is one of `failing`.
            BackendError: `answer` gave another number of logits than the question has options, or no finite ones.
        """
        if self.remember:
            self.calls.append(tuple(requests))
        if self.delay:
            time.sleep(self.delay)
        answers: OptionLogits = []
        for request in requests:
            for image in request.images if self.failing else ():
                if digest(image) in self.failing:
                    raise ImageError(f"image {digest(image)}: the fake backend is set to fail on it")
            answers.append([])
            for question in request.questions:
                logits = np.asarray(self.answer(request, question), dtype=np.float64)
                if logits.shape != (len(question.options),) or not np.isfinite(logits).all():
                    raise BackendError(
                        f"the fake backend's answer function gave {logits} for the options {question.options}; "
                        f"it has to give one finite number for each"
                    )
                answers[-1].append(logits)
        return answers

    def top_logits(self, requests: Sequence[Request], k: int) -> list[list[TopLogits]]:
        """Return the k largest logits of an invented vocabulary, see `OpenVocabulary`."""
        if self.remember:
            self.calls.append(tuple(requests))
        return [
            [
                top_of(np.array(digest_logits(request, question, _WORDS)), k, lambda ids: _WORDS[ids[0]])
                for question in request.questions
            ]
            for request in requests
        ]

    def word_vectors(self, words: Sequence[str | int]) -> FloatArray:
        """Return (n, 4) invented vectors of words, see `OpenVocabulary`."""
        texts = [_WORDS[word] if isinstance(word, int) else word for word in words]
        return np.array([[_uniform(f"{axis}{word}") for axis in range(4)] for word in texts])


_WORDS = tuple(f" word{number}" for number in range(1000))


def _uniform(text: str) -> float:
    """Return a number in [-4, 4) that depends on `text` alone."""
    number = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
    return number / 2**64 * 8 - 4
