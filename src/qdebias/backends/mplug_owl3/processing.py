"""Vocabulary, images and prompts of mPLUG-Owl3, as a processor of transformers."""

import json
import re
from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import Any, Self, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image
from transformers import BatchFeature, Qwen2Tokenizer
from transformers.image_processing_utils import BaseImageProcessor

from qdebias.backends.checkpoint import Checkpoint
from qdebias.backends.hf.images import flat
from qdebias.backends.hf.native import NativeProcessor
from qdebias.backends.mplug_owl3.modeling import FIRST, RELEASES, MplugOwl3Config
from qdebias.errors import BackendError, SettingError
from qdebias.image import RgbImage

Grid: TypeAlias = tuple[int, int]
"""Rows and columns of the tiles into which an image is cut."""

GRIDS: tuple[Grid, ...] = ((2, 2), (1, 3), (1, 4), (3, 1), (4, 1), (2, 3), (3, 2))
"""The grids that are tried, in the official order: the first of equals wins. There is no 1 x 1 among them."""

MARKER = "<|image|>"
"""Where an image stands in a prompt. It is ordinary text of five tokens, not a special token."""

OFF, FIXED, SLIP, OFFICIAL = CUT_MODES = ("off", "fixed", "official-240728", "official")
"""Whether and how images are cut into tiles.

"off": not at all, what the model's authors do with several images. "fixed": every image with all its tiles, as the
processor of 241101 does it. "official-240728": as the processor of 240728 does it, including its slip: it lists two
grids per image, its own and 1 x 1, and reads one per image, so of two images the second is announced as 1 x 1, two
crops. The decoder takes as many crops as are announced: all of the first image, then the first two tiles of the second
and no view of the whole. The paper's script ran like this. "official": what the release's own processor does.
"""


def cut_mode(name: str, release: str) -> str:
    """Return the mode of a name for a release, "official" resolved."""
    if name == OFFICIAL:
        return SLIP if release == FIRST else FIXED
    if name not in CUT_MODES:
        raise SettingError(f"there is no cut mode {name!r}; choose one of {', '.join(CUT_MODES)}")
    if name == SLIP and release != FIRST:
        raise SettingError(
            f"cut mode {name!r} repeats a slip of release {FIRST}, which this checkpoint ({release}) does not have; "
            f"choose 'off' or 'fixed'"
        )
    return name


def tiles_text(grid: Grid, release: str) -> str:
    """Return the text instead of the marker of an image that is cut, with one marker for each crop."""
    rows, columns = grid
    if release == FIRST:
        lines = (" ".join(f"subimg({row},{column}){MARKER}" for column in range(columns)) for row in range(rows))
        tiles = "\n".join(lines)
        return f"Cut to {rows} rows {columns} columns with a global view\n{tiles}\nglobal_view{MARKER}"
    tiles = "\n".join([" ".join([MARKER] * columns)] * rows)
    return f"<|start_cut|>{rows}*{columns}\n{tiles}\n{MARKER}<|end_cut|>"


def choose_grid(width: int, height: int, side: int) -> Grid:
    """Return the grid for an image of this size.

    The score of a grid is 100 times the agreement of its shape with the image's, plus that of its size; both are the
    intersection over union of corner-aligned boxes, in float32, as in the official code. That code stores the height of
    the box of the image's shape in an integer tensor, which truncates it; this decides some ties.
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


SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")

_PIECES = re.compile(rf"({re.escape(MARKER)})|(?<=<\|im_start\|>assistant\n)")
"""Splits a text into parts that are encoded separately: markers and replies never merge with the text before them."""

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
"""The prompt of the official processor, in Jinja.

