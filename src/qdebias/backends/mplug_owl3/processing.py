"""Vocabulary, images and prompts of mPLUG-Owl3, as transformers' processors have them."""

import json
import re
from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import Any, Self

import numpy as np
from transformers import BatchFeature, Qwen2Tokenizer
from transformers.image_processing_utils import BaseImageProcessor

from qdebias.backends.folder import Checkpoint
from qdebias.backends.mplug_owl3.configuration import MplugOwl3Config
from qdebias.backends.mplug_owl3.cutting import CutMode, cut_mode
from qdebias.backends.mplug_owl3.release import MARKER, RELEASES, Release
from qdebias.backends.native_processor import NativeProcessor
from qdebias.backends.sharing_images import flat
from qdebias.errors import BackendError, SettingError

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
    """Cuts images into square tiles, see `cutting.py`.

    Args:
        side: Pixels a side of a tile.
        cut: Whether and how images are cut.
    """

    model_input_names = ["pixel_values"]  # noqa: RUF012  transformers reads a list

    def __init__(self, side: int, cut: CutMode, **options: Any) -> None:  # noqa: ANN401
        super().__init__(**options)
        self.side, self.cut = side, cut

    def preprocess(self, images: Any, return_tensors: str | None = None, **_: object) -> BatchFeature:  # noqa: ANN401
        """Return `pixel_values`, (n, 3, side, side) float32 in [-1, 1], and `grids`, (images, 2), (0, 0) for no cut."""
        crops = [self.cut.crops(np.asarray(image), self.side) for image in flat(images)]
        pixels = np.concatenate([crop.pixels for crop in crops]).astype(np.float32)
        scaled = (pixels / np.float32(255) - np.float32(0.5)) / np.float32(0.5)
        grids = np.array([crop.grid or (0, 0) for crop in crops])
        return BatchFeature({"pixel_values": scaled, "grids": grids}, tensor_type=return_tensors)


class MplugOwl3Processor(NativeProcessor):
    """Vocabulary, images and prompts of a checkpoint.

    Attributes:
        release: Decides the text around tiles, and what the official model is told about markers.
        words: How many rows of the output layer are words; the others pad it.
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

        Args:
            checkpoint: A folder with a vocabulary.
            config: The model's, fitted to its weights.
            cut: "off" (None) squeezes an image into one tile, "fixed" cuts it into tiles, "official" does what the
                release's own processor does and the paper's script did: for 240728 "official-240728", a slip.
            release: Refuse any other. None: whatever the weights are.

        Raises:
            BackendError: The vocabulary is missing or damaged, or does not fit the model, or the release is another.
            SettingError: There is no such cut mode or release.
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
                f"obtain the files of one version"
            )
        found = RELEASES[config.release]
        images = MplugOwl3ImageProcessor(config.vision.image_size, cut_mode(cut or "off", found))
        processor = cls(images, tokenizer, TEMPLATE)
        processor.release, processor.words = found, len(tokenizer)
        processor.identity = {"backend": "mplug-owl3", "release": found.name, "gate": config.gate}
        processor.identity |= {"cut": images.cut.name, "quantize": "none"}
        return processor

    def with_cut(self, cut: str) -> Self:
        """Return the same with another cut mode.

        Raises:
            SettingError: There is no such mode, or it belongs to the other release.
        """
        other, mode = copy(self), cut_mode(cut, self.release)
        other.image_processor = MplugOwl3ImageProcessor(self.image_processor.side, mode)
        other.identity = {**self.identity, "cut": mode.name}
        return other

    def expanded(self, text: str, grids: Sequence[Sequence[int]]) -> str:
        """Return a prompt with the text of its tiles in the place of each marker; grids of (0, 0) leave one."""
        announced = self.image_processor.cut.announced([(grid[0], grid[1]) if grid[0] else None for grid in grids])
        texts = (MARKER if grid is None else self.release.tiles_text(grid) for grid in announced)
        return re.sub(re.escape(MARKER), lambda _: next(texts), text)

    def ids_of(self, text: str) -> list[int]:
        """Return the ids of a prompt whose tiles are written out."""
        return [token for ids in self._pieces(text) for token in ids]

    def __call__(
        self,
        images: Any = None,  # noqa: ANN401
        text: Sequence[str] = (),
        *,
        return_tensors: str | None = None,
        **_: object,
    ) -> BatchFeature:
        """Return the inputs of one text about some images.

        `input_ids`, `attention_mask` and `mm_token_type_ids` are (1, L), the last with 1 where a marker begins;
        `pixel_values` are the tiles that have a marker, and `media_offset` is what the official model takes of that
        name. (The stock processor of 240728 hands over all tiles; those without a marker are never read.)
        """
        shown = self.image_processor(images, return_tensors="np") if images else {"grids": np.zeros((0, 2), dtype=int)}
        pieces = list(self._pieces(self.expanded(text[0], np.asarray(shown["grids"]).tolist())))
        ids = [token for piece in pieces for token in piece]
        marker, starts, length = self.tokenizer.encode(MARKER, add_special_tokens=False), [], 0
        for piece in pieces:
            starts += [length] if piece == marker else []
            length += len(piece)
        begins = np.isin(np.arange(length), starts).astype(int)
        data: dict[str, Any] = {
            "input_ids": [ids],
            "attention_mask": [[1] * length],
            "mm_token_type_ids": [begins.tolist()],
            "media_offset": self.release.media_offset(tuple(starts), length),
        }
        pixels = {"pixel_values": shown["pixel_values"][: len(starts)]} if images else {}
        return BatchFeature(data | pixels, tensor_type=return_tensors)

    def _pieces(self, text: str) -> list[list[int]]:
        parts = [part for part in _PIECES.split(text) if part]
        return [self.tokenizer.encode(part, add_special_tokens=False) for part in parts]


def read_vocabulary(folder: Path) -> Qwen2Tokenizer:
    """Return the vocabulary in a folder: `tokenizer.json`, or `vocab.json` with `merges.txt`.

    Raises:
        BackendError: There is none, or it lacks one of the tokens that divide the turns.
    """
    table = folder / "tokenizer.json"
    if not table.is_file() and not (folder / "vocab.json").is_file():
        raise BackendError(f"{folder}: holds no vocabulary; it needs tokenizer.json, or vocab.json and merges.txt")
    try:
        if table.is_file():
            _check_table(json.loads(table.read_text(encoding="utf-8")))
        tokenizer = Qwen2Tokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BackendError(f"{folder}: the vocabulary cannot be read ({error}); obtain its files again") from error
    for token in SPECIAL:
        if len(tokenizer.encode(token, add_special_tokens=False)) != 1:
            raise BackendError(f"{folder}: the vocabulary has no special token {token}; this is no mPLUG-Owl3 folder")
    return tokenizer


def _check_table(content: Any) -> None:  # noqa: ANN401
    """Refuse, by a ValueError, what the tokenizers library would refuse by a bare Exception."""
    model = content.get("model") if isinstance(content, dict) else None
    if not isinstance(model, dict) or model.get("type") != "BPE" or not {"vocab", "merges"} <= model.keys():
        raise ValueError("tokenizer.json holds no byte-pair vocabulary")
