"""Questions of one call answered together: images encoded once, common beginnings run once, equal rows as a batch."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any, cast

import numpy as np
import torch

from qdebias.backends.base import OptionLogits
from qdebias.backends.hf import Model, Processor
from qdebias.backends.hf.devices import AtOnce, OutOfMemoryError
from qdebias.backends.hf.families import Family
from qdebias.backends.hf.forward import Forward, Logits, Pick, Preparer, places_of
from qdebias.backends.hf.images import SharedImages
from qdebias.backends.hf.rows import Row, TokenCost, Tree, alone, batch_of, grow, join, rows_of
from qdebias.errors import SettingError
from qdebias.prompts import Request

_log = logging.getLogger(__name__)

TILE = 24
"""As how many tokens a tile counts that stands beside the prompt: what is kept of it takes memory too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """What the questions of one call may share.

    Attributes:
        family: What the model allows.
        tokens: How many tokens may be in one forward pass of several rows.
        images: How many images of equal shape may be encoded together.
        alone: Whether only questions of one request may be in a forward pass.
    """

    family: Family
    tokens: int
    images: int
    alone: bool = False


SHARED: Mapping[str, Callable[[Family], Family | None]] = {
    "all": lambda family: family,
    "images": lambda family: replace(family, prefix=False),
    "off": lambda _: None,
}


def sharing_named(
    name: str, device: torch.device, tokens: int | None = None, images: int | None = None, *, alone: bool = False
) -> Callable[[Family | None], Sharing | None]:
    """Return what a model of a family shares.

    Args:
        name: "all", "images" or "off".
        device: On a CPU, where more at once is no faster, little is run together.
        tokens: See `Sharing`; None fits the device.
        images: See `Sharing`; None fits the device.
        alone: See `Sharing`.

    Raises:
        SettingError: A value is impossible.
    """
    if name not in SHARED:
        raise SettingError(f"sharing {name!r} is unknown; use one of {', '.join(SHARED)}")
    small = device.type == "cpu"
    tokens, images = tokens or (2048 if small else 16384), images or (1 if small else 16)
    if tokens < 1 or images < 1:
        raise SettingError(f"tokens_at_once and images_at_once must be 1 or more, got {tokens} and {images}")

    def share(family: Family | None) -> Sharing | None:
        allowed = SHARED[name](family) if family else None
        return Sharing(family=allowed, tokens=tokens, images=images, alone=alone) if allowed else None

    return share


class SharedRuns:
    """Answers questions together."""

    def __init__(self, model: Model, processor: Processor, preparer: Preparer, sharing: Sharing) -> None:
        self._model = model
        self._processor = processor
        self._preparer = preparer
        self._family = sharing.family
        self._forward = Forward(model)
        self._pairs = TokenCost.of(model).pairs
        self._joins = not sharing.alone
        self._tokens = AtOnce(1 if sharing.alone else sharing.tokens, "tokens")
        self._images = AtOnce(sharing.images, "images")

    def __call__(self, requests: Sequence[Request], pick: Pick) -> OptionLogits:
        """Return the wanted logits of every question of every request."""
        images = SharedImages(self._model, self._processor, self._family, self._images)
        rows: list[Row] = []
        picks = []
        for request in requests:
            prepared = self._preparer.prepare(request, processor=images.processor, pictures=images.pictures(request))
            picks.append([pick(one, question) for one, question in zip(prepared, request.questions, strict=True)])
            inputs = [one.inputs for one in prepared]
            positions = self._positions if self._family.prefix else None
            count = int(places_of(inputs[0], self._preparer.image_token).sum())
            rows += rows_of(inputs, images.keys(request, count), self._preparer.image_token, positions)
            images.encode(least=self._images.size)
        images.encode()
        answers = self._answers(rows, images)
        return [[np.asarray(next(answers)[wanted], dtype=np.float64) for wanted in group] for group in picks]

    def _answers(self, rows: Sequence[Row], images: SharedImages) -> Iterator[Logits]:
        """Yield the (vocabulary,) logits of every prompt of every row, in order."""
        trees = self._trees(rows, images)
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
            found |= {place: list(islice(reads, len(rows[place].reads))) for place in tree.rows}
        return (logits for place in range(len(rows)) for logits in found[place])

    def _trees(self, rows: Sequence[Row], images: SharedImages) -> list[Tree]:
        if not self._joins:
            return alone(rows)
        return grow(rows, images.sizes, image_token=self._preparer.image_token, pairs=self._pairs)

    def _run(self, rows: Sequence[Row], images: SharedImages) -> list[Logits]:
        """Return the (prompts, vocabulary) logits of each row; rows of equal shape are run together."""
        alike: dict[tuple[object, ...], list[int]] = {}
        for index, row in enumerate(rows):
            alike.setdefault(row.shape, []).append(index)
        found: dict[int, Logits] = {}
        for indices in alike.values():
            group = [rows[index] for index in indices]
            size = len(group[0].branches) + (TILE * len(group[0].images) if self._family.tiles else 0)
            answers = self._tokens.run(group, partial(self._batch, images), size_of_one=size)
            found |= dict(zip(indices, answers, strict=True))
        return [found[index] for index in range(len(rows))]

    def _batch(self, images: SharedImages, rows: Sequence[Row]) -> list[Logits]:
        """Return the (prompts, vocabulary) logits of each row."""
        inputs = batch_of(rows, self._model.config.get_text_config(), self._model.dtype)
        features = images.insert([key for row in rows for key in row.images])
        return list(self._forward({**inputs, **features, "use_cache": False}, rows[0].reads))

    def _positions(self, inputs: Mapping[str, Any]) -> torch.Tensor:
        """Return the position ids of a prompt, (..., 1, L)."""
        count = getattr(self._model.base_model, "get_rope_index", None)
        if count is None:
            return torch.arange(inputs["input_ids"].shape[1])[None]
        names = ("input_ids", "mm_token_type_ids", "image_grid_thw", "attention_mask")
        return cast(torch.Tensor, count(**{name: inputs[name] for name in names if name in inputs})[0])
