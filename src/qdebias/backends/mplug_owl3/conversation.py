"""The official prompt: which pieces of text are tokenised, each on its own, and in which order."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from qdebias.backends.mplug_owl3.release import MARKER, Grid, Release
from qdebias.errors import PromptError


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a conversation; only the user's turns may hold image markers."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class _Piece:
    text: str
    reply: bool = False


def pieces(turns: Sequence[Turn], grids: Sequence[Grid | None], release: Release) -> list[str]:
    r"""Return the texts of a conversation that are tokenised separately and joined.

    As the official processor does it:

    - A conversation that does not begin with a system turn gets an empty one, without a line break after it.
    - Turns are separated by a line break *before* each.
    - A marker is a piece of its own: the text around it never merges with it.
    - All that the assistant says last is dropped, down to ``<|im_start|>assistant\n``. A beginning of the reply that is
      given as the last turn never reaches the model. The paper's script gives one, "The quality of the image is ", and
      so in fact reads the first word of the reply. Here a prefix is appended behind these pieces on purpose, see
      `Processor.prompt`; the recipe of the released script has none.
    - Earlier replies stay and are followed by ``<|endoftext|>``.

    Args:
        turns: The conversation.
        grids: For each marker in order: how its image is announced, None where it is not cut.
        release: Decides the text that replaces the marker of an image that is cut.

    Raises:
        PromptError: Markers and grids differ in number, or a marker stands outside a user's turn.
    """
    found = sum(turn.content.count(MARKER) for turn in turns)
    if found != len(grids):
        raise PromptError(f"the conversation has {found} markers {MARKER} for {len(grids)} images; give one for each")
    opening = [] if turns and turns[0].role == "system" else [Turn("system", "")]
    remaining = iter(grids)
    parts = [part for turn in (*opening, *turns) for part in _turn(turn, remaining, release)]
    while parts and parts[-1].reply:
        parts.pop()
    return [part.text for part in parts]


def _turn(turn: Turn, grids: Iterator[Grid | None], release: Release) -> Iterator[_Piece]:
    if turn.role != "user" and MARKER in turn.content:
        raise PromptError(f"the marker {MARKER} stands in a turn of the {turn.role}; only the user can show images")
    if turn.role == "system":
        yield _Piece(f"<|im_start|>system\n{turn.content}<|im_end|>")
    elif turn.role == "user":
        content = re.sub(re.escape(MARKER), lambda _: _marker_text(next(grids), release), turn.content)
        for text in re.split(f"({re.escape(MARKER)})", f"\n<|im_start|>user\n{content}<|im_end|>"):
            yield _Piece(text)
    else:
        yield _Piece("\n<|im_start|>assistant\n")
        yield _Piece(f"{turn.content}<|im_end|>", reply=True)
        yield _Piece("<|endoftext|>", reply=True)


def _marker_text(grid: Grid | None, release: Release) -> str:
    return MARKER if grid is None else release.tiles_text(grid)
