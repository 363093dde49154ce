"""Qwen's byte-level vocabulary, read from `qwen.tiktoken`.

The file lists byte strings by rank, and the rank is the id. A text is cut into pieces by a pattern, and in each piece
the two neighbours whose union has the lowest rank are joined until none is left. Prompts are short, so that this is
done here as written; deriving the merges that the tokenizers library wants would take 8 s for the real file.
"""

import base64
import binascii
import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from tokenizers import Regex
from tokenizers.pre_tokenizers import Split

from qdebias.errors import BackendError

FILE = "qwen.tiktoken"

START, END = "<|im_start|>", "<|im_end|>"
PAD = "<|endoftext|>"
IMAGE, IMAGE_END, SLOT = "<img>", "</img>", "<imgpad>"
TAGS = ("<ref>", "</ref>", "<box>", "</box>", "<quad>", "</quad>", IMAGE, IMAGE_END, SLOT)
"""Tokens that are recognised wherever they stand in a text."""

SPECIAL = (PAD, START, END, *(f"<|extra_{number}|>" for number in range(205)), *TAGS)
"""Tokens whose ids follow the ranks, in this order."""

_PIECES = Split(
    Regex(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
        r"\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
    behavior="isolated",
)
"""The published pattern; only the library's regular expressions know the classes of letters and numbers."""


class Vocabulary:
    """Encodes and decodes text; fits `qdebias.backends.tokens.Tokenizer`.

    Args:
        ranks: Byte strings by rank, every single byte among them.
    """

    def __init__(self, ranks: Sequence[bytes]) -> None:
        self._bytes = [*ranks, *(token.encode() for token in SPECIAL)]
        self._ranks = ranked = {piece: rank for rank, piece in enumerate(ranks)}
        self._special = {token: len(ranks) + place for place, token in enumerate(SPECIAL)}
        self._joined = lru_cache(maxsize=4096)(lambda piece: _join(piece, ranked))

    def __len__(self) -> int:
        return len(self._bytes)

    def id_of(self, special: str) -> int:
        """Return the id of a special token."""
        return self._special[special]

    def encode(self, text: str, special: Iterable[str] = SPECIAL) -> list[int]:
        """Return the ids of `text` in its NFC form.

        Args:
            text: Any text.
            special: The special tokens that are recognised in it; the others stay text.
        """
        parts = re.split(f"({'|'.join(map(re.escape, special))})", unicodedata.normalize("NFC", text))
        ids: list[int] = []
        for place, part in enumerate(parts):
            ids += [self._special[part]] if place % 2 else self._ordinary(part)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`, special tokens included."""
        return b"".join(self._bytes[token] for token in ids).decode(errors="replace")

    def digest(self) -> str:
        """Return the hash of all tokens."""
        return hashlib.blake2b(b"\n".join(map(base64.b64encode, self._bytes)), digest_size=16).hexdigest()

    def _ordinary(self, text: str) -> list[int]:
        return [token for piece, _ in _PIECES.pre_tokenize_str(text) for token in self._joined(piece.encode())]


def read_vocabulary(folder: Path) -> Vocabulary:
    """Return the vocabulary in a folder.

    Raises:
        BackendError: It is missing or damaged.
    """
    path = folder / FILE
    try:
        lines = path.read_bytes().split(b"\n")
        pairs = [line.split() for line in lines if line]
        ranks = [base64.b64decode(piece, validate=True) for piece, _ in pairs]
        numbers = [int(number) for _, number in pairs]
    except FileNotFoundError as error:
        raise BackendError(f"{folder}: holds no vocabulary; it needs {FILE}") from error
    except (OSError, ValueError, binascii.Error) as error:
        raise BackendError(f"{path}: is damaged or only a Git LFS pointer ({error}); obtain it again") from error
    if numbers != list(range(len(ranks))) or not {bytes([byte]) for byte in range(256)} <= set(ranks):
        raise BackendError(f"{path}: does not list every byte and every rank; obtain it again")
    return Vocabulary(ranks)


def _join(piece: bytes, ranks: dict[bytes, int]) -> tuple[int, ...]:
    """Return the ids of one piece."""
    if piece in ranks:
        return (ranks[piece],)
    parts = [bytes([byte]) for byte in piece]
    while len(parts) > 1:
        candidates = [ranks.get(left + right, len(ranks)) for left, right in pairwise(parts)]
        lowest = min(candidates)
        if lowest == len(ranks):
            break
        place = candidates.index(lowest)
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return tuple(ranks[part] for part in parts)
