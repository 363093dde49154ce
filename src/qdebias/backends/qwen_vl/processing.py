"""Vocabulary, images and prompts of Qwen-VL, as a processor of transformers.

An image is <img>, 256 slots and </img>. The official code writes the path of the image file into the slots; here all
are <imgpad>, which changes the ids but not the embeddings, as the image's tokens replace them.
"""

import base64
import binascii
import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import tiktoken
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from qdebias.backends.checkpoint import Checkpoint
from qdebias.backends.hf.native import NativeProcessor
from qdebias.backends.qwen_vl.modeling import SLOTS, QwenVLConfig
from qdebias.errors import BackendError, SettingError

FILE = "qwen.tiktoken"

PAD, IMAGE, IMAGE_END, SLOT = "<|endoftext|>", "<img>", "</img>", "<imgpad>"
TAGS = ("<ref>", "</ref>", "<box>", "</box>", "<quad>", "</quad>", IMAGE, IMAGE_END, SLOT)
SPECIAL = (PAD, "<|im_start|>", "<|im_end|>", *(f"<|extra_{number}|>" for number in range(205)), *TAGS)
"""Tokens whose ids follow the ranks of the file, in this order."""

PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""The published pattern that splits a text into pieces that are encoded separately."""

PLACEHOLDER = IMAGE + IMAGE_END
"""An image in the text that a chat template writes; its slots are filled in when the text is encoded."""

_REPLY = "<|im_start|>assistant\n"

_PARTS = """
{%- for part in messages[0].content -%}
  {%- if part.type == 'text' -%}
    {{- part.text + ('\\n' if loop.first and not loop.last else '') -}}
  {%- elif BARE -%}
    {{- '<img></img>' -}}
  {%- else -%}
    {{- 'Picture ' ~ (loop.index if messages[0].content[0].type == 'image' else loop.index - 1) -}}
    {{- ': <img></img>\\n' -}}
  {%- endif -%}
{%- endfor -%}
"""

_BASE = f"""
{_PARTS.replace("BARE", "messages[0].content | length == 2")}
{{%- set last = messages[0].content[-1].text -%}}
{{%- for message in messages[1:] -%}}
  {{%- set reply = message.content[0].text -%}}
  {{{{- (' ' if last and last == last.rstrip() and reply == reply.lstrip() else '') + reply -}}}}
{{%- endfor -%}}
"""

_CHAT = f"""
{{{{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n<|im_start|>user\\n' -}}}}
{_PARTS.replace("BARE", "false")}
{{{{- '<|im_end|>\\n<|im_start|>assistant\\n' -}}}}
{{%- for message in messages[1:] -%}}
  {{{{- message.content[0].text -}}}}
{{%- endfor -%}}
"""

FORMS: Mapping[str, str] = {"base": _BASE, "chat": _CHAT}
"""Chat templates of one question.

"base": plain text that the answer continues, after one space unless the line ends there. "chat": a turn of the user in
ChatML, and the beginning of the reply. Several images are numbered, "Picture 1: <img>...</img>" and a line break each,
as in the list format of the official tokenizer, and so is a single image of Chat. A single image of the base model is
not, as in its training and in its repository's evaluation. The paper does not state which form it used.
"""

FORM_OF = {"raw": "base", "chatml": "chat"}
"""From `chat_format` in generation_config.json to the form of the questions."""


class QwenTokenizer:
    """Qwen's byte-level vocabulary, with the methods of a tokenizer that a processor calls; ranks are ids."""

    bos_token = None
    special_tokens_map: Mapping[str, str] = {}

    def __init__(self, ranks: Sequence[bytes]) -> None:
        self._tokens = [*ranks, *(token.encode() for token in SPECIAL)]
        self._special = {token: len(ranks) + place for place, token in enumerate(SPECIAL)}
        by_rank = {piece: rank for rank, piece in enumerate(ranks)}
        self._encoding = tiktoken.Encoding(FILE, pat_str=PATTERN, mergeable_ranks=by_rank, special_tokens=self._special)

    def __len__(self) -> int:
        return len(self._tokens)

    def id_of(self, special: str) -> int:
        """Return the id of a special token."""
        return self._special[special]

    def encode(self, text: str, **_: object) -> list[int]:
        """Return the ids of `text` in its NFC form; special tokens are recognised."""
        text.encode()  # half a surrogate pair raises
        return self._encoding.encode(unicodedata.normalize("NFC", text), allowed_special="all", disallowed_special=())

    def decode(self, ids: Sequence[int], **_: object) -> str:
        """Return the text of `ids` with special tokens."""
        return self._encoding.decode(ids)

    def digest(self) -> str:
        """Return the hash of all tokens."""
        return hashlib.blake2b(b"\n".join(map(base64.b64encode, self._tokens)), digest_size=16).hexdigest()


def read_vocabulary(folder: Path) -> QwenTokenizer:
    """Return the vocabulary in a folder."""
    path = folder / FILE
    try:
        pairs = [line.split() for line in path.read_bytes().split(b"\n") if line]
        ranks = [base64.b64decode(piece, validate=True) for piece, _ in pairs]
        numbers = [int(number) for _, number in pairs]
    except FileNotFoundError as error:
        raise BackendError(f"{folder}: holds no vocabulary; it needs {FILE}") from error
    except (OSError, ValueError, binascii.Error) as error:
        raise BackendError(f"{path}: is damaged or only a Git LFS pointer ({error}); download it again") from error
    if numbers != list(range(len(ranks))) or not {bytes([byte]) for byte in range(256)} <= set(ranks):
        raise BackendError(f"{path}: does not list every byte and every rank; download it again")
    return QwenTokenizer(ranks)


class QwenVLProcessor(NativeProcessor):
    """Vocabulary, images and prompts of a checkpoint."""

    image_token = PLACEHOLDER

    @classmethod
    def from_folder(cls, checkpoint: Checkpoint, config: QwenVLConfig, *, form: str | None = None) -> Self:
        """Return the processor of a checkpoint; `form` is one of `FORMS`, by default that of generation_config.json."""
        if form is None:
            chat_format = checkpoint.read_json("generation_config.json").get("chat_format")
            if chat_format not in FORM_OF:
                raise SettingError(
                    f"{checkpoint.folder}: chat_format in generation_config.json is {chat_format!r}, not 'raw' (base) "
                    f"or 'chatml' (chat); pass form='base' or form='chat'"
                )
            form = FORM_OF[chat_format]
        if form not in FORMS:
            raise SettingError(f"form {form!r} is unknown; use one of {', '.join(FORMS)}")
        tokenizer = read_vocabulary(checkpoint.folder)
        slot = tokenizer.id_of(SLOT)
        if len(tokenizer) > config.vocab_size or slot != config.image_token_id:
            raise BackendError(
                f"{checkpoint.folder}: {FILE} gives {len(tokenizer)} tokens, {SLOT} being {slot}, but config.json has "
                f"{config.vocab_size} and {config.image_token_id}; download the files of one version"
            )
        side = (config.visual or {})["image_size"]
        squeeze = CLIPImageProcessorPil(size={"height": side, "width": side}, do_center_crop=False)
        processor = cls(squeeze, tokenizer, FORMS[form])
        processor.identity = {"backend": "qwen-vl", "vocabulary": tokenizer.digest(), "form": form}
        return processor

    def ids_of(self, text: str) -> list[int]:
        """Return the ids of a prompt; the reply is encoded separately, so it never merges with the text before it."""
        filled = text.replace(PLACEHOLDER, IMAGE + SLOT * SLOTS + IMAGE_END)
        question, opening, reply = filled.rpartition(_REPLY)
        return [token for part in (question + opening, reply) for token in self.tokenizer.encode(part)]
