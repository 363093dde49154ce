"""Vocabulary, images and prompts of mPLUG-Owl2, as a processor of transformers."""

import struct
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Self

from PIL import Image
from tokenizers import Tokenizer, decoders, normalizers
from tokenizers.models import BPE
from transformers import BatchFeature
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from qdebias.backends.checkpoint import Checkpoint
from qdebias.backends.hf.images import flat, image_settings
from qdebias.backends.hf.native import NativeProcessor
from qdebias.backends.mplug_owl2.modeling import IMAGE_TOKEN, MplugOwl2Config
from qdebias.errors import BackendError, SettingError

VOCABULARY_FILE = "tokenizer.model"
MARKER = "<|image|>"
"""An image in a prompt; not in the vocabulary."""

START, END, UNKNOWN = "<s>", "</s>", "<unk>"
SPACE = "\u2581"
"""A space in the vocabulary."""

(_PIECE, _TRAINING), (_TEXT, _SCORE, _KIND), _MODEL_KIND = (1, 2), (1, 2, 3), 3
"""Numbers of fields in a SentencePiece file: of the file, of a piece, of the training settings."""

_NORMAL, _BPE = b"\1", b"\2"
"""The kind of ordinary pieces, and of a byte-pair vocabulary."""

_VARINT, _BYTES, _FLOAT = 0, 2, 5
"""Types of fields."""


class LlamaVocabulary:
    """A byte-pair vocabulary with a fallback to bytes, with the methods of a tokenizer that a processor calls."""

    bos_token = None  # `prompt` writes it, not a chat template
    special_tokens_map: Mapping[str, str] = {}

    def __init__(self, tokenizer: Tokenizer) -> None:
        tokenizer.normalizer = normalizers.Replace(" ", SPACE)
        tokenizer.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()])
        tokenizer.add_special_tokens([UNKNOWN, START, END])
        self._tokenizer = tokenizer

    def __len__(self) -> int:
        return int(self._tokenizer.get_vocab_size())

    def encode(self, text: str, **_: object) -> list[int]:
        """Return the ids of `text` as it is, without a space in front; special tokens are recognised."""
        text.encode()
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: Sequence[int], **_: object) -> str:
        """Return the text of `ids` with special tokens, and one marker for the tokens of an image."""
        parts = groupby(ids, lambda token: token == IMAGE_TOKEN)
        return "".join(
            MARKER if image else self._tokenizer.decode(list(part), skip_special_tokens=False) for image, part in parts
        )

    def prompt(self, text: str) -> list[int]:
        """Return the ids of a prompt, one `IMAGE_TOKEN` for each marker.

        The start of the sequence is written once, but before every part if a marker comes first, as officially.
        """
        spaced = (
            part if not part or part.startswith((START, END, UNKNOWN)) else f" {part}" for part in text.split(MARKER)
        )
        first, *others = (self.encode(START + part) if part else [] for part in spaced)
        skipped = 1 if first else 0
        return first + [token for part in others for token in (IMAGE_TOKEN, *part[skipped:])]


def read_vocabulary(folder: Path) -> LlamaVocabulary:
    """Return the vocabulary in a folder."""
    path = folder / VOCABULARY_FILE
    try:
        vocabulary = LlamaVocabulary(_from_sentencepiece(path.read_bytes()))
    except FileNotFoundError as error:
        raise BackendError(f"{folder}: holds no vocabulary; it needs {VOCABULARY_FILE}") from error
    except (OSError, ValueError, KeyError, IndexError, struct.error) as error:
        raise BackendError(f"{path}: is damaged or only a Git LFS pointer ({error}); download it again") from error
    if vocabulary.encode(f"{START}{END}") != [1, 2]:
        raise BackendError(f"{path}: does not begin with {UNKNOWN}, {START} and {END}; this is not a Llama vocabulary")
    return vocabulary


def _from_sentencepiece(content: bytes) -> Tokenizer:
    """Return the tokenizer of a SentencePiece file; pieces with a higher score are merged first."""
    fields = [(number, dict(_fields(value))) for number, value in _fields(content) if number in (_PIECE, _TRAINING)]
    pieces = [field for number, field in fields if number == _PIECE]
    if not pieces or [field.get(_MODEL_KIND) for number, field in fields if number == _TRAINING] != [_BPE]:
        raise ValueError("holds no byte-pair vocabulary")
    ranks = {piece[_TEXT].decode(): rank for rank, piece in enumerate(pieces)}
    scores = {
        piece[_TEXT].decode(): struct.unpack("<f", piece.get(_SCORE, bytes(4)))[0]
        for piece in pieces
        if piece.get(_KIND, _NORMAL) == _NORMAL
    }
    merges = [
        (text[:cut], text[cut:])
        for text in sorted(scores, key=lambda text: -scores[text])
        for cut in range(1, len(text))
        if text[:cut] in scores and text[cut:] in scores
    ]
    return Tokenizer(BPE(vocab=ranks, merges=merges, unk_token=UNKNOWN, fuse_unk=True, byte_fallback=True))


