"""A backend that remembers: it asks the model only what is not stored yet."""

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from qdebias.backends.base import Backend, Fingerprint, OptionLogits
from qdebias.equations import FloatArray
from qdebias.errors import BackendError
from qdebias.image import RgbImage, digest
from qdebias.methods.keys import answer_key, question_id
from qdebias.prompts import Question, Request
from qdebias.runs.answer import Answer, AnswerStore


@dataclass(frozen=True, slots=True, eq=False)
class _Keyed:
    """A request with the digests of its images and the key of each of its questions."""

    request: Request
    images: tuple[str, ...]
    keys: tuple[str, ...]


class StoredBackend:
    """Fits `Backend`: answers come from the store where they are there, else from the model and into the store.

    Args:
        backend: The model.
        answers: The store, such as a `Run`.
    """

    def __init__(self, backend: Backend, answers: AnswerStore) -> None:
        self.digests = Digests()
        self._backend = backend
        self._answers = answers

    @property
    def fingerprint(self) -> Fingerprint:
        """That of the model."""
        return self._backend.fingerprint

    def option_logits(self, requests: Sequence[Request]) -> OptionLogits:
        """Return the logits of every option, see `Backend.option_logits`.

        Raises:
            StoreError: What the model answered cannot be stored.
        """
        keyed = [self._keyed(request) for request in requests]
        known = {key: self._answers.logits(key) for item in keyed for key in item.keys}
        fresh = self._ask(_missing(keyed, {key for key, logits in known.items() if logits is None}))
        stored = {key: logits for key, logits in known.items() if logits is not None}
        stored |= {answer.key: answer.logits for answer in fresh}
        return [[stored[key] for key in item.keys] for item in keyed]

    def _keyed(self, request: Request) -> _Keyed:
        images = tuple(self.digests.of(image) for image in request.images)
        identity, placement = self._answers.identity, request.placement
        keys = (answer_key(identity, images, question_id(placement, question)) for question in request.questions)
        return _Keyed(request, images, tuple(keys))

    def _ask(self, missing: Sequence[_Keyed]) -> list[Answer]:
        if not missing:
            return []
        answered = self._backend.option_logits([item.request for item in missing])
        answers = [
            Answer(key=key, images=item.images, placement=item.request.placement, question=question, logits=logits)
            for item, row in zip(missing, answered, strict=True)
            for key, question, logits in zip(item.keys, item.request.questions, map(_finite, row), strict=True)
        ]
        self._answers.add_answers(answers)
        return answers


class Digests:
    """Digests of images in memory, each computed once while the image lives."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[weakref.ref[RgbImage], str]] = {}

    def of(self, image: RgbImage) -> str:
        """Return `qdebias.image.digest` of the image."""
        number = id(image)
        if number not in self._known:
            forget = weakref.ref(image, lambda _: self._known.pop(number, None))
            self._known[number] = forget, digest(image)
        return self._known[number][1]


def _missing(keyed: Sequence[_Keyed], wanted: set[str]) -> list[_Keyed]:
    """Return the requests cut down to the wanted questions, each key once."""
    missing = []
    for item in keyed:
        questions: dict[str, Question] = {}
        for key, question in zip(item.keys, item.request.questions, strict=True):
            if key in wanted:
                questions[key] = question
                wanted.discard(key)
        if questions:
            request = replace(item.request, questions=tuple(questions.values()))
            missing.append(_Keyed(request, item.images, tuple(questions)))
    return missing


def _finite(logits: FloatArray) -> FloatArray:
    exact = np.asarray(logits, dtype=np.float64)
    if not np.isfinite(exact).all():
        raise BackendError(
            f"the model answered with the logits {exact}, which are not stored; "
            f"if it runs in float16, load it in bfloat16 or float32"
        )
    return exact
