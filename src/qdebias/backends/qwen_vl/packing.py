"""Several prompts in one right-padded batch, where questions about the same images share what they have in common.

A row holds the tokens that all its prompts begin with once, and behind them the rest of each prompt, at the positions
that it would have alone. A token sees the common tokens and, before it, those of its own prompt: exactly what it would
see alone. The one thing that depends on a whole prompt is how far its positions are stretched, so that only prompts of
the same stretch share a row.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import torch

from qdebias.backends.beginnings import common_beginning
from qdebias.backends.qwen_vl.prompt import Prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Prompts that share their images.

    Attributes:
        prompts: One or more, the same up to the end of the images.
        images: The key of each image, in the order of the prompts.
        stretch: See `Config.stretch`; the same for all prompts.
    """

    prompts: tuple[Prompt, ...]
    images: tuple[str, ...]
    stretch: float

    @property
    def common(self) -> int:
        """Number of tokens that all prompts begin with; at most one less than the shortest has."""
        return common_beginning([prompt.ids for prompt in self.prompts])

    @property
    def length(self) -> int:
        """Number of tokens in the row."""
        return self.common + sum(len(prompt.ids) - self.common for prompt in self.prompts)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """R rows of L tokens, as tensors.

    Attributes:
        ids: (R, L).
        positions: (R, L).
        mask: (R, 1, L, L), which tokens a token sees; None: itself and all before it.
        reads: (prompts, 2): row and index of the last token of each prompt, in order.
        stretches: (R,).
    """

    ids: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor | None
    reads: torch.Tensor
    stretches: tuple[float, ...]

    def to(self, device: torch.device) -> "Batch":
        """Return the same on another device."""
        return replace(
            self,
            ids=self.ids.to(device),
            positions=self.positions.to(device),
            mask=None if self.mask is None else self.mask.to(device),
            reads=self.reads.to(device),
        )


def rows_of(prompts: Sequence[Prompt], images: Sequence[str], stretch: Callable[[int], float]) -> list[Row]:
    """Return prompts about the same images in as few rows as is exact, in order.

    Consecutive prompts share a row if they are the same up to the end of the images. They are not where the question
    comes first.
    """
    grouped = groupby(prompts, key=lambda prompt: (prompt.ids[: prompt.images_end], stretch(len(prompt.ids))))
    return [Row(prompts=tuple(group), images=tuple(images), stretch=factor) for (_, factor), group in grouped]


def batch_of(rows: Sequence[Row], pad: int) -> Batch:
    """Return rows as one batch, filled up with the token `pad` on the right."""
    length, reads = max(row.length for row in rows), []
    cells = torch.tensor([pad, 0, -1]).repeat(len(rows), length, 1)
    for index, row in enumerate(rows):
        held, ends = _cells(row)
        cells[index, : len(held)] = torch.tensor(held)
        reads += [(index, end) for end in ends]
    ids, positions, branches = cells.unbind(dim=2)
    return Batch(
        ids=ids,
        positions=positions,
        mask=_mask(branches) if any(len(row.prompts) > 1 for row in rows) else None,
        reads=torch.tensor(reads),
        stretches=tuple(row.stretch for row in rows),
    )


def _cells(row: Row) -> tuple[list[tuple[int, int, int]], list[int]]:
    """Return id, position and branch (0 for common ones) of each token, and the index of each prompt's last token."""
    common, ends = row.common, []
    cells = [(token, place, 0) for place, token in enumerate(row.prompts[0].ids[:common])]
    for branch, prompt in enumerate(row.prompts, start=1):
        cells += [(token, place, branch) for place, token in enumerate(prompt.ids[common:], start=common)]
        ends.append(len(cells) - 1)
    return cells, ends


def _mask(branches: torch.Tensor) -> torch.Tensor:
    """Map the branch of each token (R, L) to which tokens it sees (R, 1, L, L)."""
    length = branches.shape[1]
    before = torch.ones(length, length, dtype=torch.bool).tril()
    own = (branches[:, None, :] == branches[:, :, None]) | (branches[:, None, :] == 0)
    return (before & own)[:, None]
