"""Llama's vocabulary, and ids as the official code of mPLUG-Owl2 makes them.

A prompt is cut at the images, and each part is encoded on its own, with a space put in front of it. Today's
`AutoTokenizer` encodes a part that begins with a space otherwise than the tokenizer that the models were trained with:
it loses that space. So only the pieces and their ranks are taken from the files.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from types import MappingProxyType

from tokenizers import Tokenizer, decoders, normalizers
from tokenizers.models import BPE

from qdebias.backends.mplug_owl2.configuration import IMAGE_TOKEN
from qdebias.errors import BackendError

FILE = "tokenizer.model"
MARKER = "<|image|>"
"""An image in a prompt; not in the vocabulary."""

START, END, UNKNOWN = "<s>", "</s>", "<unk>"
SPACE = "\u2581"
"""How a space is written in the vocabulary."""

(_PIECE, _TRAINING), (_TEXT, _SCORE, _KIND), _MODEL_KIND = (1, 2), (1, 2, 3), 3
"""Numbers of fields in a SentencePiece file: of the whole, of a piece, of the training."""

_NORMAL, _BPE = b"\1", b"\2"
"""A piece that may be joined of others, and a vocabulary in which pieces are joined by rank."""

_VARINT, _BYTES, _FLOAT = 0, 2, 5
"""Kinds of fields."""


class LlamaVocabulary:
    """A byte-pair vocabulary with a fallback to bytes; what a processor needs of a tokenizer."""

    bos_token = None  # `prompt` writes it, not a chat template
    special_tokens_map: Mapping[str, str] = MappingProxyType({})
    all_special_tokens = (UNKNOWN, START, END)

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
        """Return the text of `ids`, special tokens included, with one marker for the tokens of an image."""
        parts = groupby(ids, lambda token: token == IMAGE_TOKEN)
        return "".join(
            MARKER if image else self._tokenizer.decode(list(part), skip_special_tokens=False) for image, part in parts
        )

    def prompt(self, text: str) -> list[int]:
        """Return the ids of a prompt, one `IMAGE_TOKEN` for each marker.

        The start of the sequence stands once, except where a marker comes first: then officially it stands before every
        part, and so it does here.
        """
        spaced = (
            part if not part or part.startswith((START, END, UNKNOWN)) else f" {part}" for part in text.split(MARKER)
        )
        first, *others = (self.encode(START + part) if part else [] for part in spaced)
        skipped = 1 if first else 0
        return first + [token for part in others for token in (IMAGE_TOKEN, *part[skipped:])]


def read_vocabulary(folder: Path) -> LlamaVocabulary:
    """Return the vocabulary in a folder.

    Raises:
        BackendError: There is none, it is damaged, or not of this kind.
    """
    path = folder / FILE
    try:
        vocabulary = LlamaVocabulary(_from_sentencepiece(path.read_bytes()))
    except FileNotFoundError as error:
        raise BackendError(f"{folder}: holds no vocabulary; it needs {FILE}") from error
    except (OSError, ValueError, KeyError, IndexError, struct.error) as error:
        raise BackendError(f"{path}: is damaged or only a Git LFS pointer ({error}); download it again") from error
    if vocabulary.encode(f"{START}{END}") != [1, 2]:
        raise BackendError(f"{path}: does not begin with {UNKNOWN}, {START} and {END}; this is no vocabulary of Llama")
    return vocabulary


def _from_sentencepiece(content: bytes) -> Tokenizer:
    """Return what a SentencePiece file says: of two pieces that could be joined, the higher score comes first."""
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
    """Yield number and content of every field of a message in the format of Protocol Buffers."""
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
    """Return the integer at a place, seven bits a byte, and where it ends."""
    value = shift = 0
    while True:
        byte = content[at]
        value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128:
            return value, at
