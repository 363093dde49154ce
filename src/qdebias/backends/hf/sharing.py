"""Questions of one call answered together: images encoded once, common beginnings run once, equal rows as a batch."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch

from qdebias.backends.base import OptionLogits
from qdebias.backends.hf import Model, Processor
from qdebias.backends.hf.devices import AtOnce, OutOfMemoryError
from qdebias.backends.hf.families import Family
from qdebias.backends.hf.forward import Forward, Logits, Pick, Preparer, places_of
from qdebias.backends.hf.images import SharedImages
from qdebias.backends.hf.rows import Row, batch_of, grow, join, rows_of, token_cost
from qdebias.errors import SettingError
from qdebias.prompts import Request

_log = logging.getLogger(__name__)

_TILE = 24
"""As how many tokens a tile counts that stands beside the prompt: what is kept of it takes memory too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """What the questions of one call may share."""

    family: Family  # what the model allows
    tokens: int  # how many may be in one forward pass of several rows
    images: int  # how many of equal shape may be encoded together
    alone: bool = False  # only questions of one request may be in a forward pass


def sharing_named(
    name: str, device: torch.device, tokens: int | None = None, images: int | None = None, *, alone: bool = False
) -> Callable[[Family | None], Sharing | None]:
    """Return what gives the sharing "all", "images" or "off" of a family; where a number is None it fits the device.

    Little is run together on a CPU, where more at once is no faster.
    """
    if name not in ("all", "images", "off"):
        raise SettingError(f"sharing {name!r} is unknown; use one of all, images, off")
    small = device.type == "cpu"
    tokens, images = tokens or (2048 if small else 16384), images or (1 if small else 16)
    if tokens < 1 or images < 1:
        raise SettingError(f"tokens_at_once and images_at_once must be 1 or more, got {tokens} and {images}")

    def share(family: Family | None) -> Sharing | None:
        if family is None or name == "off":
            return None
        allowed = replace(family, prefix=False) if name == "images" else family
        return Sharing(family=allowed, tokens=tokens, images=images, alone=alone)

    return share


class SharedRuns:
    """Answers questions together."""

    def __init__(self, model: Model, processor: Processor, preparer: Preparer, sharing: Sharing) -> None:
        self._model = model
        self._processor = processor
        self._preparer = preparer
        self._family = sharing.family
        self._forward = Forward(model)
        token, pair = token_cost(model)
        self._pairs = token / pair
        self._joins = not sharing.alone
        self._tokens = AtOnce(1 if sharing.alone else sharing.tokens, "tokens")
        self._images = AtOnce(sharing.images, "images")

    def __call__(self, requests: Sequence[Request], pick: Pick) -> OptionLogits:
        """Return the wanted logits of every question of every request."""
        images = SharedImages(self._model, self._processor, self._family, self._images)
        positions = self._positions if self._family.prefix else None
        rows: list[Row] = []
        picks = []
        for request in requests:
            prepared = self._preparer.prepare(request, processor=images.processor, pictures=images.pictures(request))
            picks.append([pick(one, question) for one, question in zip(prepared, request.questions, strict=True)])
            inputs = [one.inputs for one in prepared]
            count = int(places_of(inputs[0], self._preparer.image_token).sum())
            rows += rows_of(inputs, images.keys(request, count), self._preparer.image_token, positions)
            images.encode(least=self._images.size)
        images.encode()
        answers = self._answers(rows, images)
        return [[np.asarray(next(answers)[wanted], dtype=np.float64) for wanted in group] for group in picks]

    def _answers(self, rows: Sequence[Row], images: SharedImages) -> Iterator[Logits]:
        """Return the (vocabulary,) logits of every prompt of every row, in order."""
        sizes = images.sizes if self._joins else {}
        trees = grow(rows, sizes, image_token=self._preparer.image_token, pairs=self._pairs)
        try:
            joined = self._run([join(rows, tree) for tree in trees], images)
        except OutOfMemoryError:
            if len(trees) == len(rows):
                raise
            _log.warning("not enough memory: from now on requests about the same image are run apart")
            self._joins = False
            return self._answers(rows, images)
        found: dict[int, list[Logits]] = {}
        for tree, answers in zip(trees, joined, strict=True):
            reads = iter(answers)
            found |= {place: [next(reads) for _ in rows[place].reads] for place in tree.rows}
        return (logits for place in range(len(rows)) for logits in found[place])

    def _run(self, rows: Sequence[Row], images: SharedImages) -> list[Logits]:
        """Return the (prompts, vocabulary) logits of each row; rows of equal shape are run together."""

        def run(group: Sequence[Row]) -> list[Logits]:
            inputs = batch_of(group, self._model.config.get_text_config(), self._model.dtype)
            features = images.insert([key for row in group for key in row.images])
            return list(self._forward({**inputs, **features, "use_cache": False}, group[0].reads))

        alike: dict[tuple[object, ...], list[int]] = {}
        for index, row in enumerate(rows):
            alike.setdefault(row.shape, []).append(index)
        found: dict[int, Logits] = {}
        for indices in alike.values():
            group = [rows[index] for index in indices]
            size = len(group[0].branches) + (_TILE * len(group[0].images) if self._family.tiles else 0)
            found |= zip(indices, self._tokens.run(group, run, size_of_one=size), strict=True)
        return [found[index] for index in range(len(rows))]

    def _positions(self, inputs: Mapping[str, Any]) -> torch.Tensor:
        """Return the position ids of a prompt, (..., 1, L)."""
        count = getattr(self._model.base_model, "get_rope_index", None)
        if count is None:
            return torch.arange(inputs["input_ids"].shape[1])[None]
        names = ("input_ids", "mm_token_type_ids", "image_grid_thw", "attention_mask")
        return cast(torch.Tensor, count(**{name: inputs[name] for name in names if name in inputs})[0])
