"""Floating-point operations of a way to answer, as counted, and the least that any exact way needs."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from qdebias.backends.families import Family
from qdebias.backends.hf_prepare import Preparer
from qdebias.backends.hf_types import Model, Processor
from qdebias.backends.sharing_images import SharedImages
from qdebias.backends.sharing_memory import AtOnce
from qdebias.backends.sharing_rows import rows_of
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
    prepared = [
        preparer.prepare(request, processor=images.processor, pictures=images.pictures(request)) for request in requests
    ]
    encoding = count(images.encode)
    language = 0
    for request, group in zip(requests, prepared, strict=True):
        prompts = [one.inputs for one in group]
        shown = images.keys(request)
        for row in rows_of(prompts, shown, preparer.image_token, _no_positions if family.prefix else None):
            beginning = int((row.branches == 0).sum())
            ends = [beginning, *(read + 1 for read in row.reads)]
            rests = [after - before for before, after in pairwise(ends)]
            language += _language(model, beginning, rests)
    return encoding + language


def _no_positions(inputs: Mapping[str, Any]) -> torch.Tensor:
    return torch.arange(inputs["input_ids"].shape[1])[None]


def _language(model: Model, beginning: int, rests: Sequence[int]) -> int:
    """Return the operations for a beginning and the rests that follow it, each on its own, and their last logits."""
    config = model.config.get_text_config()
    width: int = config.num_attention_heads * (
        getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    )
    parts = [part for part in model.get_decoder().modules() if isinstance(part, torch.nn.Linear)]
    linear = sum(part.weight.numel() for part in parts)
    pairs = beginning**2 + sum(rest * (beginning + rest) for rest in rests)
    head: int = len(rests) * model.get_output_embeddings().weight.numel()
    layers: int = config.num_hidden_layers
    return 2 * linear * (beginning + sum(rests)) + 4 * layers * width * pairs + 2 * head
