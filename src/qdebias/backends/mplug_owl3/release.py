"""The two published checkpoints of mPLUG-Owl3-7B, and what differs between them.

Which one a folder holds is told by the names of its weights, never by the folder's name, see `variant.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

Grid: TypeAlias = tuple[int, int]
"""Rows and columns of the tiles into which an image is cut."""

MARKER = "<|image|>"
"""Where an image stands in a prompt. It is ordinary text of five tokens, not a special token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One generation of the model.

    Attributes:
        name: As in the name of its repository.
        hub: Its repository on the Hugging Face hub.
        lag: How many tokens after the first token of a marker the crop becomes visible; its keys are rotated by the
            position of that token. 240728 is off by one against 241101: there the first token of a marker does not
            see its own crop.
        tiles_text: What replaces the marker of an image that is cut, with one marker for each crop.
    """

    name: str
    hub: str
    lag: int
    tiles_text: Callable[[Grid], str]

    def media_offset(self, starts: tuple[int, ...], length: int) -> list[list[int]] | list[int]:
        """Return the argument of that name of the official model, for one sequence.

        Args:
            starts: First token of each marker.
            length: L, number of tokens.

        Returns:
            240728: (L, 2), the index of the first crop and that plus the number of markers before the token, or
            -1000000 without any marker. 241101: `starts`.
        """
        if self.lag == 0:
            return list(starts)
        if not starts:
            return [[0, -1_000_000] for _ in range(length)]
        return [[0, sum(start < token for start in starts)] for token in range(length)]


def _titled(grid: Grid) -> str:
    rows, columns = grid
    tiles = "\n".join(" ".join(f"subimg({row},{column}){MARKER}" for column in range(columns)) for row in range(rows))
    return f"Cut to {rows} rows {columns} columns with a global view\n{tiles}\nglobal_view{MARKER}"


def _bracketed(grid: Grid) -> str:
    rows, columns = grid
    tiles = "\n".join([" ".join([MARKER] * columns)] * rows)
    return f"<|start_cut|>{rows}*{columns}\n{tiles}\n{MARKER}<|end_cut|>"


RELEASE_240728 = Release(name="240728", hub="mPLUG/mPLUG-Owl3-7B-240728", lag=1, tiles_text=_titled)
RELEASE_241101 = Release(name="241101", hub="mPLUG/mPLUG-Owl3-7B-241101", lag=0, tiles_text=_bracketed)
RELEASES = {release.name: release for release in (RELEASE_240728, RELEASE_241101)}
