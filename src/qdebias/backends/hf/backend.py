"""Any image-and-text model of transformers as a backend, through its own processor and chat template.

The plain way runs one forward pass for each question. It works with every model, and the shared way is checked against
it: for models of a known `Family` each image is encoded once, the common beginning of prompts is run once, and rows of
equal shape run as a batch, with the same logits.
"""

import inspect
import logging
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property, lru_cache, partial
from types import SimpleNamespace
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from qdebias.backends.base import Fingerprint, OptionLogits, TopLogits
from qdebias.backends.hf import Model, Processor
from qdebias.backends.hf.devices import AtOnce, OutOfMemoryError, memory_of, moved
from qdebias.backends.hf.families import Family
from qdebias.backends.hf.images import SharedImages, joined
from qdebias.backends.hf.prompts import RENDER, Prompt, check_ids, render, without_ending
from qdebias.backends.hf.rows import Prepared, Row, batch_of, grow, rows_of
from qdebias.backends.prompt import WINDOW, Form, option_tokens
from qdebias.backends.top import mean_vectors, top_of
from qdebias.equations import FloatArray
from qdebias.errors import BackendError, ImageError, PromptError, first_line
from qdebias.prompts import Question, Request, StateQuestion, refuse_special_tokens

Logits: TypeAlias = npt.NDArray[np.float32]

LEAST = 0.05
"""The order of images matters if swapping two changes the logits by this share of the change by replacing one."""

_TILE = 24
"""A tile beside the prompt counts as this many tokens, for the memory that its features take."""

_log = logging.getLogger(__name__)


