"""Asking several methods' questions about the same images at once.

Table 4 has four prompts about the same pairs of images. Asked one method after the other, a model would look at each
pair four times; asked together, the questions share all that it computes about the images.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qdebias import presets
from qdebias.degrade import Degradation
from qdebias.image import RgbImage
from qdebias.method import Answers, Context, Plan, QDebias, Score, make_condition
from qdebias.prompts import Placement, Question, Request
from qdebias.store import Run
from qdebias.store.derive import derivation, known_pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Joint:
    """The questions of several methods about the same pairs of images; it makes no score of its own.

    Attributes:
        methods: Methods of one seed.
    """

    methods: tuple[QDebias, ...]

    def plan(self, image: RgbImage, context: Context) -> Plan:
        """Make each conditional image once, and ask everything about each pair in one request."""
        key = context.key(image)
        requests = []
        for degradation, asked in self._questions():
            condition = make_condition(degradation, image, seed=context.seed, key=key)
            for placement, questions in asked.items():
                pair = (condition.image, image)
                requests.append(Request(images=pair, questions=tuple(questions), placement=placement))
        return Plan(requests=tuple(requests))

    def combine(self, plan: Plan, answers: Answers) -> Score:  # noqa: ARG002 (the answers are in the store)
        """Return nothing of interest: each method combines its own answers."""
        nothing = np.empty(0)
        return Score(value=float("nan"), good=nothing, same=nothing, weight=nothing, logits=())

    def _questions(self) -> list[tuple[Degradation, dict[Placement, dict[Question, None]]]]:
        """Return each degradation with what is asked about it, each question once."""
        found: list[tuple[Degradation, dict[Placement, dict[Question, None]]]] = []
        for method in self.methods:
            questions = (method.quality,) if method.same is None else (method.quality, method.same)
            for degradation in method.degradations:
                known = next((asked for other, asked in found if other == degradation), None)
                if known is None:
                    known = {}
                    found.append((degradation, known))
                known.setdefault(method.placement, {}).update(dict.fromkeys(questions))
        return found


def joint_method(recipes: Sequence[str]) -> Joint | None:
    """Return what asks the prompts of several recipes at once; None where there are not several.

    Args:
        recipes: Names of methods; those that are not plain Q-Debias, or show the query image first, are left to be
            asked on their own.
    """
    methods = [presets.get(recipe).method for recipe in recipes]
    plain = tuple(method for method in methods if type(method) is QDebias and not method.query_first)
    return Joint(methods=plain) if len({method.quality for method in plain}) > 1 else None


def unanswered(run: Run, joint: Joint, paths: Sequence[Path], *, seed: int) -> Iterator[Path]:
    """Yield the images about which not all of the questions are answered in the run."""
    found = [derivation(run.index, run.identity, method) for method in joint.methods]
    for path in paths:
        pixels = known_pixels(run.index, run.manifest, str(path.absolute()), seed=seed)
        if pixels is None or any(one.answers(pixels) is None for one in found):
            yield path
