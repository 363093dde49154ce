"""Prompts packed into rows: what two questions have in common stands in a row once, and equal rows run as a batch.

A row holds the tokens that all its prompts begin with, and behind them the rest of each prompt at the positions that it
would have alone. A token sees the common tokens and, before it, those of its own prompt: what it would see alone. Only
rows of equal shape are batched, so that there is no padding, which would need another mask and round differently.
`sharing_trees.py` joins rows of different requests in the same manner.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

from qdebias.backends.beginnings import common_beginning
from qdebias.backends.hf_prepare import places_of
from qdebias.backends.hf_types import Config
from qdebias.backends.sharing_images import Key

PER_TOKEN = ("input_ids", "attention_mask", "mm_token_type_ids", "token_type_ids", "cross_attention_mask")
"""Inputs of shape (1, L, ...)."""

PER_IMAGE = ("image_grid_thw",)
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
    """Return rows of one shape as arguments of the forward pass, all but the images.

    Args:
        rows: One or more.
        config: Of the language model.
        dtype: Numeric type of the mask.
    """
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