class HfBackend:
    """A model and its processor; `qdebias.backends.hf.loading.load_hf` makes one from a checkpoint.

    The model is on its device and in evaluation mode. Without a `family` each question runs alone. With one, up to
    `tokens_at_once` tokens share a forward pass and up to `images_at_once` images of equal shape are encoded together;
    None fits the device. With `alone` no two requests share a forward pass.
    """

    def __init__(
        self,
        *,
        model: Model,
        processor: Processor,
        fingerprint: Fingerprint,
        family: Family | None = None,
        tokens_at_once: int | None = None,
        images_at_once: int | None = None,
        alone: bool = False,
    ) -> None:
        self.model = model
        self.fingerprint = fingerprint
        self._processor = processor
        self._family = family
        self._joins = not alone
        if family is not None:
            small, text = model.device.type == "cpu", model.config.get_text_config()  # more at once is no faster there
            linear = (part for part in model.get_decoder().modules() if isinstance(part, torch.nn.Linear))
            heads, head = text.num_attention_heads, getattr(text, "head_dim", None)
            # multiplications of the language model for a token, and for the attention between two tokens
            self.token_cost: int = sum(part.weight.numel() for part in linear)
            self.pair_cost: int = 2 * text.num_hidden_layers * heads * (head or text.hidden_size // heads)
            self._pairs = self.token_cost / self.pair_cost
            self._tokens = AtOnce(1 if alone else tokens_at_once or (2048 if small else 16384), "tokens")
            self._images = AtOnce(images_at_once or (1 if small else 16), "images")
        added: Mapping[int, Any] = getattr(processor.tokenizer, "added_tokens_decoder", {})
        self._special = [token.content for token in added.values() if token.special]
        encode, decode = processor.tokenizer.encode, processor.tokenizer.decode
        self._tokenizer: Any = SimpleNamespace(  # nothing added, nothing left out, nothing tidied
            encode=partial(encode, add_special_tokens=False),
            decode=partial(decode, skip_special_tokens=False, clean_up_tokenization_spaces=False),
        )
        self._option_tokens = lru_cache(maxsize=1024)(partial(option_tokens, self._tokenizer))
        self._prompts: dict[Form, Prompt] = {}
        self.image_token: int | None = None  # which stands for an image; None: images are marked in words
        if not getattr(processor, "marks_images", False):
            names = ("image_token_id", "image_token_index")
            known = (getattr(owner, name, None) for owner in (model.config, processor) for name in names)
            self.image_token = next((token for token in known if isinstance(token, int)), None)
            if self.image_token is None:
                kind = model.config.model_type
                raise BackendError(f"models of type {kind!r} do not say which token stands for an image")

    def plain(self) -> "HfBackend":
        """Return the same model, not loaded again, running every question alone: what sharing is checked against."""
        other = copy(self)
        other._family = None
        return other

    def prepare(
        self, request: Request, *, processor: Processor = None, pictures: Sequence[Image.Image] | None = None
    ) -> list[Prepared]:
        """Return every question of a request, ready to be run; refuse a prompt that is not the requested one.

        `processor` replaces the model's own and must give the same ids; `pictures` are the images of the request.
        """
        pictures = pictures or [Image.fromarray(image) for image in request.images]
        sizes = " and ".join(f"{image.shape[1]} x {image.shape[0]}" for image in request.images)
        longest = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        found = []
        for question in request.questions:
            form = Form(question=question, placement=request.placement, images=len(request.images))
            if form not in self._prompts:
                refuse_special_tokens(question, self._special)
                self._prompts[form] = RENDER.get(self.model.config.model_type, render)(self._processor, form)
            prompt = self._prompts[form]
            try:
                inputs = (processor or self._processor)(
                    images=[list(pictures)], text=[prompt.text], return_tensors="pt", **prompt.options
                )
                if "suffix" in prompt.options:
                    inputs = without_ending(inputs, self._tokenizer, *prompt.options["suffix"] or [""])
            except UnicodeEncodeError as error:
                raise PromptError(
                    f"the question {question.text!r} is not Unicode text ({error}); correct it"
                ) from error
            except ValueError as error:
                raise ImageError(f"the model's processor refuses images of {sizes}: {first_line(error)}") from error
            ids = cast(list[int], inputs["input_ids"][0].tolist())
            if self.image_token is None:
                shown = inputs["mm_token_type_ids"][0] == 1
            else:
                shown = inputs["input_ids"][0] == self.image_token
            check_ids(self._tokenizer, ids, shown.nonzero()[:, 0].tolist(), prompt, form)
            if longest is not None and len(ids) > longest:
                raise ImageError(
                    f"images of {sizes} become a prompt of {len(ids)} tokens, but this model reads at most "
                    f"{longest}; make the images smaller, or limit max_pixels where the model has it"
                )
            found.append(Prepared(ids, inputs, shown, prompt.lead))
        return found

    def option_logits(self, requests: Sequence[Request]) -> OptionLogits:
        """Return the logits of every option, see `Backend.option_logits`."""
        if not any(isinstance(question, StateQuestion) for request in requests for question in request.questions):
            return self._logits(requests)
        if hasattr(self.model, "image_features"):
            return self._with_image_features(requests)
        # The head gives each hidden state behind the logits that it reads from it. What a model does to all logits in
        # the end, such as a soft cap, it then does to the states as well.
        with self.model.get_output_embeddings().register_forward_hook(
            lambda _, read, logits: torch.cat([logits, read[0].to(logits.dtype)], dim=-1)
        ):
            return self._logits(requests)

    def _with_image_features(self, requests: Sequence[Request]) -> OptionLogits:
        """Return the answers; a state holds the features of the last image, which say more than a hidden state."""
        rest_of = []
        for request in requests:
            others = tuple(question for question in request.questions if not isinstance(question, StateQuestion))
            rest_of += [replace(request, questions=others)] if others else []
        rest = (logits for answer in self._logits(rest_of) for logits in answer)
        known = dict[int, FloatArray]()
        for request in requests:
            image = request.images[-1]
            if id(image) in known or not any(isinstance(question, StateQuestion) for question in request.questions):
                continue
            made = self._processor.image_processor([Image.fromarray(image)], return_tensors="pt")
            with torch.inference_mode():
                (features,) = self.model.image_features(made["pixel_values"].to(self.model.device))
            known[id(image)] = np.asarray(features.double().cpu().numpy())
        return [
            [
                known[id(request.images[-1])] if isinstance(question, StateQuestion) else next(rest)
                for question in request.questions
            ]
            for request in requests
        ]

    @property
    def state_size(self) -> int:
        """How many numbers answer a `StateQuestion`, see `TellsStates`."""
        if hasattr(self.model, "image_features"):
            return int(self.model.image_features_size)
        return int(self.model.get_output_embeddings().in_features)

    def last_logits(self, requests: Sequence[Request]) -> OptionLogits:
        """Return the (vocabulary,) logits from which the options of each question are read."""
        return self._logits(requests, options=False)

    def top_logits(self, requests: Sequence[Request], k: int) -> list[list[TopLogits]]:
        """Return the k tokens with the largest logits, see `OpenVocabulary`; padding rows of the head do not count."""
        decode, words = self._tokenizer.decode, getattr(self._processor, "words", None)
        return [[top_of(logits[:words], k, decode) for logits in answer] for answer in self.last_logits(requests)]

    def word_vectors(self, words: Sequence[str | int]) -> FloatArray:
        """Return (n, d) input embeddings of words, see `OpenVocabulary`."""
        return mean_vectors(words, self._tokenizer.encode, self.model.get_input_embeddings().weight)

    def _logits(self, requests: Sequence[Request], *, options: bool = True) -> OptionLogits:
        """Return the logits of the options of every question, or of the whole vocabulary."""
        family, images, prepare = self._family, None, self.prepare
        if family is not None:
            processor = copy(self._processor)
            images = SharedImages(self.model, processor.image_processor, family, self._images)
            processor.image_processor = images
            prepare = partial(self.prepare, processor=processor)
        logits, rows, wanted = list[Logits](), list[Row](), list[list[list[int] | slice]]()
        for request in requests:
            prepared, keys = images.prepare(prepare, request) if images else (prepare(request), ())
            wanted.append([])
            for prompt, question in zip(prepared, request.questions, strict=True):
                if not options:
                    wanted[-1].append(slice(None))
                elif isinstance(question, StateQuestion):
                    wanted[-1].append(slice(int(self.model.get_output_embeddings().out_features), None))
                else:
                    wanted[-1].append(list(self._option_tokens(tuple(prompt.ids[-WINDOW:]), question, prompt.lead)))
            if family is None or images is None:
                logits += [self._forward(prompt.inputs)[0, 0] for prompt in prepared]
            else:  # encoded after the options are checked, so that nothing is computed for refused ones
                rows += rows_of(prepared, keys, self.model if family.prefix else None)
                images.encode(least=self._images.size)
        if images is not None:
            images.encode()
            logits = self._run(rows, images)
        each = iter(logits)
        return [[np.asarray(next(each)[places], dtype=np.float64) for places in group] for group in wanted]

    def _run(self, rows: Sequence[Row], images: SharedImages) -> list[Logits]:
        """Return the (vocabulary,) logits of every prompt of every row, in order."""

        def run(group: Sequence[Row]) -> list[Logits]:
            inputs = batch_of(group, self.model.config.get_text_config(), self.model.dtype)
            shown = [images.features[key] for row in group for key in row.images]
            features = images.family.insert({name: joined([one[name] for one in shown]) for name in shown[0]})
            return list(self._forward({**inputs, **features, "use_cache": False}, group[0].reads))

        trees = grow(rows, images.sizes if self._joins else {}, pairs=self._pairs)
        packed, tile = [row for _, row in trees], _TILE if images.family.tiles else 0
        sizes = [len(row.branches) + tile * len(row.images) for row in packed]
        shapes = [
            (
                row.parents,
                row.reads,
                len(row.images),
                *row.branches.tolist(),
                *(one.shape for one in row.arrays.values()),
            )
            for row in packed
        ]
        try:
            answers = self._tokens.run(packed, run, shapes=shapes, sizes=sizes)
        except OutOfMemoryError:
            if len(trees) == len(rows):
                raise
            _log.warning("not enough memory: from now on requests about the same image are run apart")
            self._joins = False
            return self._run(rows, images)
        found: dict[int, list[Logits]] = {}
        for (places, _), logits in zip(trees, answers, strict=True):
            reads = iter(logits)
            found |= {place: [next(reads) for _ in rows[place].reads] for place in places}
        return [logits for place in range(len(rows)) for logits in found[place]]

    @cached_property
    def _picks(self) -> bool:
        """Whether the model computes logits at chosen positions; others compute those of all."""
        return "logits_to_keep" in inspect.signature(type(self.model).forward).parameters

    def _forward(self, inputs: Mapping[str, Any], reads: Sequence[int] = (-1,)) -> Logits:
        """Return the (rows, positions, vocabulary) logits at some positions, the same in each row."""
        model, places, kept = self.model, list(reads), dict[str, Any]()
        if self._picks:
            kept = {"logits_to_keep": 1 if places == [-1] else torch.tensor(places, device=model.device)}
        try:
            with memory_of(model.device), torch.inference_mode():
                found = model(**{name: moved(model, value) for name, value in inputs.items()}, **kept).logits
                found = found if self._picks else found[:, places]
                logits = np.asarray(found.float().cpu().numpy(), dtype=np.float32)
        except ValueError as error:
            raise PromptError(
                f"the model refuses the prompt that its own processor made: {first_line(error)}"
            ) from error
        if np.isnan(logits).any() or np.isposinf(logits).any():
            raise BackendError(
                f"the model's logits are not finite (NaN or infinity) in {model.dtype}; "
                f"load it with dtype='bfloat16' or dtype='float32'"
            )
        return logits


class CuttingBackend(HfBackend):
    """A backend whose processor cuts images; methods choose how."""

    def with_cut(self, cut: str) -> "CuttingBackend":
        """Return the same model, not loaded again, with another cut mode in its identity."""
        other = copy(self)
        other._processor = self._processor.with_cut(cut)
        identity = {**self.fingerprint.identity, "cut": other._processor.identity["cut"]}
        other.fingerprint = replace(self.fingerprint, identity=identity)
        return other


def remember_order(backend: HfBackend) -> None:
    """Warn where the order of images carries no weight, and write that into the identity of the backend."""
    try:
        share = swapped_share(backend)
    except PromptError:  # one image a prompt: there is no order
        return
    if share < LEAST:
        _log.warning(
            "swapping two images changes the answer of this model by %.1f %% of what replacing one does: it hardly "
            "knows which is the first, so methods that show two images, and rank, say little with it; take another "
            "model",
            100 * share,
        )
        known = backend.fingerprint
        backend.fingerprint = replace(known, identity={**known.identity, "image_order": "carries no weight"})


def swapped_share(backend: HfBackend) -> float:
    """Return how much swapping two images changes the logits, as a share of what replacing one of them does."""
    rows, columns = np.mgrid[0:224, 0:224]
    pictures = []
    for width in (64, 8, 23):
        bright = 64 + 128 * ((columns + rows // 2) // width % 2)
        pictures.append(np.stack([bright, 255 - bright, np.full_like(bright, 96)], axis=-1).astype(np.uint8))
    broad, narrow, steep = pictures
    question = Question(
        text="Is the second image sharper than the first one?", options=("Yes", "No"), values=(1.0, 0.0)
    )
    original, swapped, replaced = (
        backend.last_logits([Request(images=images, questions=(question,))])[0][0]
        for images in ((broad, narrow), (narrow, broad), (broad, steep))
    )
    return float(np.abs(original - swapped).max() / max(float(np.abs(original - replaced).max()), 1e-12))