def _fields(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield number and content of every field of a Protocol Buffers message."""
    at = 0
    while at < len(content):
        key, at = _varint(content, at)
        if key & 7 == _VARINT:
            start, (_, end) = at, _varint(content, at)
        elif key & 7 == _BYTES:
            size, start = _varint(content, at)
            end = start + size
        elif key & 7 == _FLOAT:
            start, end = at, at + 4
        else:
            raise ValueError(f"no field begins at byte {at}")
        if end > len(content):
            raise ValueError("cut short")
        yield key >> 3, content[start:end]
        at = end


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """Return the integer at an offset, seven bits a byte, and the offset of its end."""
    value = shift = 0
    while True:
        byte = content[at]
        value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128:
            return value, at


IMAGE_FILE = "preprocessor_config.json"

_TEMPLATE = """
{{- 'USER: ' -}}
{%- for part in messages[0].content -%}
  {%- if part.type == 'text' -%}
    {{- part.text + ('' if loop.last else '\\n') -}}
  {%- else -%}
    {{- IMAGE -}}
  {%- endif -%}
{%- endfor -%}
{{- (BREAK if messages[0].content[-1].type == 'image' else ' ') + 'ASSISTANT:' -}}
{%- for message in messages[1:] -%}
  {{- ' ' + message.content[0].text -}}
{%- endfor -%}
"""

_NAMED = """
    {%- set first = loop.index0 - (1 if messages[0].content[0].type == 'text' else 0) -%}
    {%- if messages[0].content | length == 2 -%}
      {{- 'The image: <|image|>' + ('' if loop.last else ' ') -}}
    {%- else -%}
      {{- ('\\n' if first else '') + 'The ' + ['first', 'second', 'third', 'fourth'][first] + ' image: <|image|>' -}}
    {%- endif -%}
"""

FORMS: Mapping[str, str] = {
    "score": _TEMPLATE.replace("IMAGE", "'<|image|>'").replace("BREAK", "'\\n'"),
    "conversation": _TEMPLATE.replace("IMAGE", "'<|image|>'").replace("BREAK", "' '"),
    "named": _TEMPLATE.replace("{{- IMAGE -}}", _NAMED).replace("BREAK", "' '"),
}
"""Chat templates of one question.

"score": an image after the question is followed by a line break, as in the scorers of Q-Align and DeQA-Score.
"conversation": by a space, as in their evaluation scripts. "named": each image follows "The first image:" and so on, as
in the training of Co-Instruct. The first two write images before the question without separators.
"""


class MplugOwl2ImageProcessor(CLIPImageProcessorPil):
    """CLIP's, after making the image square as `MplugOwl2Config.image_aspect_ratio` specifies."""

    aspect: str | None = None

    def preprocess(self, images: Any, *others: object, **options: Any) -> BatchFeature:  # noqa: ANN401
        """Return `pixel_values`, (n, 3, side, side) float32 with about zero mean and unit deviation."""
        squares: list[Image.Image] = []
        for image in flat(images):
            side = max(image.size)
            if self.aspect == "resize":
                squares.append(image.resize((side, side)))
            elif self.aspect == "pad" and image.width != image.height:
                squares.append(Image.new("RGB", (side, side), tuple(int(mean * 255) for mean in self.image_mean)))
                squares[-1].paste(image, ((side - image.width) // 2, (side - image.height) // 2))
            else:
                squares.append(image)
        return super().preprocess(squares, *others, **options)


class MplugOwl2Processor(NativeProcessor):
    """Vocabulary, images and prompts of a checkpoint; `image_tokens` includes the one that ends an image."""

    image_token = MARKER
    image_tokens = 0

    @classmethod
    def from_folder(cls, checkpoint: Checkpoint, config: MplugOwl2Config, *, form: str | None = None) -> Self:
        """Return the processor of a checkpoint; `form` is one of `FORMS`, None is "score"."""
        form = "score" if form is None else form
        if form not in FORMS:
            raise SettingError(f"form {form!r} is unknown; use one of {', '.join(FORMS)}")
        side, settings = config.vision["image_size"], checkpoint.read_json(IMAGE_FILE)
        if config.image_aspect_ratio not in ("pad", "resize", None):
            raise BackendError(
                f"{checkpoint.folder}: image_aspect_ratio is {config.image_aspect_ratio!r}; known are 'pad' and "
                f"'resize'"
            )
        if settings.get("size", settings.get("crop_size")) not in (side, {"shortest_edge": side}):
            raise BackendError(
                f"{checkpoint.folder}: {IMAGE_FILE} is missing, or is not for images of {side} pixels, which the model "
                f"reads; download it again"
            )
        images: MplugOwl2ImageProcessor = MplugOwl2ImageProcessor.from_dict(settings)
        images.aspect, tokenizer = config.image_aspect_ratio, read_vocabulary(checkpoint.folder)
        if len(tokenizer) > config.vocab_size:
            raise BackendError(
                f"{checkpoint.folder}: the vocabulary has {len(tokenizer)} tokens, but config.json says "
                f"{config.vocab_size}; download the files of one version"
            )
        processor = cls(images, tokenizer, FORMS[form])
        processor.image_tokens = config.image_tokens
        processor.identity = {"backend": "mplug-owl2", "form": form, "images": image_settings(processor)}
        return processor

    def ids_of(self, text: str) -> list[int]:
        """Return the ids of a prompt, `IMAGE_TOKEN` for each token of an image."""
        counted = ((token, self.image_tokens if token == IMAGE_TOKEN else 1) for token in self.tokenizer.prompt(text))
        return [token for token, count in counted for _ in range(count)]
