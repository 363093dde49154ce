"""The Qwen2 vocabulary of a checkpoint, read without any code of the checkpoint's own."""

import json
from collections.abc import Sequence
from pathlib import Path

from transformers import Qwen2Tokenizer

from qdebias.errors import BackendError

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


class Vocabulary:
    """Encodes and decodes text; fits `qdebias.backends.tokens.Tokenizer`."""

    def __init__(self, tokenizer: Qwen2Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.pad = int(tokenizer.convert_tokens_to_ids("<|endoftext|>"))

    def __len__(self) -> int:
        return len(self._tokenizer)

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`; special tokens in it are recognised, none is added."""
        return [int(token) for token in self._tokenizer(text, add_special_tokens=False)["input_ids"]]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`, special tokens included."""
        text = self._tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return str(text)


def read_vocabulary(folder: Path) -> Vocabulary:
    """Return the vocabulary in a folder: `tokenizer.json`, or `vocab.json` with `merges.txt`.

    Raises:
        BackendError: There is none, or it lacks one of the tokens that divide the turns.
    """
    if not (folder / "tokenizer.json").is_file() and not (folder / "vocab.json").is_file():
        raise BackendError(f"{folder}: holds no vocabulary; it needs tokenizer.json, or vocab.json and merges.txt")
    try:
        _check_table(folder / "tokenizer.json")
        tokenizer = Qwen2Tokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BackendError(f"{folder}: the vocabulary cannot be read ({error}); obtain its files again") from error
    vocabulary = Vocabulary(tokenizer)
    for token in SPECIAL:
        if len(vocabulary.encode(token)) != 1:
            raise BackendError(f"{folder}: the vocabulary has no special token {token}; this is no mPLUG-Owl3 folder")
    return vocabulary


def _check_table(path: Path) -> None:
    """Refuse, by a ValueError, what the tokenizers library would refuse by a bare Exception."""
    if not path.is_file():
        return
    content = json.loads(path.read_text(encoding="utf-8"))
    model = content.get("model") if isinstance(content, dict) else None
    if not isinstance(model, dict) or model.get("type") != "BPE" or not {"vocab", "merges"} <= model.keys():
        raise ValueError(f"{path.name} holds no byte-pair vocabulary")
