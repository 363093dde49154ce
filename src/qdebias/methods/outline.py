"""What a method asks, without any pixels: the names or digests of the images in the place of the images.

With it, the answers about an image are found again without decoding or degrading it. Methods that have no outline
are planned anew from the image; nothing is asked twice either way.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from qdebias.degrade import Degradation
from qdebias.methods.describe import describe
from qdebias.methods.keys import answer_key, question_id
from qdebias.methods.method import Method, QDebias
from qdebias.prompts import Question


@dataclass(frozen=True)
class Outline:
    """What a method asks about one image.

    Attributes:
        method: The method.
    """

    method: QDebias

    @property
    def shared(self) -> bool:
        """Whether image, seed and the names of the conditions decide the conditions and all else that `combine` needs.

        Then what other methods noted of the same conditions serves this method too.
        """
        return self.method.distance is None and self.method.suits is None and not self.method.mismatched

    @cached_property
    def conditions(self) -> tuple[str, ...]:
        """Names of the conditional images, in the order of the plan."""
        other = " of another image" if self.method.mismatched else ""
        return tuple(
            condition_name(draw.degradation) + (f" with seed + {draw.offset}" if draw.offset else "") + other
            for draw in self.method.draws
        )

    @property
    def questions(self) -> tuple[tuple[Question, ...], ...]:
        """The questions of each request, in the order of the plan."""
        return tuple(questions for _, questions in self.method.shown("", self.conditions, ""))

    def keys(self, identity: str, image: str, conditions: Mapping[str, str]) -> list[list[str]] | None:
        """Return the key of each answer, request by request; None where a conditional image was never made.

        Args:
            identity: From `identity_digest`.
            image: Digest of the query image.
            conditions: Digest of each conditional image by its name.
        """
        if not all(name in conditions for name in self.conditions):
            return None
        prior, placement = self.method.prior, self.method.placement
        shown = self.method.shown(
            image, [conditions[name] for name in self.conditions], None if prior is None else prior.digest
        )
        return [
            [answer_key(identity, images, question_id(placement, question)) for question in questions]
            for images, questions in shown
        ]


def outline(method: Method) -> Outline | None:
    """Return what a method asks, None where it is of a class whose plans are not known here."""
    return Outline(method) if type(method) is QDebias else None


def condition_name(degradation: Degradation) -> str:
    """Return the name of a conditional image: the degradation with its settings, as JSON."""
    return json.dumps(describe(degradation), sort_keys=True)
