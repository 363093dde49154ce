"""A custom method: the median over the conditions instead of the weighted mean."""

from dataclasses import dataclass, replace

import numpy as np

from qdebias import Plan, QDebias, Score
from qdebias.image import RgbImage
from qdebias.methods.method import Answers, Context
from qdebias.methods.presets import UNASKED


@dataclass(frozen=True, kw_only=True)
class Median:
    """Ask the quality questions of the paper and take the median."""

    base: QDebias = UNASKED

    def plan(self, image: RgbImage, context: Context) -> Plan:
        """Return the questions about the image."""
        return self.base.plan(image, context)

    def combine(self, plan: Plan, answers: Answers) -> Score:
        """Compute the score from the answers."""
        score = self.base.combine(plan, answers)
        return replace(score, value=float(np.median(score.good)))
