"""Prompts packed into rows: what two questions have in common stands in a row once, and equal rows run as a batch.

A row holds the tokens that all its prompts begin with, and behind them the rest of each prompt at the positions that it
would have alone. A token sees the common tokens and, before it, those of its own prompt: what it would see alone. Only
rows of equal shape are batched, so that there is no padding, which would need another mask and round differently.
Rows that begin with the same images are joined in the same manner (`grow`, `join`) where that is less work. What joined
rows have in common stands once, as the trunk of a tree. After it each continues alone, and sees nothing of the
others. Attention is computed over the whole of a joined row, so that a row whose attention would cost more than its
beginning saves is left alone.
"""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from os.path import commonprefix
from typing import Any, TypeAlias

import torch

from qdebias.backends.hf import Config, Model
from qdebias.backends.hf.forward import places_of
from qdebias.backends.hf.images import Key

_PER_TOKEN = (
    *("input_ids", "attention_mask", "mm_token_type_ids", "moe_mm_token_type_ids", "token_type_ids"),
    "cross_attention_mask",
)
"""Inputs of shape (1, L, ...)."""

_PER_IMAGE = ("image_grid_thw", "target_sizes")
"""Inputs that the forward pass needs beside the features of the images."""

Positions: TypeAlias = Callable[[Mapping[str, Any]], torch.Tensor]
"""From the inputs of one prompt to its position ids, (..., 1, L)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Row:
    """One or more prompts in one sequence of L tokens, as a tree of branches."""

    inputs: Mapping[str, torch.Tensor]  # the model's arguments but the images, with a batch axis of 1
    positions: torch.Tensor | None  # (..., 1, L); None: counted by the model
    places: torch.Tensor  # (L,) place of each token in its own prompt
    branches: torch.Tensor  # (L,) which branch each token is of; 0 for the common tokens
    parents: tuple[int, ...]  # for each branch, the one that it continues; branch 0 begins the row
    reads: tuple[int, ...]  # index of the last token of each prompt
    images: tuple[Key, ...]  # what the row shows, in order

    @property
    def shape(self) -> tuple[object, ...]:
        """What rows of one batch have in common."""
        branches = tuple(self.branches.tolist())
        inputs = ((name, self.inputs[name].shape) for name in _PER_TOKEN if name in self.inputs)
        return branches, self.parents, self.reads, len(self.images), *inputs


def rows_of(
    prompts: Sequence[Mapping[str, Any]], images: tuple[Key, ...], image_token: int | None, positions: Positions | None
) -> list[Row]:
    """Return the inputs of the questions about some images in as few rows as possible, in order.

    Prompts share a row that have all their images in the beginning that they have in common; without `positions`, which
    counts them, none do.
    """
    rows: list[Row] = []
    group: list[Mapping[str, Any]] = []
    counted: list[torch.Tensor] = []
    for prompt in prompts:
        count = [positions(prompt)] if positions else []
        common = _common([*group, prompt], [*counted, *count]) if positions else 0
        if group and any(places_of(one, image_token)[common:].any() for one in (*group, prompt)):
            rows.append(_row(group, counted, images))
            group, counted = [], []
        group, counted = [*group, prompt], [*counted, *count]
    return [*rows, _row(group, counted, images)]


def _common(prompts: Sequence[Mapping[str, Any]], counted: Sequence[torch.Tensor]) -> int:
    """Return how many tokens all prompts begin with, at equal positions; at most one less than the shortest has."""
    common = len(commonprefix([prompt["input_ids"][0, :-1].tolist() for prompt in prompts]))  # noqa: RUF071
    equal = [(counted[0][..., :common] == one[..., :common]).flatten(0, -2).all(0) for one in counted[1:]]
    return int(torch.stack(equal).all(0).cumprod(0).sum()) if equal else common


def _row(prompts: Sequence[Mapping[str, Any]], counted: Sequence[torch.Tensor], images: tuple[Key, ...]) -> Row:
    common, first = _common(prompts, counted), prompts[0]
    inputs = {name: _after([one[name] for one in prompts], common, 1) for name in _PER_TOKEN if name in first}
    lengths = [prompt["input_ids"].shape[1] for prompt in prompts]
    rests = [length - common for length in lengths]
    return Row(
        inputs=inputs | {name: first[name] for name in _PER_IMAGE if name in first},
        positions=_after(counted, common, -1) if counted else None,
        places=_after([torch.arange(length) for length in lengths], common, 0),
        branches=torch.arange(1 + len(prompts)).repeat_interleave(torch.tensor([common, *rests])),
        parents=(0,) * (1 + len(prompts)),
        reads=tuple(end - 1 for end in accumulate(rests, initial=common))[1:],
        images=images,
    )


def _after(values: Sequence[torch.Tensor], common: int, axis: int) -> torch.Tensor:
    """Return what the values begin with in common, then the rest of each."""
    rests = [value.narrow(axis, common, value.shape[axis] - common) for value in values]
    return torch.cat([values[0].narrow(axis, 0, common), *rests], dim=axis)


def batch_of(rows: Sequence[Row], config: Config, dtype: torch.dtype) -> dict[str, Any]:
    """Return rows of one shape as arguments of the forward pass, all but the images."""
    inputs: dict[str, Any] = {name: torch.cat([row.inputs[name] for row in rows]) for name in rows[0].inputs}
    if len(rows[0].reads) > 1:
        inputs["position_ids"] = torch.cat([row.positions for row in rows if row.positions is not None], dim=-2)
        inputs["attention_mask"] = _masks(rows, config, dtype)
    return inputs


def _masks(rows: Sequence[Row], config: Config, dtype: torch.dtype) -> torch.Tensor | dict[str, torch.Tensor]:
    """Return what is added to the attention of each token to each, (rows, 1, L, L); by kind of layer if they differ."""
    seen = torch.stack([_seen(row) for row in rows])[:, None]
    window, kinds = getattr(config, "sliding_window", None), getattr(config, "layer_types", None) or ()
    near = seen
    if window is not None:
        near = seen & torch.stack([row.places[:, None] - row.places < window for row in rows])[:, None]
    full, sliding = (
        torch.zeros(mask.shape, dtype=dtype).masked_fill(~mask, torch.finfo(dtype).min) for mask in (seen, near)
    )
    if "sliding_attention" in kinds:
        return {"full_attention": full, "sliding_attention": sliding}
    return full if kinds else sliding


def _seen(row: Row) -> torch.Tensor:
    """Return which tokens a token sees, (L, L): images that see themselves as a whole are told by their type ids."""
    before = torch.ones(len(row.branches), len(row.branches), dtype=torch.bool).tril()
    ancestry = torch.eye(len(row.parents), dtype=torch.bool)  # which branches lead to a branch, itself among them
    for branch, parent in enumerate(row.parents):
        ancestry[branch] |= ancestry[parent]
    own = ancestry[row.branches][:, row.branches]
    if "token_type_ids" not in row.inputs:
        return before & own
    image = row.inputs["token_type_ids"][0] == 1
    starts = image & ~torch.nn.functional.pad(image, (1, 0))[:-1]
    block = torch.where(image, starts.cumsum(0), -torch.ones_like(row.branches))
    return (before & own) | ((block == block[:, None]) & image)


def token_cost(model: Model) -> tuple[int, int]:
    """Return what a language model computes on a token by itself, and on the attention of one to one, in products."""
    config = model.config.get_text_config()
    heads: int = config.num_attention_heads
    width: int = heads * (getattr(config, "head_dim", None) or config.hidden_size // heads)
    linear = (part for part in model.get_decoder().modules() if isinstance(part, torch.nn.Linear))
    return sum(part.weight.numel() for part in linear), 2 * config.num_hidden_layers * width


@dataclass(frozen=True, slots=True, eq=False)
class Tree:
    """Rows to be joined."""

    rows: tuple[int, ...]  # where they stand among all rows
    trunk: int  # how many tokens all of them begin with
    images: int  # how many images end within these
    length: int  # number of tokens of the joined row


def grow(rows: Sequence[Row], sizes: Mapping[Key, int], *, image_token: int | None, pairs: float) -> list[Tree]:
    """Return every row in one tree, alone or with others that begin with the same image where that is less work.

    `sizes` says how many tokens of the prompt an image takes: one that is not named keeps its row alone; `pairs` of
    tokens cost as much as a token.
    """
    names = {key: -1 - number for number, key in enumerate(sizes)}
    beginnings = [_beginning(row, sizes, names, image_token) for row in rows]
    trees: list[Tree] = []
    for place, row in enumerate(rows):
        single = Tree((place,), len(row.branches), len(row.images), len(row.branches))
        for index, tree in enumerate(trees):
            if rows[tree.rows[0]].images[0] != row.images[0]:
                continue
            (first, ends), (second, _) = beginnings[tree.rows[0]], beginnings[place]
            least = min(len(first), len(second)) if first.shape[1] == second.shape[1] else 0
            alike = int((first[:least] == second[:least]).all(1).cumprod(0).sum()) if least else 0
            trunk = min(tree.trunk, alike)
            length = tree.length + (len(tree.rows) - 1) * (tree.trunk - trunk) + single.length - trunk
            images, more_pairs = bisect_right(ends, trunk), length**2 - tree.length**2 - single.length**2
            if images and more_pairs < pairs * (tree.length + single.length - length):
                trees[index] = Tree((*tree.rows, place), trunk, images, length)
                break
        else:
            trees.append(single)
    return trees


def _beginning(
    row: Row, sizes: Mapping[Key, int], names: Mapping[Key, int], image_token: int | None
) -> tuple[torch.Tensor, tuple[int, ...]]:
    """Return what a row may have in common with others, and after how many tokens each image ends.

    That is (tokens, 1 + axes of the positions): which token or image, and at which position.
    """
    length = min(int((row.branches == 0).sum()), row.reads[0])
    held = torch.where(places_of(row.inputs, image_token)[:length])[0]
    taken = [sizes.get(key, 0) for key in row.images]
    if row.positions is None or not all(taken) or sum(taken) != len(held):
        return torch.empty(0, 1), ()
    tokens = row.inputs["input_ids"][0, :length].clone()
    tokens[held] = torch.tensor([names[key] for key in row.images]).repeat_interleave(torch.tensor(taken))
    ends = tuple(int(held[count - 1]) + 1 for count in accumulate(taken))
    return torch.cat([tokens[None], row.positions.flatten(0, -2)[:, :length]]).T, ends


def join(rows: Sequence[Row], tree: Tree) -> Row:
    """Return the rows of a tree as one."""
    members = [rows[place] for place in tree.rows]
    first, trunk = members[0], tree.trunk
    if len(members) == 1:
        return first
    inputs: dict[str, torch.Tensor] = {}
    for names, common, axis in ((_PER_TOKEN, trunk, 1), (_PER_IMAGE, tree.images, 0)):
        inputs |= {
            name: _after([row.inputs[name] for row in members], common, axis) for name in names if name in first.inputs
        }
    branches, parents = [torch.zeros(trunk, dtype=torch.long)], [0]
    for row in members:  # the first branch of each grows from the trunk, the others as they did
        branches.append(row.branches[trunk:] + len(parents))
        parents += [0, *(parent + len(parents) for parent in row.parents[1:])]
    starts = accumulate((len(row.branches) - trunk for row in members), initial=0)
    return Row(
        inputs=inputs,
        positions=_after([row.positions for row in members if row.positions is not None], trunk, -1),
        places=_after([row.places for row in members], trunk, 0),
        branches=torch.cat(branches),
        parents=tuple(parents),
        reads=tuple(start + read for start, row in zip(starts, members, strict=False) for read in row.reads),
        images=first.images[: tree.images] + tuple(key for row in members for key in row.images[tree.images :]),
    )
