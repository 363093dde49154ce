"""One answer of a model: the lines of answers.jsonl."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from qdebias.equations import FloatArray
from qdebias.prompts import Placement, Question


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answer:
    """The logits of the options of one question about one sequence of images.

    Attributes:
        key: From `qdebias.methods.keys.answer_key`.
        images: Digests of the images, in the order in which the model saw them.
        placement: Whether the images came before or after the question.
        question: What was asked.
        logits: (K,) as the backend gave them.
    """

    key: str
    images: tuple[str, ...]
    placement: Placement
    question: Question
    logits: FloatArray


class AnswerStore(Protocol):
    """Where answers are kept."""

    @property
    def identity(self) -> str:
        """Digest of the identity of the model whose answers these are."""
        ...

    def logits(self, key: str) -> FloatArray | None:
        """Return the logits that are stored under a key, None where there are none."""
        ...

    def add_answers(self, answers: Sequence[Answer]) -> None:
        """Store what was answered in one call of the backend: all of it, or nothing and an error."""
        ...
