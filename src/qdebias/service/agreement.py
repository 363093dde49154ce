"""How well scores follow human scores, and which images they disagree about most."""

from qdebias.errors import SettingError
from qdebias.metrics.measures import correlate
from qdebias.service.reading import parse
from qdebias.service.refusal import Reason, Refusal
from qdebias.service.schema import AgreementAnswer, AgreementRequest


def agreement(body: bytes) -> bytes:
    """Return the correlations, and for each image how far its ranks under both are apart.

    Args:
        body: An AgreementRequest in JSON.

    Returns:
        An AgreementAnswer in JSON.

    Raises:
        Refusal: The body is no such request, or its columns cannot be correlated.
    """
    from scipy import stats

    asked = parse(AgreementRequest, body)
    try:
        found = correlate(asked.scores, asked.quality, resamples=0)
    except SettingError as error:
        raise Refusal(Reason.NOT_COMPARABLE) from error
    gap = (stats.rankdata(asked.scores) - stats.rankdata(asked.quality)) / found.count
    answer = AgreementAnswer(count=found.count, srcc=found.srcc, plcc=found.plcc, krcc=found.krcc, gap=gap.tolist())
    return answer.model_dump_json().encode()
