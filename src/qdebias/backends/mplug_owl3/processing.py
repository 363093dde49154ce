"""Vocabulary, images and prompts of mPLUG-Owl3, as transformers' processors have them."""

import json
import re
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from PIL import Image
from transformers import BatchFeature, Qwen2Tokenizer
from transformers.image_processing_utils import BaseImageProcessor

from qdebias.backends.checkpoint import Checkpoint
from qdebias.backends.hf.images import flat
from qdebias.backends.hf.native import NativeProcessor
from qdebias.backends.mplug_owl3.configuration import MARKER, RELEASE_240728, RELEASES, Grid, MplugOwl3Config, Release
from qdebias.errors import BackendError, SettingError
from qdebias.image import RgbImage

GRIDS: tuple[Grid, ...] = ((2, 2), (1, 3), (1, 4), (3, 1), (4, 1), (2, 3), (3, 2))
"""The grids that are tried, in the official order: the first of equals wins. There is no 1 x 1 among them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CutMode:
    """Whether images are cut, and which grids the prompt announces, from those of all its images.

    A mode may belong to one release `only`.
    """

    name: str
    tiles: bool
    announced: Callable[[Sequence[Grid | None]], list[Grid | None]]
    only: Release | None = None

    def crops(self, image: RgbImage, side: int) -> tuple[npt.NDArray[np.uint8], Grid | None]:
        """Return the crops of an image, (n, 3, side, side), and how they lie; None: it is not cut, n is 1.

        They are the tiles row by row, then the whole image, each resized without regard to the aspect.
        """
        whole = _resized(image, (1, 1), side)
        if not self.tiles:
            return whole, None
        grid = choose_grid(image.shape[1], image.shape[0], side)
        return np.concatenate([_resized(image, grid, side), whole]), grid


def choose_grid(width: int, height: int, side: int) -> Grid:
    """Return the grid for an image of this size.

    Every grid is scored by 100 times how well its shape fits the image's, plus how well its size does; both as
    intersection over union of corner-aligned boxes, in float32, as officially. The official code stores the height of
    the box of the image's shape in an integer tensor and so truncates it; that decides some ties.
    """
    scores = []
    for rows, columns in GRIDS:
        wide, high = columns * side, rows * side
        shape = _overlap(wide, high, wide, int(height / width * wide))
        scores.append(np.float32(100) * shape + _overlap(wide, high, width, height))
    return GRIDS[int(np.argmax(scores))]


def _overlap(width: int, height: int, other_width: int, other_height: int) -> np.float32:
    """Intersection over union of two boxes with a common corner."""
    common = np.float32(min(width, other_width)) * np.float32(min(height, other_height))
    first, second = np.float32(width * height), np.float32(other_width) * np.float32(other_height)
    return common / (first + second - common + np.float32(1e-5))


def _resized(image: RgbImage, grid: Grid, side: int) -> npt.NDArray[np.uint8]:
    """Return the tiles (rows * columns, 3, side, side) of the image resized to the grid, row by row."""
    rows, columns = grid
    resized = Image.fromarray(image).resize((columns * side, rows * side), Image.Resampling.BICUBIC)
    tiles = np.asarray(resized).reshape(rows, side, columns, side, 3).transpose(0, 2, 4, 1, 3)
    return np.ascontiguousarray(tiles.reshape(rows * columns, 3, side, side))


def _slipped(grids: Sequence[Grid | None]) -> list[Grid | None]:
    """What the processor of 240728 announces: it lists two grids an image, its own and 1 x 1, and reads one an image.

    Of two images the second is so announced as 1 x 1, two crops. The decoder takes as many crops as are announced:
    all of the first image, then the first two tiles of the second and no view of the whole.
    """
    listed: list[Grid | None] = [entry for grid in grids for entry in (grid, (1, 1))]
    return listed[: len(grids)]


OFF = CutMode(name="off", tiles=False, announced=list)
"""No cutting: what the model's authors do with several images."""

FIXED = CutMode(name="fixed", tiles=True, announced=list)
"""Cutting; every image with all its tiles. What the processor of 241101 does."""

OFFICIAL_240728 = CutMode(name="official-240728", tiles=True, announced=_slipped, only=RELEASE_240728)
"""Cutting as the processor of 240728 does it, slip included: with it the paper's script ran."""

OFFICIAL = "official"
"""Another name of one of the modes, by release."""

CUT_MODES = {mode.name: mode for mode in (OFF, FIXED, OFFICIAL_240728)}


