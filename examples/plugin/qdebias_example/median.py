"""A method of one's own: the median over the conditions in place of the weighted mean."""

from dataclasses import dataclass, replace

import numpy as np

from qdebias import Plan, QDebias, Score
from qdebias.image import RgbImage
from qdebias.methods.method import Answers, Context
from qdebias.methods.presets import UNASKED


@dataclass(frozen=True, kw_only=True)
class Median:
    """Asks what the paper asks about quality, and takes the median."""

    base: QDebias = UNASKED

    def plan(self, image: RgbImage, context: Context) -> Plan:
        """Say what to ask about the image."""
        return self.base.plan(image, context)

    def combine(self, plan: Plan, answers: Answers) -> Score:
        """Turn the answers into the score."""
        score = self.base.combine(plan, answers)
        return replace(score, value=float(np.median(score.good)))
