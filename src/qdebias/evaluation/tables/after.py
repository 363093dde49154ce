"""What others print who came after the paper, for the last rows of Table 1; nothing of it was measured here.

Q-ReAlign's numbers are those of its README (github.com/Q-Future/Q-ReAlign, 2026), which says AGI and LIVE.
Those of Q-Align, DeQA-Score, Q-Insight and VisualQuality-R1 are quoted from a survey of 2026 that takes them from the
papers named in each row; the papers themselves were not at hand. Each paper has test sets of its own making.
"""

from collections.abc import Mapping

from qdebias.evaluation.tables.published import Printed, PublishedRow

_DATASETS = ("livec", "koniq10k", "agiqa3k", "kadid10k", "spaq")
_REALIGN = "README of Q-ReAlign, 2026"
_SEEN = "KonIQ-10k, SPAQ, KADID-10k, AGIQA-20k, AVA, LSVQ"
_NAMES = {
    "livec": "The source calls this dataset LIVE; it is taken for LIVE Challenge.",
    "agiqa3k": "The source calls this dataset AGI; it is taken for AGIQA-3k.",
}

AFTER_NOTE = (
    "After the paper: trained scorers, as they print themselves on test sets of their own, not measured by us; a "
    "dataset that one was trained on says little about other images."
)

Pair = tuple[float, float] | None


def _row(
    name: str, source: str, training: str, *pairs: Pair, recipe: str = "", notes: Mapping[str, str] | None = None
) -> PublishedRow:
    """Return a row; the pairs are SRCC and PLCC on LIVE Challenge, KonIQ-10k, AGIQA-3k, KADID-10k and SPAQ."""
    values = {
        dataset: Printed(srcc=pair[0], plcc=pair[1], note=(notes or {}).get(dataset, ""))
        for dataset, pair in zip(_DATASETS, pairs, strict=True)
        if pair is not None
    }
    return PublishedRow(name=name, recipe=recipe, source=source, training=training, values=values)


def _realign(name: str, *pairs: Pair) -> PublishedRow:
    return _row(name, _REALIGN, _SEEN, *pairs, recipe="qrealign", notes=_NAMES)


AFTER = (
    _row(
        "Q-Align",
        "H. Wu et al., ICML 2024, as DeQA-Score prints it",
        "KonIQ-10k",
        (0.860, 0.853),
        (0.940, 0.941),
        (0.735, 0.772),
        (0.684, 0.674),
        (0.887, 0.886),
        recipe="q-align",
    ),
    _row(
        "DeQA-Score",
        "Z. You et al., arXiv 2501.11561, 2025",
        "KonIQ-10k",
        (0.879, 0.892),
        (0.941, 0.953),
        (0.729, 0.809),
        (0.687, 0.694),
        (0.896, 0.895),
        recipe="q-align",
    ),
    _row(
        "DeQA-Score, three sets",
        "Z. You et al., arXiv 2501.11561, 2025",
        "KonIQ-10k, SPAQ, KADID-10k",
        (0.887, 0.900),
        (0.944, 0.957),
        (0.745, 0.808),
        (0.953, 0.955),
        (0.934, 0.938),
        recipe="q-align",
    ),
    _row(
        "Q-Insight",
        "W. Li et al., arXiv 2503.22679, 2025",
        "KonIQ-10k and others",
        (0.865, 0.893),
        (0.916, 0.933),
        (0.764, 0.811),
        (0.736, 0.742),
        (0.905, 0.907),
    ),
    _row(
        "VisualQuality-R1",
        "T. Wu et al., arXiv 2505.14460, 2025",
        "KADID-10k, SPAQ",
        (0.811, 0.844),
        (0.855, 0.870),
        (0.754, 0.820),
        None,
        (0.913, 0.917),
    ),
    _realign("Q-ReAlign Mini (0.8B)", (0.907, 0.873), (0.935, 0.938), (0.811, 0.848), (0.903, 0.907), (0.931, 0.933)),
    _realign("Q-ReAlign Lite (4B)", (0.899, 0.862), (0.943, 0.941), (0.829, 0.871), (0.928, 0.931), (0.932, 0.934)),
    _realign("Q-ReAlign Pro (9B)", (0.902, 0.876), (0.950, 0.952), (0.843, 0.885), (0.934, 0.939), (0.935, 0.937)),
)
