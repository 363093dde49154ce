"""From what the engine found to what goes out."""

from qdebias.report.picture import words
from qdebias.runs.scorer import Explanation
from qdebias.service.guard import problem
from qdebias.service.refusal import Refusal
from qdebias.service.schema import BatchAnswer, BatchResult, Problem, RewardAnswer, RewardError, ScoreAnswer


def score_answer(found: Explanation, *, model: str, method: str, seed: int) -> ScoreAnswer:
    """Return the answer about one image."""
    score = found.score
    return ScoreAnswer(
        score=score.value,
        model=model,
        method=method,
        seed=seed,
        conditions=[words(condition.kind) for condition in found.plan.conditions],
        beside=bool(found.plan.conditions) and all(len(request.images) > 1 for request in found.plan.requests),
        good=score.good.tolist(),
        same=score.same.tolist(),
        weight=score.weight.tolist(),
        probabilities=dict(score.probabilities),
        deviation=score.deviation,
        log_odds=score.log_odds,
    )


def reward_answer(found: list[ScoreAnswer | Refusal], *, model: str, method: str, fingerprint: str) -> RewardAnswer:
    """Return the rewards of several images; one that has none has its error."""
    return RewardAnswer(
        rewards=[None if isinstance(one, Refusal) else one.score for one in found],
        errors=[
            RewardError(index=index, **problem(one)) for index, one in enumerate(found) if isinstance(one, Refusal)
        ],
        model=model,
        method=method,
        fingerprint=fingerprint,
    )


def batch_answer(found: list[ScoreAnswer | Refusal]) -> BatchAnswer:
    """Return the answer about several images."""
    results = [
        BatchResult(index=index, result=None, error=Problem(**problem(one)))
        if isinstance(one, Refusal)
        else BatchResult(index=index, result=one, error=None)
        for index, one in enumerate(found)
    ]
    return BatchAnswer(results=results, failed=sum(result.error is not None for result in results))
