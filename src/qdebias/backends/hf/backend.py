"""Any image-and-text model of transformers as a backend, asked through its own processor and chat template.

The plain way is one forward pass a question: it serves every model, and is what the faster way is checked against.
Families that `families.py` names share work, with the same logits: see `sharing.py`.
"""

import inspect
import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache, partial

import numpy as np
import torch
from PIL import Image

from qdebias.backends.base import Encoding, Fingerprint, OptionLogits, TopLogits
from qdebias.backends.hf import Model, Processor
from qdebias.backends.hf.forward import Forward, Pick, Prepared, Preparer
from qdebias.backends.hf.sharing import SharedRuns, Sharing
from qdebias.backends.prompt import WINDOW, option_tokens
from qdebias.backends.top import embedded_rows, mean_vectors, top_of
from qdebias.equations import FloatArray
from qdebias.errors import PromptError
from qdebias.image import RgbImage
from qdebias.prompts import Question, Request, StateQuestion

LEAST = 0.05
"""The order counts where swapping two images changes the logits by this share of what replacing one does."""

_log = logging.getLogger(__name__)


class HfBackend:
    """A model and its processor; `qdebias.backends.hf.loading.load_hf` makes one from a checkpoint.

    The model is on its device and in evaluation mode. Without `sharing` each question is run alone.
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
        self._option_tokens = lru_cache(maxsize=1024)(partial(option_tokens, preparer.tokenizer))

    @property
    def model(self) -> Model:
        """The transformers model."""
        return self._model

    def plain(self) -> "HfBackend":
        """Return the same model, not loaded again, running every question alone: what sharing is checked against."""
        return type(self)(model=self._model, processor=self._processor, fingerprint=self.fingerprint)

    def option_logits(self, requests: Sequence[Request]) -> OptionLogits:
        """Return the logits of every option, see `Backend.option_logits`."""
        if not any(isinstance(question, StateQuestion) for request in requests for question in request.questions):
            return self._answer(requests, self._options)
        if hasattr(self._model, "image_features"):
            return self._with_image_features(requests)
        # The head gives each hidden state behind the logits that it reads from it. What a model does to all logits in
        # the end, such as a soft cap, it then does to the states as well.
        with self._model.get_output_embeddings().register_forward_hook(
            lambda _, read, logits: torch.cat([logits, read[0].to(logits.dtype)], dim=-1)
        ):
            return self._answer(requests, self._options)

    def _with_image_features(self, requests: Sequence[Request]) -> OptionLogits:
        """Return the answers, for each state what the encoder knows of the last image: more than hidden states tell."""
        asked = []
        for request in requests:
            others = tuple(question for question in request.questions if not isinstance(question, StateQuestion))
            asked += [replace(request, questions=others)] if others else []
        rest = (logits for answer in self._answer(asked, self._options) for logits in answer)
        known, found = dict[int, FloatArray](), []
        for request in requests:
            image, answer = request.images[-1], list[FloatArray]()
            for question in request.questions:
                if not isinstance(question, StateQuestion):
                    answer.append(next(rest))
                    continue
                if id(image) not in known:
                    made = self._processor.image_processor([Image.fromarray(image)], return_tensors="pt")
                    with torch.inference_mode():
                        (features,) = self._model.image_features(made["pixel_values"].to(self._model.device))
                    known[id(image)] = np.asarray(features.double().cpu().numpy())
                answer.append(known[id(image)])
            found.append(answer)
        return found

    @property
    def state_size(self) -> int:
        """How many numbers answer a `StateQuestion`, see `TellsStates`."""
        if hasattr(self._model, "image_features"):
            return int(self._model.image_features_size)
        return int(self._model.get_output_embeddings().in_features)

    def encode(self, requests: Sequence[Request]) -> list[list[Encoding]]:
        """Return what the model would be run on, for each question: ids and the processor's arrays."""
        return [[_encoding(one) for one in self._preparer.prepare(request)] for request in requests]

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
            return slice(int(self._model.get_output_embeddings().out_features), None)
        return list(self._option_tokens(tuple(prepared.ids[-WINDOW:]), question, prepared.lead))


def _encoding(prepared: Prepared) -> Encoding:
    others = {name: one for name, one in prepared.inputs.items() if name not in ("input_ids", "attention_mask")}
    arrays = {name: one.numpy() if isinstance(one, torch.Tensor) else one for name, one in others.items()}
    return Encoding(np.asarray(prepared.ids, dtype=np.int64), arrays)


class CuttingBackend(HfBackend):
    """A backend whose processor cuts images in a way that methods choose."""

    def with_cut(self, cut: str) -> "CuttingBackend":
        """Return the same model, not loaded again, with another cut mode in its identity."""
        processor = self._processor.with_cut(cut)
        identity = {**self.fingerprint.identity, "cut": processor.identity["cut"]}
        fingerprint = replace(self.fingerprint, identity=identity)
        return CuttingBackend(model=self._model, processor=processor, fingerprint=fingerprint, sharing=self._sharing)


class _PlainRuns:
    """Answers every question by a forward pass of its own."""

    def __init__(self, model: Model, preparer: Preparer) -> None:
        self._preparer = preparer
        self._forward = Forward(model)

    def __call__(self, requests: Sequence[Request], pick: Pick) -> OptionLogits:
        """Return the wanted logits of every question of every request."""
        answers = []
        for request in requests:
            prepared = self._preparer.prepare(request)
            picks = [pick(one, question) for one, question in zip(prepared, request.questions, strict=True)]
            logits = [self._forward(one.inputs)[0, 0] for one in prepared]
            answers.append([np.asarray(one[wanted], np.float64) for one, wanted in zip(logits, picks, strict=True)])
        return answers


def remember_order(backend: HfBackend) -> HfBackend:
    """Return the backend; where the order of images carries no weight, warn, and write that into its identity.

    Only a model whose images enter by cross attention is asked.
    """
    if "cross_attention_states" not in inspect.signature(type(backend.model).forward).parameters:
        return backend
    try:
        share = swapped_share(backend)
    except PromptError:  # one image a prompt: there is no order
        return backend
    if share < LEAST:
        _log.warning(
            "swapping two images changes the answer of this model by %.1f %% of what replacing one does: it hardly "
            "knows which is the first, so methods that show two images, and rank, say little with it; take another "
            "model",
            100 * share,
        )
        known = backend.fingerprint
        backend.fingerprint = replace(known, identity={**known.identity, "image_order": "carries no weight"})
    return backend


def swapped_share(backend: HfBackend) -> float:
    """Return how much swapping two images changes the logits, as a share of what replacing one of them does."""
    broad, narrow, steep = (_stripes(width) for width in (64, 8, 23))
    question = Question(
        text="Is the second image sharper than the first one?", options=("Yes", "No"), values=(1.0, 0.0)
    )
    original, swapped, replaced = (
        backend.last_logits([Request(images=images, questions=(question,))])[0][0]
        for images in ((broad, narrow), (narrow, broad), (broad, steep))
    )
    return float(np.abs(original - swapped).max() / max(float(np.abs(original - replaced).max()), 1e-12))


def _stripes(width: int) -> RgbImage:
    """Return a picture of stripes of so many pixels, (224, 224, 3)."""
    rows, columns = np.mgrid[0:224, 0:224]
    bright = 64 + 128 * ((columns + rows // 2) // width % 2)
    return np.stack([bright, 255 - bright, np.full_like(bright, 96)], axis=-1).astype(np.uint8)
