"""How a question is written for the base model and for Chat.

An image is <img>, 256 slots and </img>. (The official code writes the path of the image's file into the slots as bytes;
their embeddings are all replaced by the image's tokens, so that only the ids differ: here all are <imgpad>.)

Several images are numbered, "Picture 1: <img>...</img>" and a line break each, as the official tokenizer's list format
writes them; Chat numbers a single one too. A single image of the base model stands bare, as in its training and in its
repository's own evaluation. Which form the paper used, it does not say.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from qdebias.backends.qwen_vl.config import SLOTS
from qdebias.backends.qwen_vl.vocabulary import IMAGE, IMAGE_END, SLOT, SPECIAL, TAGS
from qdebias.prompts import Placement, Question


@dataclass(frozen=True, slots=True)
class Piece:
    """A text that is tokenised on its own.

    Attributes:
        text: The text.
        special: The special tokens that are recognised in it; others stay text.
    """

    text: str
    special: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Written:
    """A question as the model reads it.

    Attributes:
        pieces: In order, up to the end of the answer prefix.
        end: What the text of the last piece ends in.
        lead: White space that belongs before the first word of an answer, see `option_tokens`.
    """

    pieces: tuple[Piece, ...]
    end: str
    lead: str = ""


class Form(Protocol):
    """A way of writing questions."""

    @property
    def name(self) -> str:
        """What it is called in settings and fingerprints."""
        ...

    def write(self, question: Question, count: int, placement: Placement) -> Written:
        """Return a question about `count` images."""
        ...


@dataclass(frozen=True, slots=True)
class Base:
    """Plain text, of which the answer is the continuation; one space divides them unless a line ends there."""

    name: str = "base"

    def write(self, question: Question, count: int, placement: Placement) -> Written:
        """Return a question about `count` images."""
        content = _content(question.text, _bare() if count == 1 else _numbered(count), placement)
        prefix = question.answer_prefix
        space = "" if placement == "after" or content[-1].isspace() or prefix[:1].isspace() else " "
        if not prefix:
            return Written((Piece(content, SPECIAL),), end="", lead=space)
        return Written((Piece(content + space + prefix, SPECIAL),), end=prefix)


@dataclass(frozen=True, slots=True)
class Chat:
    """A turn of the user in ChatML, and the beginning of the reply; control tokens in either stay text."""

    name: str = "chat"

    def write(self, question: Question, count: int, placement: Placement) -> Written:
        """Return a question about `count` images."""
        system = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        pieces = (
            Piece(f"{system}<|im_start|>user\n", SPECIAL),
            Piece(_content(question.text, _numbered(count), placement), TAGS),
            Piece("<|im_end|>\n<|im_start|>assistant\n", SPECIAL),
            Piece(question.answer_prefix, TAGS),
        )
        return Written(pieces, end=f"<|im_start|>assistant\n{question.answer_prefix}")


FORMS: Mapping[str, Form] = MappingProxyType({"base": Base(), "chat": Chat()})


def _bare() -> str:
    return IMAGE + SLOT * SLOTS + IMAGE_END


def _numbered(count: int) -> str:
    return "".join(f"Picture {number}: {_bare()}\n" for number in range(1, count + 1))


def _content(text: str, images: str, placement: Placement) -> str:
    return images + text if placement == "before" else f"{text}\n{images}"
