"""Several prompts in one right-padded batch, where questions about the same images share what they have in common.

A row holds the tokens that all its prompts begin with once, and behind them the rest of each prompt, at the positions
that it would have alone. A token sees the common tokens and, before it, those of its own prompt: exactly what it would
see alone. Padding stands on the right, where no token of a prompt sees it; on the left it would be wrong even with a
mask and shifted positions, as images take their position from the index of their marker.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch

from qdebias.backends.beginnings import common_beginning
from qdebias.backends.mplug_owl3.processor import Prompt

CropKey: TypeAlias = tuple[str, int]
"""Digest of an image, and which of its crops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Prompts about the same crops, whose markers stand at the same places.

    Attributes:
        prompts: One or more.
        crops: For each marker, the crop that it shows.
    """

    prompts: tuple[Prompt, ...]
    crops: tuple[CropKey, ...]

    @property
    def common(self) -> int:
        """Number of tokens that all prompts begin with; at most one less than the shortest has."""
        if len(self.prompts) == 1:
            return 0
        return common_beginning([prompt.ids for prompt in self.prompts])

    @property
    def length(self) -> int:
        """Number of tokens in the row."""
        return self.common + sum(len(prompt.ids) - self.common for prompt in self.prompts)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """R rows of L tokens with up to C crops, as tensors.

    Attributes:
        ids: (R, L).
        positions: (R, L).
        mask: (R, 1, L, L), which tokens a token sees; None: itself and all before it.
        visible: (R, L, C), which crops a token sees.
        crop_positions: (R, C), by which position the keys of a crop are rotated.
        reads: (prompts, 2): row and index of the last token of each prompt, in order.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor | None
    visible: torch.Tensor
    crop_positions: torch.Tensor
    reads: torch.Tensor

    def to(self, device: torch.device) -> "Batch":
        """Return the same on another device."""
        return Batch(
            ids=self.ids.to(device),
            positions=self.positions.to(device),
            mask=None if self.mask is None else self.mask.to(device),
            visible=self.visible.to(device),
            crop_positions=self.crop_positions.to(device),
            reads=self.reads.to(device),
        )


def rows_of(prompts: Sequence[Prompt], crops: Sequence[CropKey]) -> list[Row]:
    """Return prompts about the same images in as few rows as possible, in order.

    Consecutive prompts share a row where their markers stand at the same places. They do not where the question comes
    first: the markers then move with its length, and with them the positions of the images.
    """
    groups: list[list[Prompt]] = []
    for prompt in prompts:
        if groups and groups[-1][-1].starts == prompt.starts:
            groups[-1].append(prompt)
        else:
            groups.append([prompt])
    return [Row(prompts=tuple(group), crops=tuple(crops[: len(group[0].starts)])) for group in groups]


def batch_of(rows: Sequence[Row], *, pad: int, lag: int) -> Batch:
    """Return rows as one batch.

    Args:
        rows: One or more.
        pad: The token that fills rows up.
        lag: See `Release.lag`.
    """
    length = max(row.length for row in rows)
    width = max(len(row.crops) for row in rows)
    ids = torch.full((len(rows), length), pad)
    positions = torch.arange(length).repeat(len(rows), 1)
    branches = torch.zeros(len(rows), length, dtype=torch.long)
    crop_positions = torch.full((len(rows), width), length + lag)
    reads = []
    for index, row in enumerate(rows):
        starts = row.prompts[0].starts
        crop_positions[index, : len(starts)] = torch.tensor(starts, dtype=torch.long) + lag
        end = row.common
        ids[index, :end] = torch.tensor(row.prompts[0].ids[:end])
        for branch, prompt in enumerate(row.prompts, start=1):
            begin, end = end, end + len(prompt.ids) - row.common
            ids[index, begin:end] = torch.tensor(prompt.ids[row.common :])
            positions[index, begin:end] = torch.arange(row.common, len(prompt.ids))
            branches[index, begin:end] = branch
            reads.append((index, end - 1))
        positions[index, end:] = 0
    return Batch(
        ids=ids,
        positions=positions,
        mask=_mask(branches) if any(len(row.prompts) > 1 for row in rows) else None,
        visible=positions[:, :, None] >= crop_positions[:, None, :],
        crop_positions=crop_positions,
        reads=torch.tensor(reads),
    )


def _mask(branches: torch.Tensor) -> torch.Tensor:
    """Map the branch of each token (R, L), 0 for common ones, to which tokens it sees (R, 1, L, L)."""
    length = branches.shape[1]
    before = torch.ones(length, length, dtype=torch.bool).tril()
    own = (branches[:, None, :] == branches[:, :, None]) | (branches[:, None, :] == 0)
    return (before & own)[:, None]
