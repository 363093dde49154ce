"""What is sent to a model: questions with their answer options, and the images they are about."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from qdebias.errors import SettingError
from qdebias.image import RgbImage

Placement: TypeAlias = Literal["before", "after"]

_IMAGES = (
    r"<[/|｜\w -]*(?:image|img|vision|video|audio|picture)[|｜\w -]*>"
    r"|</?im_\w+>|<row_\d+_col_\d+>|<__\w+__>|\[/?IMG\w*\]"
)
_TURNS = (
    r"</?s>|<(?:bos|eos|pad|unk|mask|sop|eop|fim_\w+)>|<(?:start|end)_of_\w+>|\[/?(?:INST|SYSTEM_PROMPT|[gs]?MASK)\]"
)
_BARRED = r"<[|｜][^<>\s]{1,64}>|<[^<>|｜\s]{1,64}[|｜]>"
_IMAGE = re.compile(_IMAGES, re.IGNORECASE)
_SPECIAL = re.compile(f"{_IMAGES}|{_TURNS}|{_BARRED}", re.IGNORECASE)
"""How published vocabularies write image placeholders, turn marks and other tokens that are not text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question and how its answer is read.

    Attributes:
        text: The user's message, without the images.
        answer_prefix: How the assistant's reply begins; the options continue it. Empty: the options are the first
            word of the reply.
        options: The K answers whose logits are read, each exactly as it continues `answer_prefix`, with its space:
            " good" after "The quality of the image is".
        values: (K,) what each option stands for, in [0, 1].
    """

    text: str
    answer_prefix: str = ""
    options: tuple[str, ...]
    values: tuple[float, ...]

    @property
    def words(self) -> tuple[str, ...]:
        """(K,) the options as columns are called after them: without spaces around, in small letters."""
        return tuple(option.strip().lower() for option in self.options)

    def __post_init__(self) -> None:
        if len(self.options) < 2 or len(set(self.options)) != len(self.options) or "" in self.options:
            raise SettingError(f"a question needs two or more different options, got {self.options!r}")
        if len(self.values) != len(self.options) or not all(0 <= value <= 1 for value in self.values):
            raise SettingError(
                f"each of the {len(self.options)} options needs one value in [0, 1], got {self.values!r}"
            )
        if not self.text.strip():
            raise SettingError("a question needs a text")
        refuse_special_tokens(self)


def refuse_special_tokens(question: Question, vocabulary: Iterable[str] = ()) -> None:
    """Raise if the question's words contain a special token: tokenizers read it as an image or as the end of a turn.

    An answer prefix may contain tokens that the chat template writes itself, such as an empty thought, but no image.
    `vocabulary` has the special tokens of a model's own tokenizer, beyond the usual spellings.
    """
    own = [token for token in vocabulary if len(token.strip()) > 2 and not token.strip().isalnum()]
    checked = [(words, _SPECIAL, own) for words in (question.text, *question.options)]
    for words, pattern, tokens in (*checked, (question.answer_prefix, _IMAGE, [])):
        usual = pattern.search(words)
        found = usual[0] if usual else next((token for token in tokens if token in words), None)
        if found is not None:
            raise SettingError(
                f"{words!r} contains {found!r}, which models read as a special token and not as text; leave it out"
            )


PREFIX = "The quality of the image is"


def good_or_poor(text: str) -> Question:
    """Return a question of the paper: the answer begins with `PREFIX`, and the options are good and poor."""
    return Question(text=text, answer_prefix=PREFIX, options=(" good", " poor"), values=(1.0, 0.0))


VANILLA = good_or_poor("Rate the quality of the image. Good or poor?")


@dataclass(frozen=True, slots=True, kw_only=True)
class TopQuestion(Question):
    """A question whose answer is read from the k likeliest words; see `qdebias.backends.top`.

    `options` are words that point towards good (value 1) and bad (value 0); none of them is looked for among the
    answers, and none need be one token.
    """

    top: int = 100  # k

    def __post_init__(self) -> None:
        super(TopQuestion, self).__post_init__()
        if self.top < 2:
            raise SettingError(f"the likeliest words are 2 or more, got {self.top}")
        if set(self.values) != {0.0, 1.0}:
            raise SettingError(f"words point towards good (1) or bad (0), and there are both; got {self.values!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class StateQuestion(Question):
    """A question that is answered by the hidden state from which the model would choose the first word of its answer.

    Only backends that fit `qdebias.backends.base.TellsStates` answer it; the options are not read.
    """


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Request:
    """One sequence of images and all questions about it, each on its own.

    Attributes:
        images: One or more images, in the order in which the model sees them.
        questions: The questions; no question sees another one's text or answer.
        placement: "before": the images come before the question, so that all questions share the images' prefix.
            "after": the question comes first, as the paper's listings print it.
    """

    images: tuple[RgbImage, ...]
    questions: tuple[Question, ...]
    placement: Placement = "before"

    def __post_init__(self) -> None:
        if not self.images or not self.questions:
            raise SettingError("a request needs at least one image and one question")
        if self.placement not in ("before", "after"):
            raise SettingError(f"placement is 'before' or 'after', got {self.placement!r}")
