"""Any image-and-text model of transformers as a backend, asked through its own processor and chat template.

The plain way is one forward pass a question: it serves every model, and is what the faster way is checked against.
Families that `families.py` names share work, with the same logits: see `sharing.py`.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from qdebias.backends.base import Encoding, Fingerprint, OptionLogits, TopLogits
from qdebias.backends.hf_forward import Forward
from qdebias.backends.hf_prepare import Pick, Prepared, Preparer
from qdebias.backends.hf_states import (
    asks_states,
    state_size,
    states_shown,
    with_image_features,
    without_states,
    word_count,
)
from qdebias.backends.hf_types import Model, Processor
from qdebias.backends.sharing import SharedRuns, Sharing
from qdebias.backends.tokens import option_tokens
from qdebias.backends.top import embedded_rows, mean_vectors, top_of
from qdebias.equations import FloatArray
from qdebias.prompts import Question, Request, StateQuestion


class HfBackend:
    """A model and its processor; `qdebias.backends.hf_loading.load_hf` makes one from a checkpoint.

    Args:
        model: A transformers model with an image-text-to-text head, on its device, in evaluation mode.
        processor: Its processor, with a chat template.
        fingerprint: What made the answers of this backend.
        sharing: What questions share; None runs each alone. Never changes a logit beyond rounding.
    """

    def __init__(
        self, *, model: Model, processor: Processor, fingerprint: Fingerprint, sharing: Sharing | None = None
    ) -> None:
        self._model = model
        self._processor = processor
        self.fingerprint = fingerprint
        self._sharing = sharing
        self._preparer = preparer = Preparer(model, processor)
        self._answer = SharedRuns(model, processor, preparer, sharing) if sharing else _PlainRuns(model, preparer)

        @lru_cache(maxsize=1024)
        def tokens(tail: tuple[int, ...], question: Question, lead: str) -> tuple[int, ...]:
            return option_tokens(preparer.tokenizer, tail, question, lead)

        self._option_tokens = tokens

    @property
    def model(self) -> Model:
        """The transformers model."""
        return self._model

    def plain(self) -> "HfBackend":
        """Return the same model, not loaded again, running every question alone: what sharing is checked against."""
        return type(self)(model=self._model, processor=self._processor, fingerprint=self.fingerprint)

    def option_logits(self, requests: Sequence[Request]) -> OptionLogits:
        """Return the logits of every option, see `Backend.option_logits`.

        Raises:
            OptionError: An option is not one token of this model.
            PromptError: The chat template does not keep the images or the answer prefix where they belong.
            ImageError: The processor refuses an image, or the images are more tokens than the model can read.
            BackendError: The model answers with numbers that are none, or does not fit into memory.
        """
        if not asks_states(requests):
            return self._answer(requests, self._options)
        if hasattr(self._model, "image_features"):
            answers = self._answer(without_states(requests), self._options)
            return with_image_features(self._model, self._processor, requests, answers)
        with states_shown(self._model):
            return self._answer(requests, self._options)

    @property
    def state_size(self) -> int:
        """How many numbers answer a `StateQuestion`, see `TellsStates`."""
        return state_size(self._model)

    def encode(self, requests: Sequence[Request]) -> list[list[Encoding]]:
        """Return what the model would be run on, for each question: ids and the processor's arrays."""
        return [[one.encoding for one in self._preparer.prepare(request)] for request in requests]

    def last_logits(self, requests: Sequence[Request]) -> OptionLogits:
        """Return the (vocabulary,) logits from which the options of each question are read."""
        return self._answer(requests, lambda *_: slice(None))

    def top_logits(self, requests: Sequence[Request], k: int) -> list[list[TopLogits]]:
        """Return the k tokens with the largest logits, see `OpenVocabulary`; padding rows are none."""
        decode, words = self._preparer.tokenizer.decode, getattr(self._processor, "words", None)
        return [[top_of(logits[:words], k, decode) for logits in answer] for answer in self.last_logits(requests)]

    def word_vectors(self, words: Sequence[str | int]) -> FloatArray:
        """Return (n, d) input embeddings of words, see `OpenVocabulary`."""
        return mean_vectors(words, self._preparer.tokenizer.encode, embedded_rows(self._model.get_input_embeddings()))

    def _options(self, prepared: Prepared, question: Question) -> list[int] | slice:
        if isinstance(question, StateQuestion):
            return slice(word_count(self._model), None)
        return list(self._option_tokens(prepared.tail, question, prepared.lead))


class CuttingBackend(HfBackend):
    """A backend whose processor cuts images in a way that methods choose."""

    def with_cut(self, cut: str) -> "CuttingBackend":
        """Return the same model, not loaded again, with another cut mode in its identity.

        Raises:
            SettingError: There is no such mode, or it belongs to another release.
        """
        processor = self._processor.with_cut(cut)
        fingerprint = replace(
            self.fingerprint, identity={**self.fingerprint.identity, "cut": processor.identity["cut"]}
        )
        return CuttingBackend(model=self._model, processor=processor, fingerprint=fingerprint, sharing=self._sharing)


class _PlainRuns:
    """Answers every question by a forward pass of its own."""

    def __init__(self, model: Model, preparer: Preparer) -> None:
        self._preparer = preparer
        self._forward = Forward(model)

    def __call__(self, requests: Sequence[Request], pick: Pick) -> OptionLogits:
        """Return the wanted logits of every question of every request."""
        return [self._one(request, pick) for request in requests]

    def _one(self, request: Request, pick: Pick) -> list[FloatArray]:
        prepared = self._preparer.prepare(request)
        wanted = [pick(one, question) for one, question in zip(prepared, request.questions, strict=True)]
        return [
            np.asarray(self._forward(one.inputs)[0, 0][picked], dtype=np.float64)
            for one, picked in zip(prepared, wanted, strict=True)
        ]
