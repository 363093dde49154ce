"""Variants of Q-Debias that the paper compares with and that change more than a setting of it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from qdebias.degrade import noise_rng
from qdebias.errors import SettingError
from qdebias.image import RgbImage, digest
from qdebias.method import Answers, Context, Plan, QDebias, Score, make_condition


@dataclass(frozen=True, slots=True, kw_only=True)
class SimilarityWeighted:
    """Q-Debias with weights that are measured on the pixels: "Quality Similarity" of Table 5.

    The paper says that similarities by LPIPS "are then treated as weights" and not how. Here 1 - LPIPS takes the
    place of w_i in eq. (10), so that nothing but the origin of w_i differs from Q-Debias.

    Attributes:
        base: Everything but the weights; its same-object question is left out.
        distance: From two images of one size to how different they are: 0 for the same image, up to about 1.
    """

    base: QDebias
    distance: Callable[[RgbImage, RgbImage], float]

    def __post_init__(self) -> None:
        if self.base.same is not None:
            raise SettingError("the weights are measured here, so the base method asks no same-object question")

    def plan(self, image: RgbImage, context: Context) -> Plan:
        """Plan as the base method does, and measure how alike x and each x'_i are."""
        plan = self.base.plan(image, context)
        similarity = tuple(1.0 - self.distance(image, condition.image) for condition in plan.conditions)
        return replace(plan, similarity=similarity)

    def combine(self, plan: Plan, answers: Answers) -> Score:
        """Average the conditional P(good), eq. (9), under the weights of the plan."""
        score = self.base.combine(plan, answers)
        weight = self.base.weigh(np.array(plan.similarity))
        return replace(score, weight=weight, value=float(np.clip(weight @ score.good, 0.0, 1.0)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatched:
    """Q-Debias under degraded images of other content: experiment 8 of Table 3.

    The paper degrades images of other datasets in the four ways and chooses four of these at random for each query.
    Here each query is given N different images of `Context.pool`, chosen by its pixels and the seed, and each of the
    N degradations is used once, so that the content of the conditional images is all that differs from Q-Debias.

    Attributes:
        base: The questions, degradations and weights.
    """

    base: QDebias

    def plan(self, image: RgbImage, context: Context) -> Plan:
        """Degrade N other images, and ask about the query beside each.

        Raises:
            SettingError: There is no pool, or it has too few images of other content.
        """
        if context.pool is None:
            raise SettingError(
                "conditions of other content need a pool of other images: give Scorer(pool=ImagePool(...)), or use "
                "qdebias compare or reproduce table3, which take them from the dataset"
            )
        degradations = self.base.degradations
        key = context.key(image)
        others = context.pool.draw(key, len(degradations), noise_rng(context.seed, key, "Mismatched"))
        conditions = tuple(
            make_condition(one, other, seed=context.seed, key=digest(other))
            for one, other in zip(degradations, others, strict=True)
        )
        return self.base.plan_under(conditions, image)

    def combine(self, plan: Plan, answers: Answers) -> Score:
        """Combine as the base method does."""
        return self.base.combine(plan, answers)
