"""Floating-point operations of a way to answer, as counted, and the least that any exact way needs."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from qdebias.backends.hf import Model, Processor
from qdebias.backends.hf.devices import AtOnce
from qdebias.backends.hf.families import Family
from qdebias.backends.hf.forward import Preparer, places_of
from qdebias.backends.hf.images import SharedImages
from qdebias.backends.hf.rows import Row, TokenCost, grow, join, rows_of
from qdebias.prompts import Request


def count(run: Callable[[], object]) -> int:
    """Return the operations in the matrix products, convolutions and attention of a run, 2 for a multiply-add."""
    attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    with FlopCounterMode(display=False, custom_mapping={attention: _attention}) as counter:
        run()
    return int(counter.get_total_flops())


def _attention(query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: object, **__: object) -> int:
    """Count scores and weighted sums over all pairs of tokens, hidden ones too, as torch counts other kernels."""
    return 2 * query[0] * query[1] * query[2] * key[2] * (query[3] + value[3])


def floor(model: Model, processor: Processor, family: Family, requests: Sequence[Request]) -> int:
    """Return what no exact way can do without: each image encoded once, each beginning run once.

    Encoding is counted on each image; the language model's part is computed from its shape. Attention is taken over
    whole blocks, as `count` does: a beginning with itself, the rest of each prompt with what it continues.
    """
    images = SharedImages(model, processor, family, AtOnce(1, "images"))
    preparer = Preparer(model, processor)
    rows: list[Row] = []
    for request in requests:
        prepared = preparer.prepare(request, processor=images.processor, pictures=images.pictures(request))
        positions = _places if family.prefix else None
        inputs = [one.inputs for one in prepared]
        keys = images.keys(request, int(places_of(inputs[0], preparer.image_token).sum()))
        rows += rows_of(inputs, keys, preparer.image_token, positions)
    encoding = count(images.encode)
    trees = grow(rows, images.sizes, image_token=preparer.image_token, pairs=math.inf)
    return encoding + sum(_language(model, join(rows, tree)) for tree in trees)


def _places(inputs: Mapping[str, Any]) -> torch.Tensor:
    return torch.arange(inputs["input_ids"].shape[1])[None]


def _language(model: Model, row: Row) -> int:
    """Return the operations for every branch of a row, each with what it continues, and for its last logits."""
    lengths: list[int] = row.branches.bincount(minlength=len(row.parents)).tolist()
    ends = [lengths[0]]
    for branch in range(1, len(lengths)):
        ends.append(ends[row.parents[branch]] + lengths[branch])
    pairs = sum(length * end for length, end in zip(lengths, ends, strict=True))
    cost = TokenCost.of(model)
    head: int = len(row.reads) * model.get_output_embeddings().weight.numel()
    return 2 * (cost.token * len(row.branches) + cost.pair * pairs + head)
