"""A method with its name and where it comes from."""

from dataclasses import dataclass

from qdebias.backends.base import Backend, Cutting
from qdebias.backends.top import TopReader
from qdebias.methods.method import Method, QDebias
from qdebias.prompts import TopQuestion

PAPER = "Q-Debias (Pan et al., arXiv 2411.12791)"
Q_BENCH = "Q-Bench (Wu et al., arXiv 2309.14181)"
Q_ALIGN = "Q-Align (Wu et al., arXiv 2312.17090)"
Q_REALIGN = "Q-ReAlign (github.com/Q-Future/Q-ReAlign)"
Q_BOOST = "idea of Q-Boost (Zhang et al., arXiv 2312.15300); words and values are this project's"
DEQA = "advice in zhiyuanyou/DeQA-Score#24; the set is this project's"
SEP_IQA_SOURCE = "SeP-IQA (github.com/weolix/SeP-IQA); pole words, mean and sigmoid are this project's"
SEP_LEVELS = "question and stem of SeP-IQA (github.com/weolix/SeP-IQA), whose log has it; readout of Q-Align"
DOG_IQA = "idea of Dog-IQA (Liu et al., arXiv 2410.02505), which takes the digit; the standard is this project's"
VCD = "a contrast as in visual contrastive decoding (Leng et al., arXiv 2311.16922); its use here is this project's"
CLIP_IQA = "attributes after CLIP-IQA (Wang et al., arXiv 2207.12396); questions and conditions are this project's"
CALIBRATION = "contextual calibration (Zhao et al., arXiv 2102.09690; for images Zhang et al., arXiv 2403.05262)"
OPINION_POOL = "logarithmic opinion pool (Genest and Zidek, Combining probability distributions, 1986)"
SELF_CONSISTENCY = "self-consistency (Wang et al., arXiv 2203.11171), over the noise of the degradations"
IMAGENET_C = "severities of ImageNet-C (Hendrycks and Dietterich, arXiv 1903.12261)"
OURS = "this project"


@dataclass(frozen=True, slots=True)
class Recipe:
    """A named method.

    Attributes:
        name: What it is called on the command line: a preset, an expression in its canonical form, or a file.
        method: The method itself.
        summary: What it is, in one line, with its place in the paper or the work it comes from.
        source: Where it comes from.
        cut: How mPLUG-Owl3 cuts images under this method; None leaves the backend as it was loaded. "official" is
            what the stock processor of the loaded release does. Other models do not cut in this way.
    """

    name: str
    method: Method
    summary: str
    source: str = PAPER
    cut: str | None = None

    def fit(self, backend: Backend) -> Backend:
        """Return the backend with what belongs to this method; the model is not loaded again.

        Raises:
            BackendError: The method reads the likeliest words, and the backend does not tell them.
        """
        reads = isinstance(backend, TopReader)
        model = backend.backend if isinstance(backend, TopReader) else backend
        if self.cut is not None and isinstance(model, Cutting):
            model = model.with_cut(self.cut)
        questions = self.method.qualities if isinstance(self.method, QDebias) else ()
        return TopReader(model) if reads or any(isinstance(one, TopQuestion) for one in questions) else model
