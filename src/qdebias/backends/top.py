"""Answers from the k likeliest words, weighted by their meaning: see `TopQuestion`.

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
    """A backend that answers a `TopQuestion` from the vocabulary of a model, and other questions by the model itself.

    The answer is (3 k,): ids of the tokens with the largest logits, in falling order; the logits; the cosines, 0 for a
    zero vector.
    """

    def __init__(self, backend: Backend) -> None:
        if not isinstance(backend, OpenVocabulary):
            name = backend.fingerprint.identity.get("model", type(backend).__name__)
            raise BackendError(
                f"{name} has no logits beyond those of given words and no vectors of words, which this method reads; "
                f"choose a model that runs in this process, or another readout"
            )
        self.backend = backend
        self._open: OpenVocabulary = backend
        self._directions: dict[Question, FloatArray] = {}

    @property
    def fingerprint(self) -> Fingerprint:
        """The fingerprint of the model."""
        return self.backend.fingerprint

    def option_logits(self, requests: Sequence[Request]) -> OptionLogits:
        """Return the logits of every option, see `Backend.option_logits`; (3 k,) numbers for a `TopQuestion`."""
        answers = [[np.empty(0)] * len(request.questions) for request in requests]
        for k in {_likeliest(question) for request in requests for question in request.questions}:
            places, cut = [], []  # the questions that are read from k words, or for None from their options
            for request, answer in zip(requests, answers, strict=True):
                chosen = [place for place, question in enumerate(request.questions) if _likeliest(question) == k]
                if chosen:
                    places.append((answer, chosen))
                    cut.append(replace(request, questions=tuple(request.questions[place] for place in chosen)))
            if k is None:
                rows = self.backend.option_logits(cut)
            else:
                rows = [
                    [self._answer(question, top) for question, top in zip(request.questions, row, strict=True)]
                    for request, row in zip(cut, self._open.top_logits(cut, k), strict=True)
                ]
            for (answer, chosen), row in zip(places, rows, strict=True):
                for place, logits in zip(chosen, row, strict=True):
                    answer[place] = logits
        return answers

    def _answer(self, question: Question, top: TopLogits) -> FloatArray:
        if question not in self._directions:
            weights = np.array(question.values)
            good, bad = weights / weights.sum(), (1 - weights) / (1 - weights).sum()
            self._directions[question] = (good - bad) @ self._open.word_vectors(question.options)
        direction, vectors = self._directions[question], self._open.word_vectors(top.ids.tolist())
        lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(direction)
        cosine = np.divide(vectors @ direction, lengths, out=np.zeros(len(vectors)), where=lengths > 0)
        return np.concatenate([top.ids.astype(np.float64), top.logits, cosine])


def _likeliest(question: Question) -> int | None:
    return question.top if isinstance(question, TopQuestion) else None


def top_of(logits: FloatArray, k: int, decode: Callable[[list[int]], str]) -> TopLogits:
    """Return the k largest of (vocabulary,) logits, in falling order; equal ones by their ids."""
    if k > len(logits):
        raise BackendError(f"the {k} likeliest words are requested, and the model has {len(logits)}; choose fewer")
    ids = np.argsort(-logits, kind="stable")[:k]
    return TopLogits(ids=ids, words=tuple(decode([int(one)]) for one in ids), logits=np.asarray(logits[ids]))


def mean_vectors(
    words: Sequence[str | int],
    encode: Callable[[str], list[int]],
    table: Any,  # noqa: ANN401  a tensor; torch is not imported here
) -> FloatArray:
    """Return (n, d) vectors of words from a table: each the mean over the tokens of the word, or of tokens by ids."""
    ids = [[word] if isinstance(word, int) else encode(word) for word in words]
    vectors = table[[token for word in ids for token in word]].detach().double().cpu().numpy()
    ends = np.cumsum([len(word) for word in ids])[:-1]
    return np.array([part.mean(axis=0) for part in np.split(vectors, ends)])
