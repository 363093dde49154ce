"""The numbers that the paper prints, as it prints them, with what is known to be wrong about them.

Source: S. Pan et al., "Mitigating Perception Bias: A Training-Free Approach to Enhance LMM for Image Quality
Assessment", arXiv 2411.12791v1, Tables 1 to 5. A later version, arXiv 2411.12791v2 (2025), leaves out SIQAD, changes
two cells of Table 1 and adds language models to Table 2; its rows are marked LATER. All Q-Debias numbers of Tables 1
and 3 to 5 are of mPLUG-Owl3.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Version: TypeAlias = Literal["v1", "v2"]

FIRST: Version = "v1"
LATER: Version = "v2"

SOURCE: Mapping[Version, str] = {"v1": "arXiv 2411.12791v1", "v2": "arXiv 2411.12791v2"}

TITLES: Mapping[str, str] = {
    "livec": "LIVE Challenge",
    "koniq10k": "KonIQ-10k",
    "agiqa3k": "AGIQA-3k",
    "kadid10k": "KADID-10k",
    "spaq": "SPAQ",
    "siqad": "SIQAD",
}
"""The datasets of the paper, in the order of Table 1: name in `qdebias.inputs.datasets.CATALOGUE` and name in print."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    """SRCC and PLCC of one cell, without intervals: the paper gives none.

    Attributes:
        srcc: Spearman's rank correlation.
        plcc: Pearson's correlation, without a fit.
        note: What is known to be wrong with it; empty where nothing is.
    """

    srcc: float
    plcc: float
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRow:
    """One row of a table of the paper.

    Attributes:
        name: As it is printed.
        recipe: The name in `qdebias.methods.presets` of the method that this row is of; empty for other people's
            metrics.
        values: What is printed for each dataset that has a cell.
        version: The version of the paper.
        source: Whose method it is; empty for the paper's own.
        training: What it was trained on; empty where the paper calls it training-free.
        settings: Further columns of the row, as Table 3 has them.
    """

    name: str
    recipe: str = ""
    values: Mapping[str, Printed]
    version: Version = FIRST
    source: str = ""
    training: str = ""
    settings: tuple[str, ...] = ()


def _values(pairs: str, datasets: tuple[str, ...], notes: Mapping[str, str] | None = None) -> dict[str, Printed]:
    """Return what stands for each dataset, from "SRCC/PLCC SRCC/PLCC ..."; "-" where a cell is empty."""
    found = {}
    for dataset, pair in zip(datasets, pairs.split(), strict=True):
        if pair != "-":
            srcc, plcc = map(float, pair.split("/"))
            found[dataset] = Printed(srcc=srcc, plcc=plcc, note=(notes or {}).get(dataset, ""))
    return found


_ALL = tuple(TITLES)


def _rival(
    name: str, source: str, pairs: str, training: str = "", notes: Mapping[str, str] | None = None
) -> PublishedRow:
    return PublishedRow(name=name, source=source, values=_values(pairs, _ALL, notes), training=training)


_KONIQ = "KonIQ-10k"
_TWINS = {"agiqa3k": "The paper prints the same two numbers for NPQI and CLIP-IQA on AGIQA-3k."}

RIVALS = (
    _rival(
        "BLINDS-II",
        "M. A. Saad, A. C. Bovik and C. Charrier, IEEE Transactions on Image Processing 21(8), 2012 (the paper cites "
        "BIQI, A. K. Moorthy and A. C. Bovik, IEEE Signal Processing Letters 17(5), 2010)",
        "0.090/0.107 0.585/0.598 0.454/0.510 0.224/0.313 0.317/0.326 0.681/0.726",
    ),
    _rival(
        "QAC", "W. Xue, L. Zhang and X. Mou, CVPR 2013", "0.226/0.284 0.340/0.291 - 0.239/0.309 0.440/0.450 0.300/0.375"
    ),
    _rival(
        "BRISQUE",
        "A. Mittal, A. K. Moorthy and A. C. Bovik, IEEE Transactions on Image Processing 21(12), 2012",
        "0.561/0.598 0.705/0.707 0.493/0.533 0.330/0.370 0.484/0.481 0.157/0.215",
    ),
    _rival(
        "NIQE",
        "A. Mittal, R. Soundararajan and A. C. Bovik, IEEE Signal Processing Letters 20(3), 2012",
        "0.463/0.491 0.551/0.488 0.528/0.520 0.379/0.389 0.703/0.671 0.369/0.341",
    ),
    _rival(
        "ILNIQE",
        "L. Zhang, L. Zhang and A. C. Bovik, IEEE Transactions on Image Processing 24(8), 2015",
        "0.439/0.503 0.505/0.496 0.594/0.623 0.540/0.534 0.696/0.637 0.375/0.385",
    ),
    _rival(
        "NPQI",
        "Y. Liu et al., ACM Transactions on Multimedia Computing, Communications, and Applications 16(3), 2020",
        "0.475/0.490 0.613/0.614 0.658/0.714 0.391/0.340 0.600/0.616 -",
        notes=_TWINS,
    ),
    _rival(
        "ContentSep",
        "N. C. Babu, V. Kannan and R. Soundararajan, WACV 2023",
        "0.506/0.513 0.640/0.627 - 0.506/0.357 0.708/0.665 -",
    ),
    _rival(
        "CLIP-IQA",
        "J. Wang, K. C. K. Chan and C. C. Loy, AAAI 2023",
        "0.612/0.594 0.695/0.727 0.658/0.714 0.500/0.520 0.738/0.735 0.596/0.657",
        notes=_TWINS,
    ),
    _rival(
        "MDFS",
        "Z. Ni et al., IEEE Transactions on Multimedia, 2024",
        "0.482/0.536 0.733/0.712 0.672/0.676 0.598/0.594 0.741/0.718 -",
    ),
    _rival(
        "ARNIQA",
        "L. Agnolucci et al., WACV 2024",
        "0.670/0.715 - 0.621/0.694 0.725/0.717 0.576/0.577 0.558/0.591",
        training=_KONIQ,
    ),
    _rival(
        "TReS",
        "S. A. Golestaneh, S. Dadsetan and K. M. Kitani, WACV 2022",
        "0.771/0.805 - 0.652/0.737 0.468/0.492 0.418/0.417 0.572/0.625",
        training=_KONIQ,
    ),
    _rival(
        "MUSIQ",
        "J. Ke et al., ICCV 2021",
        "0.788/0.824 - 0.630/0.722 0.556/0.575 0.726/0.738 0.554/0.598",
        training=_KONIQ,
    ),
)
"""The rows of Table 1 that are neither Q-Bench's prompt nor Q-Debias."""