def cut_mode(name: str, release: Release) -> CutMode:
    """Return the mode of that name; "official" is what the release's own processor does unless told otherwise."""
    if name == OFFICIAL:
        return OFFICIAL_240728 if release is RELEASE_240728 else FIXED
    if name not in CUT_MODES:
        raise SettingError(f"there is no cut mode {name!r}; choose one of {', '.join([*CUT_MODES, OFFICIAL])}")
    mode = CUT_MODES[name]
    if mode.only not in (None, release):
        raise SettingError(
            f"cut mode {name!r} repeats a slip of release {mode.only.name if mode.only else ''}, which this checkpoint "
            f"({release.name}) does not have; choose 'off' or 'fixed'"
        )
    return mode


SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")

_PIECES = re.compile(rf"({re.escape(MARKER)})|(?<=<\|im_start\|>assistant\n)")
"""Between what is encoded on its own: a marker never merges with the text around it, nor a reply with its opening."""

TEMPLATE = """
{%- if messages[0].role != 'system' -%}{{- '<|im_start|>system\\n<|im_end|>' -}}{%- endif -%}
{%- for message in messages -%}
  {{- '' if loop.first and message.role == 'system' else '\\n' -}}
  {{- '<|im_start|>' + message.role + '\\n' -}}
  {%- if message.content is string -%}
    {{- message.content -}}
  {%- else -%}
    {%- for part in message.content -%}
      {%- set after = not loop.first and message.content[loop.index0 - 1].type != part.type -%}
      {{- (' ' if after else '') + (part.text if part.type == 'text' else '<|image|>') -}}
    {%- endfor -%}
  {%- endif -%}
  {{- '<|im_end|>' + ('<|endoftext|>' if message.role == 'assistant' else '') -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '\\n<|im_start|>assistant\\n' -}}{%- endif -%}
"""
"""What the official processor writes, in Jinja.

A conversation that does not begin with a system turn gets an empty one, without a line break after it. Turns are
separated by a line break *before* each. Earlier replies are followed by <|endoftext|>. The official processor drops all
that the assistant says last, down to the opening of the reply: a beginning of the reply that is given as the last turn
never reaches the model. The paper's script gives one, "The quality of the image is ", and so in fact reads the first
word of the reply. Here an answer prefix is appended behind the opening on purpose; the recipe of the released script
has none. Markers and text are divided by one space, as in that script.
"""


class MplugOwl3ImageProcessor(BaseImageProcessor):
    """Cuts images into square tiles, see `cut_mode`."""

    model_input_names = ["pixel_values"]  # noqa: RUF012  transformers reads a list

    def __init__(self, side: int, cut: CutMode, **options: Any) -> None:  # noqa: ANN401
        super().__init__(**options)
        self.side, self.cut = side, cut

    def preprocess(self, images: Any, return_tensors: str | None = None, **_: object) -> BatchFeature:  # noqa: ANN401
        """Return `pixel_values`, (n, 3, side, side) float32 in [-1, 1], and `grids`, (images, 2), (0, 0) for no cut."""
        crops, grids = zip(*(self.cut.crops(np.asarray(image), self.side) for image in flat(images)), strict=True)
        scaled = (np.concatenate(crops).astype(np.float32) / np.float32(255) - np.float32(0.5)) / np.float32(0.5)
        placed = np.array([grid or (0, 0) for grid in grids])
        return BatchFeature({"pixel_values": scaled, "grids": placed}, tensor_type=return_tensors)


