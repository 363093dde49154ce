"""Answers that are read from the k likeliest words, weighed by how their meaning leans: see `TopQuestion`.

Adaptive logit weighting of SeP-IQA (github.com/weolix/SeP-IQA): the score of an image is the sum over the k largest
logits, each times the cosine between the embedding of its token and a direction, the mean embedding of good words less
that of bad words.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from qdebias.backends.base import Backend, Fingerprint, OpenVocabulary, OptionLogits, TopLogits
from qdebias.equations import FloatArray
from qdebias.errors import BackendError
from qdebias.prompts import Question, Request, TopQuestion


class TopReader:
    """Fits `Backend`: answers a `TopQuestion` through the open doors of a model, and leaves the rest to it.

    The answer to a `TopQuestion` is (3 k,) numbers: the ids of the k tokens with the largest logits, in falling order,
    then their logits, then their cosines.

    Raises:
        BackendError: It does not open its vocabulary.
    """

    def __init__(self, backend: Backend) -> None:
        if not isinstance(backend, OpenVocabulary):
            name = backend.fingerprint.identity.get("model", type(backend).__name__)
            raise BackendError(
                f"{name} tells no logits beyond those of given words and no vectors of words, which this method reads; "
                f"choose a model that runs in this process, or another readout"
            )
        self.backend = backend
        self._open: OpenVocabulary = backend
        self._directions: dict[Question, FloatArray] = {}

    @property
    def fingerprint(self) -> Fingerprint:
        """That of the model."""
        return self.backend.fingerprint

    def option_logits(self, requests: Sequence[Request]) -> OptionLogits:
        """Return the logits of every option, see `Backend.option_logits`; (3 k,) numbers for a `TopQuestion`."""
        found: dict[tuple[int, int], FloatArray] = {}
        for k in {_likeliest(question) for request in requests for question in request.questions}:
            cut = _cut_down(requests, k)
            rows = self._ask([request for _, request in cut], k)
            for (places, _), row in zip(cut, rows, strict=True):
                found |= dict(zip(places, row, strict=True))
        return [
            [found[index, place] for place in range(len(request.questions))] for index, request in enumerate(requests)
        ]

    def _ask(self, requests: Sequence[Request], k: int | None) -> OptionLogits:
        """Return the answers to questions that are all read in one way: from k words, or from their options."""
        if k is None:
            return self.backend.option_logits(requests)
        return [
            [self._answer(question, top) for question, top in zip(request.questions, row, strict=True)]
            for request, row in zip(requests, self._open.top_logits(requests, k), strict=True)
        ]

    def _answer(self, question: Question, top: TopLogits) -> FloatArray:
        cosine = _cosines(self._open.word_vectors(top.ids.tolist()), self._direction(question))
        return np.concatenate([top.ids.astype(np.float64), top.logits, cosine])

    def _direction(self, question: Question) -> FloatArray:
        """Return the (d,) mean vector of the question's good words less that of its bad words."""
        if question not in self._directions:
            vectors, values = self._open.word_vectors(question.options), np.array(question.values)
            good, bad = values / values.sum(), (1 - values) / (1 - values).sum()
            self._directions[question] = (good - bad) @ vectors
        return self._directions[question]


def top_of(logits: FloatArray, k: int, decode: Callable[[list[int]], str]) -> TopLogits:
    """Return the k largest of (vocabulary,) logits, in falling order; equal ones by their ids.

    Raises:
        BackendError: The vocabulary is smaller than that.
    """
    if k > len(logits):
        raise BackendError(f"the {k} likeliest words are requested, and the model has {len(logits)}; choose fewer")
    ids = np.argsort(-logits, kind="stable")[:k]
    return TopLogits(ids=ids, words=tuple(decode([int(one)]) for one in ids), logits=np.asarray(logits[ids]))


def mean_vectors(
    words: Sequence[str | int], encode: Callable[[str], list[int]], rows: Callable[[list[int]], FloatArray]
) -> FloatArray:
    """Return (n, d) vectors of words, each the mean over the tokens it is written with, or of tokens by their ids."""
    ids = [[word] if isinstance(word, int) else encode(word) for word in words]
    vectors = rows([token for word in ids for token in word])
    ends = np.cumsum([len(word) for word in ids])[:-1]
    return np.array([part.mean(axis=0) for part in np.split(vectors, ends)])


def embedded_rows(embedding: Any) -> Callable[[list[int]], FloatArray]:  # noqa: ANN401 (torch is not imported here)
    """Return what looks rows up in an embedding, a torch module."""
    return lambda ids: embedding.weight[ids].detach().double().cpu().numpy()


def _likeliest(question: Question) -> int | None:
    return question.top if isinstance(question, TopQuestion) else None


def _cut_down(requests: Sequence[Request], k: int | None) -> list[tuple[list[tuple[int, int]], Request]]:
    """Return the requests cut down to the questions that are read from k words, each with where those were."""
    cut = []
    for index, request in enumerate(requests):
        places = [place for place, question in enumerate(request.questions) if _likeliest(question) == k]
        if places:
            questions = tuple(request.questions[place] for place in places)
            cut.append(([(index, place) for place in places], replace(request, questions=questions)))
    return cut


def _cosines(vectors: FloatArray, direction: FloatArray) -> FloatArray:
    """Return the (k,) cosines of (k, d) vectors with a direction; 0 for a vector of zeros."""
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(direction)
    cosines: FloatArray = np.divide(vectors @ direction, lengths, out=np.zeros(len(vectors)), where=lengths > 0)
    return cosines
