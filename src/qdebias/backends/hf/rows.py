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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, TypeAlias

import torch

from qdebias.backends.hf import Config, Model
from qdebias.backends.hf.forward import places_of
from qdebias.backends.hf.images import Key
from qdebias.backends.prompt import common_beginning

PER_TOKEN = (
    *("input_ids", "attention_mask", "mm_token_type_ids", "moe_mm_token_type_ids", "token_type_ids"),
    "cross_attention_mask",
)
"""Inputs of shape (1, L, ...)."""

PER_IMAGE = ("image_grid_thw", "target_sizes")
"""Inputs that the forward pass needs beside the features of the images."""

Positions: TypeAlias = Callable[[Mapping[str, Any]], torch.Tensor]
"""From the inputs of one prompt to its position ids, (..., 1, L)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Row:
    """One or more prompts in one sequence of L tokens, as a tree of branches.

    Attributes:
        inputs: The model's arguments but the images, with a batch axis of 1.
        positions: (..., 1, L); None: counted by the model.
        places: (L,) place of each token in its own prompt.
        branches: (L,) which branch each token is of; 0 for the common tokens.
        parents: For each branch, the one that it continues; branch 0 begins the row.
        reads: Index of the last token of each prompt.
        images: What the row shows, in order.
    """

    inputs: Mapping[str, torch.Tensor]
    positions: torch.Tensor | None
    places: torch.Tensor
    branches: torch.Tensor
    parents: tuple[int, ...]
    reads: tuple[int, ...]
    images: tuple[Key, ...]

    @property
    def shape(self) -> tuple[object, ...]:
        """What rows of one batch have in common."""
        branches = tuple(self.branches.tolist())
        inputs = ((name, self.inputs[name].shape) for name in PER_TOKEN if name in self.inputs)
        return branches, self.parents, self.reads, len(self.images), *inputs


def rows_of(
    prompts: Sequence[Mapping[str, Any]], images: tuple[Key, ...], image_token: int | None, positions: Positions | None
) -> list[Row]:
    """Return the prompts of one request in as few rows as possible, in order.

    Args:
        prompts: The inputs of each question.
        images: What all of them show.
        image_token: See `places_of`.
        positions: How positions are counted; None: no two prompts may share a row.
    """
    groups: list[list[Mapping[str, Any]]] = []
    for prompt in prompts:
        if groups and _share([*groups[-1], prompt], image_token, positions):
            groups[-1].append(prompt)
        else:
            groups.append([prompt])
    return [_row(group, images, positions) for group in groups]


def _share(prompts: Sequence[Mapping[str, Any]], image_token: int | None, positions: Positions | None) -> bool:
    """Whether prompts have all their images in the beginning that they have in common."""
    if positions is None:
        return False
    common = _common(prompts, [positions(prompt) for prompt in prompts])
    return not any(places_of(one, image_token)[common:].any() for one in prompts)


def _common(prompts: Sequence[Mapping[str, Any]], counted: Sequence[torch.Tensor]) -> int:
    """Return how many tokens all prompts begin with, at equal positions; at most one less than the shortest has."""
    common = common_beginning([prompt["input_ids"][0].tolist() for prompt in prompts])
    equal = [(counted[0][..., :common] == one[..., :common]).flatten(0, -2).all(0) for one in counted[1:]]
    return int(torch.stack(equal).all(0).cumprod(0).sum()) if equal else common


def _row(prompts: Sequence[Mapping[str, Any]], images: tuple[Key, ...], positions: Positions | None) -> Row:
    counted = [positions(prompt) for prompt in prompts] if positions else []
    common = _common(prompts, counted)
    first, others = prompts[0], prompts[1:]
    names = [name for name in PER_TOKEN if name in first]
    inputs = {name: torch.cat([first[name], *(one[name][:, common:] for one in others)], dim=1) for name in names}
    lengths = [prompt["input_ids"].shape[1] for prompt in prompts]
    tails = [torch.arange(common, length) for length in lengths]
    return Row(
        inputs=inputs | {name: first[name] for name in PER_IMAGE if name in first},
        positions=torch.cat([counted[0], *(one[..., common:] for one in counted[1:])], dim=-1) if counted else None,
        places=torch.cat([torch.arange(common), *tails]),
        branches=torch.arange(1 + len(prompts)).repeat_interleave(torch.tensor([common, *map(len, tails)])),
        parents=(0,) * (1 + len(prompts)),
        reads=tuple(_ends(common, lengths)),
        images=images,
    )


def _ends(common: int, lengths: Sequence[int]) -> Iterator[int]:
    end = common
    for length in lengths:
        end += length - common
        yield end - 1


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
    if "sliding_attention" in kinds:
        return {"full_attention": _added(seen, dtype), "sliding_attention": _added(near, dtype)}
    return _added(seen if kinds else near, dtype)


def _seen(row: Row) -> torch.Tensor:
    """Return which tokens a token sees, (L, L): images that see themselves as a whole are told by their type ids."""
    before = torch.ones(len(row.branches), len(row.branches), dtype=torch.bool).tril()
    own = _ancestry(row.parents)[row.branches][:, row.branches]
    if "token_type_ids" not in row.inputs:
        return before & own
    image = row.inputs["token_type_ids"][0] == 1
    starts = image & ~torch.nn.functional.pad(image, (1, 0))[:-1]
    block = torch.where(image, starts.cumsum(0), -torch.ones_like(row.branches))
    return (before & own) | ((block == block[:, None]) & image)


def _ancestry(parents: Sequence[int]) -> torch.Tensor:
    """Return for each branch which branches lead to it, itself among them: (branches, branches)."""
    lead = torch.eye(len(parents), dtype=torch.bool)
    for branch, parent in enumerate(parents):
        lead[branch] |= lead[parent]
    return lead


def _added(seen: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return torch.zeros(seen.shape, dtype=dtype).masked_fill(~seen, torch.finfo(dtype).min)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCost:
    """What a language model computes, in products of two numbers.

    Attributes:
        token: On a token by itself.
        pair: On the attention of a token to a token.
    """

    token: int
    pair: int

    @classmethod
    def of(cls, model: Model) -> "TokenCost":
        """Return the cost in a model, from its shape."""
        config = model.config.get_text_config()
        heads: int = config.num_attention_heads
        width: int = heads * (getattr(config, "head_dim", None) or config.hidden_size // heads)
        linear = (part for part in model.get_decoder().modules() if isinstance(part, torch.nn.Linear))
        return cls(token=sum(part.weight.numel() for part in linear), pair=2 * config.num_hidden_layers * width)

    @property
    def pairs(self) -> float:
        """How many pairs of tokens cost as much as a token."""
        return self.token / self.pair


@dataclass(frozen=True, slots=True, eq=False)
class Tree:
    """Rows to be joined.

    Attributes:
        rows: Where they stand among all rows.
        trunk: How many tokens all of them begin with.
        images: How many images end within these.
        length: Number of tokens of the joined row.
    """

    rows: tuple[int, ...]
    trunk: int
    images: int
    length: int


def alone(rows: Sequence[Row]) -> list[Tree]:
    """Return every row in a tree of its own."""
    return [Tree((place,), len(row.branches), len(row.images), len(row.branches)) for place, row in enumerate(rows)]


def grow(rows: Sequence[Row], sizes: Mapping[Key, int], *, image_token: int | None, pairs: float) -> list[Tree]:
    """Return every row in one tree, alone or with others that begin with the same image.

    Args:
        rows: What is to be run.
        sizes: How many tokens of the prompt each image takes; an image that is not named keeps its row alone.
        image_token: See `places_of`.
        pairs: See `TokenCost.pairs`; infinite: join whatever can be joined.
    """
    names = {key: -1 - number for number, key in enumerate(sizes)}
    beginnings = [_beginning(row, sizes, names, image_token) for row in rows]
    trees: list[Tree] = []
    for single in alone(rows):
        for index, tree in enumerate(trees):
            if rows[tree.rows[0]].images[0] != rows[single.rows[0]].images[0]:
                continue
            joined = _joined(tree, single, beginnings)
            more_pairs = joined.length**2 - tree.length**2 - single.length**2
            if joined.images and more_pairs < pairs * (tree.length + single.length - joined.length):
                trees[index] = joined
                break
        else:
            trees.append(single)
    return trees


@dataclass(frozen=True, slots=True, eq=False)
class _Beginning:
    """What a row may have in common with others.

    Attributes:
        tokens: (tokens, 1 + axes of the positions) which token or image, and at which position.
        ends: How many tokens there are up to the end of each image.
    """

    tokens: torch.Tensor
    ends: tuple[int, ...]


def _beginning(row: Row, sizes: Mapping[Key, int], names: Mapping[Key, int], image_token: int | None) -> _Beginning:
    length = min(int((row.branches == 0).sum()), row.reads[0])
    ids = row.inputs["input_ids"][0, :length]
    held = torch.where(places_of(row.inputs, image_token)[:length])[0]
    taken = [sizes.get(key, 0) for key in row.images]
    if row.positions is None or not all(taken) or sum(taken) != len(held):
        return _Beginning(torch.empty(0, 1), ())
    tokens = ids.clone()
    tokens[held] = torch.tensor([names[key] for key in row.images]).repeat_interleave(torch.tensor(taken))
    positions = row.positions.flatten(0, -2)[:, :length]
    ends = tuple(int(held[count - 1]) + 1 for count in accumulate(taken))
    return _Beginning(torch.cat([tokens[None], positions]).T, ends)


def _joined(tree: Tree, other: Tree, beginnings: Sequence[_Beginning]) -> Tree:
    first, second = beginnings[tree.rows[0]], beginnings[other.rows[0]]
    trunk = min(tree.trunk, _alike(first.tokens, second.tokens))
    length = tree.length + (len(tree.rows) - 1) * (tree.trunk - trunk) + other.length - trunk
    return Tree(tree.rows + other.rows, trunk, bisect_right(first.ends, trunk), length)


def _alike(one: torch.Tensor, other: torch.Tensor) -> int:
    """Return how many lines two tables begin with in common."""
    least = min(len(one), len(other))
    if one.shape[1] != other.shape[1]:
        return 0
    return int((one[:least] == other[:least]).all(1).cumprod(0).sum())


def join(rows: Sequence[Row], tree: Tree) -> Row:
    """Return the rows of a tree as one."""
    members = [rows[place] for place in tree.rows]
    first, trunk = members[0], tree.trunk
    if len(members) == 1:
        return first
    per_token = {name: [row.inputs[name] for row in members] for name in PER_TOKEN if name in first.inputs}
    per_image = {name: [row.inputs[name] for row in members] for name in PER_IMAGE if name in first.inputs}
    inputs = {name: _after_trunk(values, trunk, 1) for name, values in per_token.items()}
    inputs |= {name: _after_trunk(values, tree.images, 0) for name, values in per_image.items()}
    branches, parents = _grafted(members, trunk)
    starts = accumulate((len(row.branches) - trunk for row in members), initial=0)
    return Row(
        inputs=inputs,
        positions=_after_trunk([row.positions for row in members if row.positions is not None], trunk, -1),
        places=_after_trunk([row.places for row in members], trunk, 0),
        branches=branches,
        parents=parents,
        reads=tuple(start + read for start, row in zip(starts, members, strict=False) for read in row.reads),
        images=first.images[: tree.images] + tuple(key for row in members for key in row.images[tree.images :]),
    )


def _after_trunk(values: Sequence[torch.Tensor], trunk: int, axis: int) -> torch.Tensor:
    """Return what the values have in common, then the rest of each."""
    rests = [value.narrow(axis, trunk, value.shape[axis] - trunk) for value in values]
    return torch.cat([values[0].narrow(axis, 0, trunk), *rests], dim=axis)


def _grafted(rows: Sequence[Row], trunk: int) -> tuple[torch.Tensor, tuple[int, ...]]:
    """Return the branches of rows upon a trunk: the first branch of each grows from it, the others as they did."""
    branches, parents = [torch.zeros(trunk, dtype=torch.long)], [0]
    for row in rows:
        branches.append(row.branches[trunk:] + len(parents))
        parents += [0, *(parent + len(parents) for parent in row.parents[1:])]
    return torch.cat(branches), tuple(parents)