class MplugOwl3Processor(NativeProcessor):
    """Vocabulary, images and prompts of a checkpoint.

    `release` decides the text around tiles; `words` counts the rows of the output layer that are words.
    """

    image_token = MARKER
    marks_images = True  # in words, see `places_of`
    release: Release
    words: int

    @classmethod
    def from_folder(
        cls, checkpoint: Checkpoint, config: MplugOwl3Config, *, cut: str | None = None, release: str | None = None
    ) -> Self:
        """Return the processor of a checkpoint.

        `cut`: "off" (None) squeezes an image into one tile, "fixed" cuts it into tiles, "official" does what the
        release's own processor does and the paper's script did: for 240728 "official-240728", a slip. `release`: refuse
        any other; None takes whatever the weights are.
        """
        if release is not None and release not in RELEASES:
            raise SettingError(f"mPLUG-Owl3 has no release {release!r} here; choose one of {', '.join(RELEASES)}")
        if release not in (None, config.release):
            raise BackendError(
                f"{checkpoint.name}: holds release {config.release}, not {release}; load the other folder"
            )
        tokenizer = read_vocabulary(checkpoint.folder)
        if len(tokenizer) > config.vocab_size:
            raise BackendError(
                f"{checkpoint.folder}: the vocabulary has {len(tokenizer)} tokens, the model only {config.vocab_size}; "
                f"download the files of one version"
            )
        found = RELEASES[config.release]
        images = MplugOwl3ImageProcessor(config.vision.image_size, cut_mode(cut or "off", found))
        processor = cls(images, tokenizer, TEMPLATE)
        processor.release, processor.words = found, len(tokenizer)
        processor.identity = {"backend": "mplug-owl3", "release": found.name, "gate": config.gate}
        processor.identity |= {"cut": images.cut.name, "quantize": "none"}
        return processor

    def with_cut(self, cut: str) -> Self:
        """Return the same with another cut mode."""
        other, mode = copy(self), cut_mode(cut, self.release)
        other.image_processor = MplugOwl3ImageProcessor(self.image_processor.side, mode)
        other.identity = {**self.identity, "cut": mode.name}
        return other

    def expanded(self, text: str, grids: Sequence[Sequence[int]]) -> str:
        """Return a prompt with the text of its tiles instead of each marker; grids of (0, 0) leave one."""
        announced = self.image_processor.cut.announced([(grid[0], grid[1]) if grid[0] else None for grid in grids])
        texts = (MARKER if grid is None else self.release.tiles_text(grid) for grid in announced)
        return re.sub(re.escape(MARKER), lambda _: next(texts), text)

    def ids_of(self, text: str) -> list[int]:
        """Return the ids of a prompt whose tiles are written out."""
        parts = [part for part in _PIECES.split(text) if part]
        return [token for part in parts for token in self.tokenizer.encode(part, add_special_tokens=False)]

    def __call__(self, images: Any = None, text: Sequence[str] = (), **options: Any) -> BatchFeature:  # noqa: ANN401
        """Return the inputs of one text about some images.

        `input_ids`, `attention_mask` and `mm_token_type_ids` are (1, L), the last with 1 where a marker begins;
        `pixel_values` are the tiles that have a marker, and `media_offset` is what the official model takes of that
        name. (The stock processor of 240728 hands over all tiles; those without a marker are never read.)
        """
        made = self.image_processor(images, return_tensors="np") if images else {"grids": np.zeros((0, 2), dtype=int)}
        ids = self.ids_of(self.expanded(text[0], np.asarray(made["grids"]).tolist()))
        marker, length = self.tokenizer.encode(MARKER, add_special_tokens=False), len(ids)
        starts = [place for place in range(length) if ids[place : place + len(marker)] == marker]
        begins = np.isin(np.arange(length), starts).astype(int)
        data: dict[str, Any] = {
            "input_ids": [ids],
            "attention_mask": [[1] * length],
            "mm_token_type_ids": [begins.tolist()],
            "media_offset": self.release.media_offset(tuple(starts), length),
        }
        pixels = {"pixel_values": made["pixel_values"][: len(starts)]} if images else {}
        return BatchFeature(data | pixels, tensor_type=options.get("return_tensors"))


def read_vocabulary(folder: Path) -> Qwen2Tokenizer:
    """Return the vocabulary in a folder: `tokenizer.json`, or `vocab.json` with `merges.txt`."""
    table = folder / "tokenizer.json"
    if not table.is_file() and not (folder / "vocab.json").is_file():
        raise BackendError(f"{folder}: holds no vocabulary; it needs tokenizer.json, or vocab.json and merges.txt")
    try:
        if table.is_file():
            content = json.loads(table.read_text(encoding="utf-8"))
            model = content.get("model") if isinstance(content, dict) else None
            if not isinstance(model, dict) or model.get("type") != "BPE" or not {"vocab", "merges"} <= model.keys():
                raise ValueError("tokenizer.json holds no byte-pair vocabulary")  # the library raises a bare Exception
        tokenizer = Qwen2Tokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BackendError(f"{folder}: the vocabulary cannot be read ({error}); download its files again") from error
    for token in SPECIAL:
        if len(tokenizer.encode(token, add_special_tokens=False)) != 1:
            raise BackendError(
                f"{folder}: the vocabulary has no special token {token}; this is not an mPLUG-Owl3 folder"
            )
    return tokenizer
