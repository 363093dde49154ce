"""A method with its name and where it comes from."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from qdebias.backends.base import Backend, Cutting
from qdebias.backends.top import TopReader
from qdebias.equations import equal_weight
from qdebias.methods.method import Method, QDebias
from qdebias.metrics.packages import Lpips
from qdebias.prompts import TopQuestion

PAPER = "Q-Debias (Pan et al., arXiv 2411.12791)"
Q_BENCH = "Q-Bench (Wu et al., arXiv 2309.14181)"
Q_ALIGN = "Q-Align (Wu et al., arXiv 2312.17090)"
Q_REALIGN = "Q-ReAlign (github.com/Q-Future/Q-ReAlign)"
Q_BOOST = "idea of Q-Boost (Zhang et al., arXiv 2312.15300); words and values are this project's"
DEQA = "advice in zhiyuanyou/DeQA-Score#24; the set is this project's"
SEP_IQA_SOURCE = "SeP-IQA (github.com/weolix/SeP-IQA); reference words, mean and sigmoid are this project's"
SEP_LEVELS = "SeP-IQA's question and answer prefix (github.com/weolix/SeP-IQA), as in its log; readout of Q-Align"
DOG_IQA = "idea of Dog-IQA (Liu et al., arXiv 2410.02505), which reads the generated digit; the scale is this project's"
VCD = "a contrast as in visual contrastive decoding (Leng et al., arXiv 2311.16922); its use here is this project's"
CLIP_IQA = "attributes after CLIP-IQA (Wang et al., arXiv 2207.12396); questions and conditions are this project's"
CALIBRATION = "contextual calibration (Zhao et al., arXiv 2102.09690; for images Zhang et al., arXiv 2403.05262)"
OPINION_POOL = "logarithmic opinion pool (Genest and Zidek, Combining probability distributions, 1986)"
SELF_CONSISTENCY = "self-consistency (Wang et al., arXiv 2203.11171), over the noise of the degradations"
IMAGENET_C = "severities of ImageNet-C (Hendrycks and Dietterich, arXiv 1903.12261)"
OURS = "this project"


@dataclass(frozen=True, slots=True)
class Recipe:
    """A named method."""

    name: str  # on the command line: a preset, an expression in its canonical form, or a file
    method: Method
    summary: str  # in one line, with its place in the paper or the work it comes from
    source: str = PAPER
    spelled: str = ""  # the expression that a preset is short for
    cut: str | None = None  # how mPLUG-Owl3 cuts images: "official" as its processor does; None as it was loaded
    words: tuple[str, ...] = field(init=False, repr=False, compare=False)  # options whose probabilities scores hold

    def __post_init__(self) -> None:
        object.__setattr__(self, "words", getattr(self.method, "words", ()))

    def fit(self, backend: Backend) -> Backend:
        """Return the backend with what belongs to this method; the model is not loaded again."""
        reads = isinstance(backend, TopReader)
        model = backend.backend if isinstance(backend, TopReader) else backend
        if self.cut is not None and isinstance(model, Cutting):
            model = model.with_cut(self.cut)
        questions = getattr(self.method, "questions", ())
        return TopReader(model) if reads or any(isinstance(one, TopQuestion) for one in questions) else model

    def check(self) -> None:
        """Make sure that the packages that the method needs are there, before a run begins."""
        if isinstance(self.method, QDebias) and isinstance(self.method.distance, Lpips):
            self.method.distance.check()


def joint(recipes: Sequence[Recipe]) -> QDebias | None:
    """Return a method that asks the questions of several at once; its own score is of no interest.

    It has the questions of those that show the same pairs of images as the first; None where there are not several.
    """
    paired = [
        one.method
        for one in recipes
        if isinstance(one.method, QDebias)
        and one.method.degradations
        and not one.method.mismatched
        and one.method.contrast is None
    ]
    shown = ("degradations", "placement", "query_first")  # what decides which images are shown, and in which order
    alike = [one for one in paired if all(getattr(one, name) == getattr(paired[0], name) for name in shown)]
    questions = tuple(dict.fromkeys(one.quality for one in alike))
    if len(questions) < 2:
        return None
    same = next((one.same for one in alike if one.same is not None), None)
    pairs: dict[str, Any] = {name: getattr(paired[0], name) for name in shown}
    return QDebias(quality=questions[0], ensemble=questions[1:], same=same, weigh=equal_weight, **pairs)
