"""mPLUG-Owl3 as a backend: every image is encoded once a call, and questions about the same images share a row."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from qdebias.backends.base import Encoding, Fingerprint, OptionLogits, TopLogits
from qdebias.backends.finite import finite
from qdebias.backends.mplug_owl3.cutting import Crops, cut_mode
from qdebias.backends.mplug_owl3.model import Model
from qdebias.backends.mplug_owl3.processor import Processor, Prompt
from qdebias.backends.mplug_owl3.rows import CropKey, batch_of, rows_of
from qdebias.backends.tokens import option_tokens
from qdebias.backends.top import embedded_rows, mean_vectors, top_of
from qdebias.equations import FloatArray
from qdebias.errors import BackendError, SettingError
from qdebias.image import digest
from qdebias.prompts import Request

Memory = Mapping[int, torch.Tensor]
"""What hyper layers keep of one crop, see `Model.remember`."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MplugOwl3Backend:
    """A loaded mPLUG-Owl3; make one with `load_mplug_owl3`.

    Attributes:
        model: Filled with weights.
        processor: Cuts images and writes prompts.
        fingerprint: What made the answers.
        vision_chunk: How many crops are encoded at a time.
        crops_at_once: Requests are run together while their rows hold no more crops than this, at least one at a time.
    """

    model: Model
    processor: Processor
    fingerprint: Fingerprint
    vision_chunk: int
    crops_at_once: int

    def __post_init__(self) -> None:
        if self.vision_chunk < 1 or self.crops_at_once < 1:
            raise SettingError(
                f"vision_chunk and crops_at_once must be 1 or more, got {self.vision_chunk} and {self.crops_at_once}"
            )

    def with_cut(self, cut: str) -> "MplugOwl3Backend":
        """Return the same model, not loaded again, with another cut mode.

        Raises:
            SettingError: There is no such mode, or it belongs to the other release.
        """
        mode = cut_mode(cut, self.processor.release)
        identity = {**self.fingerprint.identity, "cut": mode.name}
        return replace(
            self,
            processor=replace(self.processor, cut=mode),
            fingerprint=replace(self.fingerprint, identity=identity),
        )

    def option_logits(self, requests: Sequence[Request]) -> OptionLogits:
        """Return the logits of every option, see `Backend.option_logits`."""
        prepared = self._prepare(requests)
        tokens = [
            [
                list(option_tokens(self.processor.vocabulary, prompt.ids, question))
                for prompt, question in zip(item.prompts, request.questions, strict=True)
            ]
            for item, request in zip(prepared.items, requests, strict=True)
        ]
        return [
            [finite(row[chosen]) for row, chosen in zip(logits, tokens[index], strict=True)]
            for index, logits in self._run(prepared)
        ]

    def last_logits(self, requests: Sequence[Request]) -> OptionLogits:
        """Return the (vocabulary,) logits from which the options of each question are read."""
        return [[finite(row) for row in logits] for _, logits in self._run(self._prepare(requests))]

    def top_logits(self, requests: Sequence[Request], k: int) -> list[list[TopLogits]]:
        """Return the k tokens with the largest logits, see `OpenVocabulary`; padding rows are none."""
        decode, size = self.processor.vocabulary.decode, len(self.processor.vocabulary)
        return [[top_of(logits[:size], k, decode) for logits in answer] for answer in self.last_logits(requests)]

    def word_vectors(self, words: Sequence[str | int]) -> FloatArray:
        """Return (n, d) input embeddings of words, see `OpenVocabulary`."""
        embedding = self.model.language_model.model.embed_tokens
        return mean_vectors(words, self.processor.vocabulary.encode, embedded_rows(embedding))

    def encode(self, requests: Sequence[Request]) -> list[list[Encoding]]:
        """Return what each question is run on.

        The inputs are `pixel_values`, (n, 3, side, side) float32 in [-1, 1], of the crops that have a marker, and
        `media_offset` as the official model of this release takes it. The stock processor of 240728 hands over all
        crops; those without a marker are never read.
        """
        prepared = self._prepare(requests)
        return [[self._encoding(prompt, prepared, item.crops) for prompt in item.prompts] for item in prepared.items]

    def _prepare(self, requests: Sequence[Request]) -> "_Prepared":
        names: dict[int, str] = {}
        crops: dict[str, Crops] = {}
        items = []
        for request in requests:
            for image in request.images:
                if id(image) not in names:
                    names[id(image)] = digest(image)
            keys = [names[id(image)] for image in request.images]
            for key, image in zip(keys, request.images, strict=True):
                if key not in crops:
                    crops[key] = self.processor.crops(image)
            items.append(self._item(request, keys, crops))
        return _Prepared(items=items, crops=crops)

    def _item(self, request: Request, keys: Sequence[str], crops: Mapping[str, Crops]) -> "_Item":
        grids = [crops[key].grid for key in keys]
        prompts = [self.processor.question_prompt(question, grids, request.placement) for question in request.questions]
        shown = [(key, place) for key in keys for place in range(len(crops[key].pixels))]
        return _Item(prompts=prompts, crops=shown[: len(prompts[0].starts)])

    def _encoding(self, prompt: Prompt, prepared: "_Prepared", keys: Sequence[CropKey]) -> Encoding:
        pixels = np.stack([prepared.pixels(key) for key in keys])
        offset = self.processor.release.media_offset(prompt.starts, len(prompt.ids))
        return Encoding(
            ids=np.array(prompt.ids, dtype=np.int64),
            inputs={
                "pixel_values": (pixels.astype(np.float32) / np.float32(255) - np.float32(0.5)) / np.float32(0.5),
                "media_offset": np.array(offset, dtype=np.int64),
            },
        )

    @torch.inference_mode()
    def _run(self, prepared: "_Prepared") -> Iterator[tuple[int, torch.Tensor]]:
        """Yield for each request its index and (questions, vocabulary) float32 logits on the CPU."""
        memory: dict[CropKey, Memory] = {}
        for begin, end in self._chunks(prepared.items):
            items = prepared.items[begin:end]
            with self._enough_memory():
                self._remember(memory, prepared, items)
                logits = self._logits(items, memory).cpu()
            parts = logits.split([len(item.prompts) for item in items])
            yield from zip(range(begin, end), parts, strict=True)
            later = {key for item in prepared.items[end:] for key in item.crops}
            for key in memory.keys() - later:
                del memory[key]

    def _chunks(self, items: Sequence["_Item"]) -> Iterator[tuple[int, int]]:
        begin, held = 0, 0
        for index, item in enumerate(items):
            if index > begin and held + len(item.crops) > self.crops_at_once:
                yield begin, index
                begin, held = index, 0
            held += len(item.crops)
        if items:
            yield begin, len(items)

    def _remember(self, memory: dict[CropKey, Memory], prepared: "_Prepared", items: Sequence["_Item"]) -> None:
        """Encode the crops that are not in memory yet, each once."""
        new = list(dict.fromkeys(key for item in items for key in item.crops if key not in memory))
        if new:
            pixels = torch.from_numpy(np.stack([prepared.pixels(key) for key in new]))
            memory.update(zip(new, self.model.remember(pixels, self.vision_chunk), strict=True))

    def _logits(self, items: Sequence["_Item"], memory: Mapping[CropKey, Memory]) -> torch.Tensor:
        rows = [row for item in items for row in rows_of(item.prompts, item.crops)]
        batch = batch_of(rows, pad=self.processor.vocabulary.pad, lag=self.processor.release.lag)
        return self.model.last_logits(batch, [[memory[key] for key in row.crops] for row in rows])

    @contextmanager
    def _enough_memory(self) -> Iterator[None]:
        try:
            yield
        except torch.OutOfMemoryError as error:
            raise BackendError(
                f"the device has too little memory for {self.crops_at_once} crops at once, {self.vision_chunk} of them "
                f"in the vision encoder; lower crops_at_once or vision_chunk, or the batch"
            ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class _Item:
    """One request: a prompt for each question, and the crops that all of them show."""

    prompts: list[Prompt]
    crops: list[CropKey]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    items: list[_Item]
    crops: dict[str, Crops]

    def pixels(self, key: CropKey) -> npt.NDArray[np.uint8]:
        """Return (3, side, side) uint8."""
        name, place = key
        pixels: npt.NDArray[np.uint8] = self.crops[name].pixels[place]
        return pixels