A conversation that does not begin with a system turn gets an empty one, without a line break after it. Turns are
separated by a line break *before* each. Earlier replies are followed by <|endoftext|>. The official processor drops a
last turn of the assistant down to the opening of the reply, so a beginning of the reply never reaches the model. The
paper's script passes one, "The quality of the image is ", and therefore reads the first word of the reply. Here an
answer prefix is appended after the opening; the recipe of the released script has none. Markers and text are separated
by one space, as in that script.
"""


class MplugOwl3ImageProcessor(BaseImageProcessor):
    """Cuts images into square tiles, see `cut_mode`."""

    model_input_names = ["pixel_values"]  # noqa: RUF012  transformers reads a list

    def __init__(self, side: int, cut: str, **options: Any) -> None:  # noqa: ANN401
        super().__init__(**options)
        self.side, self.cut = side, cut

    def preprocess(self, images: Any, return_tensors: str | None = None, **_: object) -> BatchFeature:  # noqa: ANN401
        """Return `pixel_values`, (n, 3, side, side) float32 in [-1, 1], and `grids`, (images, 2), (0, 0) for no cut."""
        crops, grids = zip(*(self.crops(np.asarray(image)) for image in flat(images)), strict=True)
        scaled = (np.concatenate(crops).astype(np.float32) / np.float32(255) - np.float32(0.5)) / np.float32(0.5)
        return BatchFeature({"pixel_values": scaled, "grids": np.array(grids)}, tensor_type=return_tensors)

    def crops(self, image: RgbImage) -> tuple[npt.NDArray[np.uint8], Grid]:
        """Return (n, 3, side, side), the tiles row by row and then the whole image, and their grid."""
        whole = _resized(image, (1, 1), self.side)
        if self.cut == OFF:
            return whole, (0, 0)
        grid = choose_grid(image.shape[1], image.shape[0], self.side)
        return np.concatenate([_resized(image, grid, self.side), whole]), grid


class MplugOwl3Processor(NativeProcessor):
    """Vocabulary, images and prompts of a checkpoint; `words` is the number of tokens in the vocabulary."""

    image_token = MARKER
    marks_images = True  # in words, see `HfBackend.image_token`
    release: str
    words: int

    @classmethod
    def from_folder(
        cls, checkpoint: Checkpoint, config: MplugOwl3Config, *, cut: str | None = None, release: str | None = None
    ) -> Self:
        """Return the processor of a checkpoint; `cut` is one of `CUT_MODES`, `release` refuses any other release."""
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
        images = MplugOwl3ImageProcessor(config.vision.image_size, cut_mode(cut or OFF, config.release))
        processor = cls(images, tokenizer, TEMPLATE)
        processor.release, processor.words = config.release, len(tokenizer)
        processor.identity = {"backend": "mplug-owl3", "release": config.release, "gate": config.gate}
        processor.identity |= {"cut": images.cut, "quantize": "none"}
        return processor

    def with_cut(self, cut: str) -> Self:
        """Return the same with another cut mode."""
        other, mode = copy(self), cut_mode(cut, self.release)
        other.image_processor = MplugOwl3ImageProcessor(self.image_processor.side, mode)
        other.identity = {**self.identity, "cut": mode}
        return other

    def expanded(self, text: str, grids: Sequence[Sequence[int]]) -> str:
        """Return a prompt with the text of its tiles instead of each marker; a grid of (0, 0) leaves the marker."""
        announced = [(rows, columns) for rows, columns in grids]
        if self.image_processor.cut == SLIP:
            announced = [entry for grid in announced for entry in (grid, (1, 1))][: len(announced)]
        texts = (tiles_text(grid, self.release) if grid[0] else MARKER for grid in announced)
        return re.sub(re.escape(MARKER), lambda _: next(texts), text)

    def ids_of(self, text: str) -> list[int]:
        """Return the ids of a prompt that contains the text of its tiles."""
        parts = [part for part in _PIECES.split(text) if part]
        return [token for part in parts for token in self.tokenizer.encode(part, add_special_tokens=False)]

    def __call__(self, images: Any = None, text: Sequence[str] = (), **options: Any) -> BatchFeature:  # noqa: ANN401
        """Return the inputs of one text about some images.

        `input_ids`, `attention_mask` and `mm_token_type_ids` are (1, L), the last with 1 where a marker begins;
        `pixel_values` are the tiles that have a marker. (The official processor of 240728 passes on all tiles; those
        without a marker are never read.)
        """
        made = self.image_processor(images, return_tensors="np") if images else {"grids": np.zeros((0, 2), dtype=int)}
        ids = self.ids_of(self.expanded(text[0], np.asarray(made["grids"]).tolist()))
        marker = self.tokenizer.encode(MARKER, add_special_tokens=False)
        begins = [int(ids[place : place + len(marker)] == marker) for place in range(len(ids))]
        data = {"input_ids": [ids], "attention_mask": [[1] * len(ids)], "mm_token_type_ids": [begins]}
        pixels = {"pixel_values": made["pixel_values"][: sum(begins)]} if images else {}
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
                raise ValueError("tokenizer.json holds no byte-pair vocabulary")  # transformers raises Exception
        tokenizer = Qwen2Tokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BackendError(f"{folder}: the vocabulary cannot be read ({error}); download its files again") from error
    if missing := [token for token in SPECIAL if len(tokenizer.encode(token, add_special_tokens=False)) != 1]:
        raise BackendError(
            f"{folder}: the vocabulary has no special token {missing[0]}; this is not an mPLUG-Owl3 folder"
        )
    return tokenizer
