"""Rows that begin with the same images joined into one, where that is less work.

What joined rows have in common stands once, as the trunk of a tree. Behind it each goes on as it did alone, at its own
positions, and sees nothing of the others. Attention is computed over the whole of a joined row, so that a row whose
attention would cost more than its beginning saves is left alone.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch

from qdebias.backends.hf_prepare import places_of
from qdebias.backends.hf_types import Model
from qdebias.backends.sharing_images import Key
from qdebias.backends.sharing_rows import PER_IMAGE, PER_TOKEN, Row


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCost:
    """What a language model spends, in products of two numbers.

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
    shown = ids.clone()
    shown[held] = torch.tensor([names[key] for key in row.images]).repeat_interleave(torch.tensor(taken))
    positions = row.positions.flatten(0, -2)[:, :length]
    ends = tuple(int(held[count - 1]) + 1 for count in accumulate(taken))
    return _Beginning(torch.cat([shown[None], positions]).T, ends)


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
