"""Qwen-VL as a backend: every image is encoded once a call, and questions about the same images share a row."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

import numpy as np
import torch

from qdebias.backends.base import Encoding, Fingerprint, OptionLogits, TopLogits
from qdebias.backends.finite import finite
from qdebias.backends.qwen_vl.model import Model
from qdebias.backends.qwen_vl.packing import Row, batch_of, rows_of
from qdebias.backends.qwen_vl.prompt import Prompt, PromptWriter
from qdebias.backends.qwen_vl.vision import normalise, squeeze
from qdebias.backends.qwen_vl.vocabulary import PAD
from qdebias.backends.tokens import option_tokens
from qdebias.backends.top import embedded_rows, mean_vectors, top_of
from qdebias.equations import FloatArray
from qdebias.errors import BackendError
from qdebias.image import RgbImage, digest
from qdebias.prompts import Placement, Question, Request


class QwenVlBackend:
    """A loaded Qwen-VL; make one with `load_qwen_vl`.

    Args:
        model: Filled with weights.
        writer: Writes its prompts.
        fingerprint: What made the answers.
        vision_chunk: How many images are encoded at a time.
        tokens_at_once: Rows are run together while they hold no more tokens than this, padding included.
    """

    def __init__(
        self, *, model: Model, writer: PromptWriter, fingerprint: Fingerprint, vision_chunk: int, tokens_at_once: int
    ) -> None:
        self.model = model
        self.fingerprint = fingerprint
        self._vision_chunk = vision_chunk
        self._tokens_at_once = tokens_at_once
        self._vocabulary = writer.vocabulary
        self._pad = writer.vocabulary.id_of(PAD)

        @lru_cache(maxsize=1024)
        def prompt(question: Question, count: int, placement: Placement) -> Prompt:
            return writer.write(question, count, placement)

        @lru_cache(maxsize=1024)
        def tokens(question: Question, count: int, placement: Placement) -> list[int]:
            written = prompt(question, count, placement)
            return list(option_tokens(writer.vocabulary, written.ids, question, written.lead))

        self._prompt, self._tokens = prompt, tokens

    def option_logits(self, requests: Sequence[Request]) -> OptionLogits:
        """Return the logits of every option, see `Backend.option_logits`."""
        tokens = [
            [self._tokens(question, len(request.images), request.placement) for question in request.questions]
            for request in requests
        ]
        logits = self._run(requests)
        return [[finite(next(logits)[chosen]) for chosen in request] for request in tokens]

    def last_logits(self, requests: Sequence[Request]) -> OptionLogits:
        """Return the (vocabulary,) logits from which the options of each question are read."""
        logits = self._run(requests)
        return [[finite(next(logits)) for _ in request.questions] for request in requests]

    def top_logits(self, requests: Sequence[Request], k: int) -> list[list[TopLogits]]:
        """Return the k tokens with the largest logits, see `OpenVocabulary`; padding rows are none."""
        decode, size = self._vocabulary.decode, len(self._vocabulary)
        return [[top_of(logits[:size], k, decode) for logits in answer] for answer in self.last_logits(requests)]

    def word_vectors(self, words: Sequence[str | int]) -> FloatArray:
        """Return (n, d) input embeddings of words, see `OpenVocabulary`."""
        return mean_vectors(words, self._vocabulary.encode, embedded_rows(self.model.transformer.wte))

    def encode(self, requests: Sequence[Request]) -> list[list[Encoding]]:
        """Return what each question is run on: its ids, and `pixel_values` (n, 3, side, side) float32."""
        return [[self._encoding(prompt, request) for prompt in self._prompts(request)] for request in requests]

    def _encoding(self, prompt: Prompt, request: Request) -> Encoding:
        pixels = normalise(self._pixels(request.images)).contiguous().numpy()
        return Encoding(ids=np.array(prompt.ids, dtype=np.int64), inputs={"pixel_values": pixels})

    def _prompts(self, request: Request) -> list[Prompt]:
        return [self._prompt(question, len(request.images), request.placement) for question in request.questions]

    def _pixels(self, images: Sequence[RgbImage]) -> torch.Tensor:
        """Return (n, side, side, 3) uint8."""
        side = self.model.config.vision.side
        return torch.from_numpy(np.stack([squeeze(image, side) for image in images]))

    def _run(self, requests: Sequence[Request]) -> Iterator[torch.Tensor]:
        """Yield (vocabulary,) float32 logits on the CPU, for each question of each request in order."""
        work = _work(requests, [self._prompts(request) for request in requests], self.model)
        features: dict[str, torch.Tensor] = {}
        for begin, end in self._chunks(work.rows):
            rows = work.rows[begin:end]
            try:
                yield from self._logits(rows, work.images, features)
            except torch.OutOfMemoryError as error:
                raise BackendError(
                    f"{end - begin} rows of up to {max(row.length for row in rows)} tokens do not fit into the memory "
                    f"beside the model; load it with a smaller tokens_at_once or vision_chunk"
                ) from error
            later = {key for row in work.rows[end:] for key in row.images}
            for key in features.keys() - later:
                del features[key]

    def _chunks(self, rows: Sequence[Row]) -> Iterator[tuple[int, int]]:
        begin, longest = 0, 0
        for index, row in enumerate(rows):
            longest = max(longest, row.length)
            if index > begin and (index - begin + 1) * longest > self._tokens_at_once:
                yield begin, index
                begin, longest = index, row.length
        if rows:
            yield begin, len(rows)

    @torch.inference_mode()
    def _logits(
        self, rows: Sequence[Row], images: Mapping[str, RgbImage], features: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        """Return (prompts, vocabulary) float32 on the CPU; images that are not in `features` yet are added."""
        shown = [key for row in rows for key in row.images]
        new = [key for key in dict.fromkeys(shown) if key not in features]
        for begin in range(0, len(new), self._vision_chunk):
            keys = new[begin : begin + self._vision_chunk]
            features.update(zip(keys, self.model.encode(self._pixels([images[key] for key in keys])), strict=True))
        return self.model.last_logits(batch_of(rows, self._pad), [features[key] for key in shown]).cpu()


@dataclass(frozen=True, slots=True)
class _Work:
    """All that a call has to compute.

    Attributes:
        rows: In the order of the requests.
        images: The distinct images by their digest.
    """

    rows: list[Row]
    images: dict[str, RgbImage]


def _work(requests: Sequence[Request], prompts: Sequence[Sequence[Prompt]], model: Model) -> _Work:
    pictures = {id(image): image for request in requests for image in request.images}
    names = {key: digest(image) for key, image in pictures.items()}
    rows = [
        rows_of(asked, [names[id(image)] for image in request.images], model.config.stretch)
        for request, asked in zip(requests, prompts, strict=True)
    ]
    return _Work(rows=list(chain(*rows)), images={names[key]: image for key, image in pictures.items()})
