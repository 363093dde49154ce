"""Packs prompts into rows, in which the common beginning of several prompts stands once.

A row is a tree of branches: a token attends to the tokens before it in its own branch and in the branches that lead to
it, at the positions that it has in its own prompt. Only rows of equal shape run as a batch, without padding, which
would need another mask and round differently. Attention is computed over whole rows, so rows of several requests are
joined (`grow`) only where that is less work.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, TypeAlias

import torch

from qdebias.backends.hf import Config, Model

Key: TypeAlias = tuple[int, int]
"""Number of an image in a call, and its tile; in families without tiles 1 if it was prepared as one of several."""

_PER_TOKEN = (
    *("input_ids", "attention_mask", "mm_token_type_ids", "moe_mm_token_type_ids", "token_type_ids"),
    "cross_attention_mask",
)
"""Inputs of shape (1, L, ...)."""

_PER_IMAGE = ("image_grid_thw", "target_sizes")
"""Inputs of shape (images, ...), which the forward pass needs beside the features."""

_AXES = dict.fromkeys(_PER_TOKEN, 1) | {"position_ids": -1, "shown": 0, "compared": 1} | dict.fromkeys(_PER_IMAGE, 0)
"""The axis along which each array of a row is joined."""


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """One question, ready to be run."""

    ids: list[int]  # (L,) the prompt
    inputs: Mapping[str, Any]  # the model's arguments, such as `input_ids`, with a batch axis of 1, on the CPU
    shown: torch.Tensor  # (L,) True at the tokens of images, or at the beginning of their markers
    lead: str  # white space between the prompt and its answer, see `Prompt`


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Row:
    """One or more prompts in one sequence of L tokens."""

    arrays: Mapping[str, torch.Tensor]  # the model's arguments but the images, `shown` of `Prepared`, and `compared`:
    # (1 + axes, L) the ids and the positions, which are equal where prompts have something in common
    branches: torch.Tensor  # (L,) which branch each token is of
    parents: tuple[int, ...]  # for each branch, the one that it continues; branch 0 begins the row
    reads: tuple[int, ...]  # index of the last token of each prompt
    images: tuple[Key, ...]  # the images of the row, in order


def rows_of(prompts: Sequence[Prepared], images: tuple[Key, ...], model: Model | None) -> list[Row]:
    """Return the questions about some images in as few rows as possible, in order.

    Prompts share a row if all their images lie in their common beginning. `model` counts positions; without it every
    prompt has its own row.
    """
    rows: list[Row] = []
    group: list[Row] = []
    trunk = 0
    for prompt in prompts:
        length, inputs = len(prompt.ids), prompt.inputs
        arrays = {name: inputs[name] for name in (*_PER_TOKEN, *_PER_IMAGE) if name in inputs}
        arrays["shown"] = prompt.shown
        if model is not None:  # (..., 1, L)
            count = getattr(model.base_model, "get_rope_index", None)
            names = ("input_ids", "mm_token_type_ids", "image_grid_thw", "attention_mask")
            counted = count and count(**{name: inputs[name] for name in names if name in inputs})[0]
            arrays["position_ids"] = torch.arange(length)[None] if counted is None else counted
            arrays["compared"] = torch.cat([inputs["input_ids"], arrays["position_ids"].flatten(0, -2)])
        row = Row(
            arrays=arrays,
            branches=torch.zeros(length, dtype=torch.long),
            parents=(0,),
            reads=(length - 1,),
            images=images,
        )
        common = 0
        if group and model is not None:
            end = min(trunk, length - 1)
            same = group[0].arrays["compared"][:, :end] == arrays["compared"][:, :end]
            common = int(same.all(0).cumprod(0).sum())
        if group and any(one.arrays["shown"][common:].any() for one in (*group, row)):
            rows.append(join(group, trunk, len(images)))
            group = []
        trunk = common if group else length - 1
        group.append(row)
    return [*rows, join(group, trunk, len(images))]


def join(rows: Sequence[Row], trunk: int, images: int) -> Row:
    """Join rows that begin with the same `trunk` tokens and `images` images: these, then the rest of each row."""
    first = rows[0]
    if len(rows) == 1:
        return first
    arrays: dict[str, torch.Tensor] = {}
    for name, axis in _AXES.items():
        if name in first.arrays:
            common = images if name in _PER_IMAGE else trunk
            each = [row.arrays[name] for row in rows]
            rests = [array.narrow(axis, common, array.shape[axis] - common) for array in each]
            arrays[name] = torch.cat([each[0].narrow(axis, 0, common), *rests], dim=axis)
    branches, parents, reads = [torch.zeros(trunk, dtype=torch.long)], [0], list[int]()
    start = 0
    for row in rows:  # the first branch of each grows from the trunk, the others as they did
        branches.append(row.branches[trunk:] + len(parents))
        parents += [0, *(parent + len(parents) for parent in row.parents[1:])]
        reads += [start + read for read in row.reads]
        start += len(row.branches) - trunk
    return Row(
        arrays=arrays,
        branches=torch.cat(branches),
        parents=tuple(parents),
        reads=tuple(reads),
        images=first.images[:images] + tuple(key for row in rows for key in row.images[images:]),
    )


@dataclass(slots=True, eq=False)
class _Tree:
    """Rows to be joined."""

    places: list[int]  # where they stand among all rows
    trunk: int  # how many tokens all of them begin with
    images: int  # how many images end within these
    length: int  # number of tokens of the joined row


def grow(rows: Sequence[Row], sizes: Mapping[Key, int], *, pairs: float) -> list[tuple[list[int], Row]]:
    """Join rows that begin with the same image where that is less work; return the places and the joined row of each.

    `sizes` is the number of tokens that an image takes; a row with an image of unknown size stays alone. One token
    costs as much as the attention of `pairs` pairs of tokens.
    """
    names = {key: -1 - number for number, key in enumerate(sizes)}
    trees: list[_Tree] = []
    beginnings: list[tuple[torch.Tensor, list[int]]] = []
    for place, row in enumerate(rows):
        # what it may share: ids and positions, with the image's name in place of its tokens; where each image ends
        length = min(int((row.branches == 0).sum()), row.reads[0])
        held = torch.where(row.arrays["shown"][:length])[0]
        taken = [sizes.get(key, 0) for key in row.images]
        tokens, ends = torch.empty(1, 0), list[int]()
        if "compared" in row.arrays and all(taken) and sum(taken) == len(held):
            tokens = row.arrays["compared"][:, :length].clone()
            tokens[0, held] = torch.tensor([names[key] for key in row.images]).repeat_interleave(torch.tensor(taken))
            ends = [int(held[count - 1]) + 1 for count in accumulate(taken)]
        beginnings.append((tokens, ends))
        single = _Tree([place], len(row.branches), len(row.images), len(row.branches))
        for tree in trees:
            first, ends = beginnings[tree.places[0]]
            end = min(tree.trunk, first.shape[1], tokens.shape[1])
            trunk = int((first[:, :end] == tokens[:, :end]).all(0).cumprod(0).sum())
            length = tree.length + (len(tree.places) - 1) * (tree.trunk - trunk) + single.length - trunk
            images, more_pairs = bisect_right(ends, trunk), length**2 - tree.length**2 - single.length**2
            if images and more_pairs < pairs * (tree.length + single.length - length):
                tree.places.append(place)
                tree.trunk, tree.images, tree.length = trunk, images, length
                break
        else:
            trees.append(single)
    return [(tree.places, join([rows[place] for place in tree.places], tree.trunk, tree.images)) for tree in trees]


def batch_of(rows: Sequence[Row], config: Config, dtype: torch.dtype) -> dict[str, Any]:
    """Return the arguments of the forward pass for rows of one shape, without the images.

    The mask (rows, 1, L, L) is added to the attention scores; a dictionary by kind of layer where layers differ.
    """
    first, names = rows[0], (*_PER_TOKEN, *_PER_IMAGE)
    inputs: dict[str, Any] = {
        name: torch.cat([row.arrays[name] for row in rows]) for name in names if name in first.arrays
    }
    if len(first.reads) == 1:
        return inputs
    inputs["position_ids"] = torch.cat([row.arrays["position_ids"] for row in rows], dim=-2)
    leads = torch.eye(len(first.parents), dtype=torch.bool)  # leads[a, b]: branch b is a, or leads to a
    for branch, parent in enumerate(first.parents):
        leads[branch] |= leads[parent]
    own = leads[first.branches][:, first.branches].tril()
    places = own.sum(1)  # of each token in its own prompt
    seen = own.expand(len(rows), 1, *own.shape)
    if "token_type_ids" in inputs:  # an image sees itself as a whole
        image = inputs["token_type_ids"] == 1
        starts = image & ~torch.nn.functional.pad(image, (1, 0))[:, :-1]
        block = torch.where(image, starts.cumsum(1), -1)
        seen = seen | ((block[:, None, :, None] == block[:, None, None]) & image[:, None, None])
    window, kinds = getattr(config, "sliding_window", None), getattr(config, "layer_types", None) or ()
    near = seen if window is None else seen & (places[:, None] - places < window)
    full, sliding = (
        torch.zeros(mask.shape, dtype=dtype).masked_fill(~mask, torch.finfo(dtype).min) for mask in (seen, near)
    )
    by_kind = {"full_attention": full, "sliding_attention": sliding}
    inputs["attention_mask"] = by_kind if "sliding_attention" in kinds else full if kinds else sliding
    return inputs