_SIQAD_SLIP = "The paper prints SRCC 0.324 for SIQAD in Table 1 and 0.326 for the same experiment in Table 3."
_KADID_GAIN = "The later version still prints a gain of 167.0 %, which belongs to the PLCC of 0.713."

QBENCH = PublishedRow(
    name="Q-Bench",
    recipe="qbench",
    source="H. Wu et al., arXiv 2309.14181, 2023: the prompt of Q-Bench, asked of mPLUG-Owl3",
    values=_values("0.721/0.677 0.672/0.573 0.596/0.469 0.315/0.267 0.767/0.650 0.333/0.402", _ALL),
)

TABLE1_OURS = (
    QBENCH,
    PublishedRow(
        name="Q-Debias",
        recipe="paper",
        values=_values(
            "0.794/0.790 0.838/0.863 0.717/0.753 0.700/0.713 0.867/0.826 0.324/0.341", _ALL, {"siqad": _SIQAD_SLIP}
        ),
    ),
    PublishedRow(name="Q-Debias, spatter only", recipe="only-spatter", values=_values("0.385/0.427", ("siqad",))),
    PublishedRow(
        name="Q-Debias",
        recipe="paper",
        version=LATER,
        values=_values(
            "0.794/0.818 0.838/0.863 0.717/0.753 0.700/0.753 0.867/0.826", _ALL[:5], {"kadid10k": _KADID_GAIN}
        ),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """One row of Table 2: a language model under the vanilla prompt and under Q-Debias.

    Attributes:
        name: As it is printed.
        vanilla: What is printed for the vanilla prompt, by dataset.
        debiased: What is printed for Q-Debias.
        version: The version of the paper that has the row.
    """

    name: str
    vanilla: Mapping[str, Printed] = field(default_factory=dict)
    debiased: Mapping[str, Printed]
    version: Version = FIRST


_TABLE2 = ("livec", "agiqa3k")
_QWEN_SLIP = (
    "The vanilla numbers of Qwen-VL are those of other datasets: Q-Bench's own table has 0.470/0.546 for KonIQ-10k, "
    "0.504/0.532 for LIVE Challenge and 0.617/0.686 for AGIQA-3k. Against these Q-Debias gains nothing on Qwen-VL."
)

TABLE2 = (
    ModelRow(
        name="BakLLaVA",
        vanilla=_values("0.090/0.108 0.480/0.321", _TABLE2),
        debiased=_values("0.263/0.265 0.460/0.482", _TABLE2),
    ),
    ModelRow(
        name="Qwen-VL",
        vanilla=_values("0.470/0.546 0.504/0.532", _TABLE2, dict.fromkeys(_TABLE2, _QWEN_SLIP)),
        debiased=_values("0.504/0.501 0.615/0.623", _TABLE2),
    ),
    ModelRow(
        name="DeepSeek-VL2",
        vanilla=_values("0.800/0.851 0.606/0.655", _TABLE2),
        debiased=_values("0.822/0.860 0.759/0.778", _TABLE2),
        version=LATER,
    ),
    ModelRow(name="LLaVA-OneVision", debiased=_values("0.631/0.649 0.707/0.806", _TABLE2), version=LATER),
)
"""Table 2. The averages that it also prints follow from its cells. Of the later version only the cells that could be
read with certainty are here; it also has LLaVA-Interleave."""


def _experiment(
    number: str, recipe: str, settings: str, pairs: str, notes: Mapping[str, str] | None = None
) -> PublishedRow:
    """Return a row of Table 3; settings are + and - for zoom, spatter, fog, saturation and semantic consistency."""
    marks = tuple("yes" if mark == "+" else "no" for mark in settings)
    values = _values(pairs, ("livec", "siqad", "agiqa3k"), notes)
    return PublishedRow(name=number, recipe=recipe, settings=marks, values=values)


TABLE3 = (
    _experiment("1", "qbench", "-----", "0.721/0.677 0.333/0.402 0.596/0.469"),
    _experiment("2", "only-zoom-blur", "+---+", "0.644/0.489 0.197/0.168 0.633/0.539"),
    _experiment("3", "only-spatter", "-+--+", "0.762/0.694 0.385/0.427 0.713/0.704"),
    _experiment("4", "only-fog", "--+-+", "0.726/0.615 0.354/0.325 0.685/0.644"),
    _experiment("5", "only-saturate", "---++", "0.784/0.790 0.265/0.258 0.720/0.735"),
    _experiment("6", "spatter-saturate", "-+-++", "0.793/0.790 0.335/0.294 0.709/0.712"),
    _experiment("7", "spatter-fog-saturate", "-++++", "0.793/0.773 0.349/0.308 0.714/0.702"),
    _experiment("8", "mismatched", "++++-", "0.714/0.620 0.114/0.128 0.707/0.613"),
    _experiment("Q-Debias", "paper", "+++++", "0.794/0.790 0.326/0.341 0.717/0.753", notes={"siqad": _SIQAD_SLIP}),
)
"""Table 3. Experiment 1 has no conditional image; its numbers are those of Q-Bench's prompt in Table 1."""


def _variant(name: str, recipe: str, pairs: str) -> PublishedRow:
    """Return a row of Table 4 or 5."""
    return PublishedRow(name=name, recipe=recipe, values=_values(pairs, ("livec", "koniq10k", "agiqa3k")))


_QDEBIAS = _variant("Q-Debias", "paper", "0.794/0.790 0.838/0.863 0.717/0.753")

TABLE4 = (
    _variant("T1", "t1", "0.784/0.762 0.805/0.816 0.703/0.682"),
    _variant("T2", "t2", "0.785/0.762 0.813/0.847 0.705/0.702"),
    _variant("T3", "t3", "0.741/0.730 0.811/0.845 0.672/0.686"),
    _QDEBIAS,
)

TABLE5 = (
    _variant("Average", "average", "0.789/0.754 0.824/0.838 0.711/0.691"),
    _variant("Quality Similarity", "lpips", "0.785/0.740 0.817/0.827 0.710/0.683"),
    _variant("Winner-Takes-All", "winner", "0.632/0.491 0.750/0.660 0.623/0.529"),
    _QDEBIAS,
)


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


def _later(
    name: str, source: str, training: str, pairs: str, recipe: str = "", notes: Mapping[str, str] | None = None
) -> PublishedRow:
    values = _values(pairs, _ALL[:5], notes)
    return PublishedRow(name=name, recipe=recipe, source=source, training=training, values=values)


def _realign(name: str, pairs: str) -> PublishedRow:
    return _later(name, _REALIGN, _SEEN, pairs, recipe="qrealign", notes=_NAMES)


AFTER = (
    _later(
        "Q-Align",
        "H. Wu et al., ICML 2024, as DeQA-Score prints it",
        "KonIQ-10k",
        "0.860/0.853 0.940/0.941 0.735/0.772 0.684/0.674 0.887/0.886",
        recipe="q-align",
    ),
    _later(
        "DeQA-Score",
        "Z. You et al., arXiv 2501.11561, 2025",
        "KonIQ-10k",
        "0.879/0.892 0.941/0.953 0.729/0.809 0.687/0.694 0.896/0.895",
        recipe="q-align",
    ),
    _later(
        "DeQA-Score, three sets",
        "Z. You et al., arXiv 2501.11561, 2025",
        "KonIQ-10k, SPAQ, KADID-10k",
        "0.887/0.900 0.944/0.957 0.745/0.808 0.953/0.955 0.934/0.938",
        recipe="q-align",
    ),
    _later(
        "Q-Insight",
        "W. Li et al., arXiv 2503.22679, 2025",
        "KonIQ-10k and others",
        "0.865/0.893 0.916/0.933 0.764/0.811 0.736/0.742 0.905/0.907",
    ),
    _later(
        "VisualQuality-R1",
        "T. Wu et al., arXiv 2505.14460, 2025",
        "KADID-10k, SPAQ",
        "0.811/0.844 0.855/0.870 0.754/0.820 - 0.913/0.917",
    ),
    _realign("Q-ReAlign Mini (0.8B)", "0.907/0.873 0.935/0.938 0.811/0.848 0.903/0.907 0.931/0.933"),
    _realign("Q-ReAlign Lite (4B)", "0.899/0.862 0.943/0.941 0.829/0.871 0.928/0.931 0.932/0.934"),
    _realign("Q-ReAlign Pro (9B)", "0.902/0.876 0.950/0.952 0.843/0.885 0.934/0.939 0.935/0.937"),
)
"""What others print who came after the paper, for the last rows of Table 1; nothing of it was measured here.

Q-ReAlign's numbers are those of its README (github.com/Q-Future/Q-ReAlign, 2026), which says AGI and LIVE. Those of
Q-Align, DeQA-Score, Q-Insight and VisualQuality-R1 are quoted from a survey of 2026 that takes them from the papers
named in each row; the papers themselves were not at hand. Each paper has test sets of its own making.
"""
