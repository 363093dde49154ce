"""What a model was really asked, and how long it took: a backend that notes it."""

import time
from collections.abc import Sequence

from qdebias.backends.base import Backend, Fingerprint, OptionLogits
from qdebias.image import digest
from qdebias.methods.keys import answer_key, question_id
from qdebias.prompts import Request


class AskedBackend:
    """Fits `Backend`: passes everything on to the model, and notes what it was asked.

    Args:
        backend: The model.
        identity: `Run.identity` of the run that keeps its answers.
        seconds: Where the key of every question is noted, as the run has it, and its share of the time in which its
            call was answered; a question is one forward pass.
    """

    def __init__(self, backend: Backend, identity: str, seconds: dict[str, float]) -> None:
        self._backend = backend
        self._identity = identity
        self._seconds = seconds

    @property
    def fingerprint(self) -> Fingerprint:
        """That of the model."""
        return self._backend.fingerprint

    def option_logits(self, requests: Sequence[Request]) -> OptionLogits:
        """Return the logits of every option, see `Backend.option_logits`."""
        start = time.perf_counter()
        answers = self._backend.option_logits(requests)
        share = (time.perf_counter() - start) / max(1, sum(len(request.questions) for request in requests))
        for request in requests:
            images = tuple(map(digest, request.images))
            asked = (question_id(request.placement, question) for question in request.questions)
            self._seconds |= {answer_key(self._identity, images, question): share for question in asked}
        return answers
