"""What a reader of a table has to know: what was measured, and how that differs from what the paper did."""

from collections.abc import Sequence

from qdebias.evaluation.tables.agreement import Agreements
from qdebias.evaluation.tables.evidence import Evidence, Scores
from qdebias.evaluation.tables.published import FIRST, SOURCE, TITLES, ModelRow, PublishedRow

_PAPER = (
    f"Printed numbers: {SOURCE[FIRST]}, of mPLUG-Owl3 where no other model is named, without intervals. The paper "
    f"names no checkpoint; its released code loads mPLUG-Owl3-7B-240728."
)
_PRESETS = (
    "Measured with the questions and degradations that the paper describes; what the authors' released code does "
    "otherwise is the method `released`."
)
_INTERVALS = (
    "In brackets: 95 % bootstrap intervals, {resampled}. SRCC ranks the log-odds of the scores; PLCC is of the scores "
    "themselves, T = 1, without a logistic fit."
)


def remarks(measured: Sequence[Agreements], published: Sequence[PublishedRow | ModelRow]) -> tuple[str, ...]:
    """Return the notes on a whole table.

    Args:
        measured: What was measured.
        published: The rows of the paper that the table could show beside it.
    """
    evidences = [one.evidence for one in measured]
    known = {dataset for row in published for dataset in _datasets_of(row)}
    notes = [note for evidence in evidences for note in _about(evidence)]
    notes += [_absent(evidence, known) for evidence in evidences if evidence.dataset not in known]
    resampled = {_resampled(evidence) for evidence in evidences}
    notes.append(_INTERVALS.format(resampled=" or ".join(sorted(resampled))))
    if any(evidence.dataset in known for evidence in evidences):
        notes.append(_PAPER)
    return tuple(dict.fromkeys([*notes, _PRESETS]))


def _about(evidence: Evidence) -> list[str]:
    failed = {name: scores.failed for name, scores in evidence.results.items() if isinstance(scores, Scores)}
    notes = [f"Measured: model {evidence.model}, seed {evidence.seed}, {evidence.summary}.", *evidence.notes]
    missing = sorted(name for name, count in failed.items() if count)
    if missing:
        count = max(failed.values())
        notes.append(
            f"{evidence.title}, {evidence.model}: {count} of {len(evidence.names)} images have no score and are left "
            f"out, of {', '.join(missing)}."
        )
    return notes


def _absent(evidence: Evidence, known: set[str]) -> str:
    if evidence.dataset in TITLES and known:
        return f"The paper has no numbers for {evidence.title} in this table; they are ours alone."
    return f"The paper has no numbers for {evidence.title}; they are ours alone."


def _resampled(evidence: Evidence) -> str:
    return "over images" if evidence.groups is None else "over groups of images that share their content"


def _datasets_of(row: PublishedRow | ModelRow) -> set[str]:
    return set(row.debiased if isinstance(row, ModelRow) else row.values)
