"""What a method costs, counted from what it asks."""

from dataclasses import dataclass

from qdebias.method import Method
from qdebias.store.outline import outline


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one image costs under a method.

    Attributes:
        forwards: Questions that are answered. A backend that shares the beginnings of prompts computes less.
        encodings: Different images that the model sees, the query included.
    """

    forwards: int
    encodings: int

    def __str__(self) -> str:
        """Return it in words."""
        return f"{_many(self.forwards, 'forward')}, {_many(self.encodings, 'image encoding')}"


def cost_of(method: Method) -> Cost | None:
    """Return what one image costs, None for a method of a class that is not known here."""
    outlined = outline(method)
    if outlined is None:
        return None
    encodings = 1 + len(set(outlined.conditions)) + (outlined.method.prior is not None)
    return Cost(forwards=sum(map(len, outlined.questions)), encodings=encodings)


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
