"""Which words an answer is read from: another readout changes the words of a question and nothing else."""

from dataclasses import dataclass, replace

from qdebias.equations import FloatArray, Probability, certainty, from_log_odds
from qdebias.errors import BackendError, SettingError
from qdebias.prompts import Question, TopQuestion

CHOICE = "Good or poor?"  # how the questions of the paper end; a readout of other words offers those in its place


@dataclass(frozen=True, slots=True)
class Words:
    """Words that stand for qualities."""

    choice: str  # how the question offers them
    words: tuple[str, ...]  # each has to be one token of the model
    values: tuple[float, ...]  # quality of each, in [0, 1]

    def __call__(self, question: Question) -> Question:
        """Return a question of the form "... Good or poor?" with these words instead of good and poor.

        The words are written as the question writes its own: with a space before them where they continue an answer
        prefix, with a capital where they begin the reply. Where its "good" stands for 0, all values are turned over.
        """
        _check_good_or_poor(question)
        spaced, turned = question.options[0].startswith(" "), question.values[0] < question.values[-1]
        return replace(
            question,
            text=question.text.replace(CHOICE, self.choice),
            options=tuple(f" {word}" if spaced else word.capitalize() for word in self.words),
            values=tuple(1 - value for value in self.values) if turned else self.values,
        )


_HALF = (1.0, 0.5, 0.0)

GOOD_POOR = (Words(CHOICE, ("good", "poor"), (1.0, 0.0)),)
LEVELS5 = (
    Words(
        "Excellent, good, fair, poor or bad?",
        ("excellent", "good", "fair", "poor", "bad"),
        (1.0, 0.75, 0.5, 0.25, 0.0),
    ),
)
WORDS = (Words(CHOICE, ("good", "high", "excellent", "poor", "low", "bad"), (1.0, 1.0, 1.0, 0.0, 0.0, 0.0)),)
"""Several words a pole: the softmax over all of them, summed over those of the good pole."""

NEUTRAL = (Words("Good, average or poor?", ("good", "average", "poor"), _HALF),)
ENSEMBLE = (
    *NEUTRAL,
    Words("High, medium or low?", ("high", "medium", "low"), _HALF),
    Words("Excellent, fair or bad?", ("excellent", "fair", "bad"), _HALF),
)
"""Three questions with a neutral word each."""

GOOD_WORDS = (
    " excellent", " great", " good", " perfect", " fine", " beautiful", " sharp", " clear", " clean", " crisp",
    " detailed", " vivid", " bright", " natural",
)  # fmt: skip
BAD_WORDS = (
    " terrible", " awful", " bad", " poor", " unacceptable", " ugly", " blurry", " unclear", " dirty", " noisy",
    " distorted", " dull", " dark", " grainy",
)  # fmt: skip
"""The poles of the direction that `Likeliest` measures along."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeliest:
    """The k likeliest words, weighed by how they lean: adaptive logit weighting of SeP-IQA."""

    top: int

    def __call__(self, question: Question) -> Question:
        """Return a question of the form "... Good or poor?" without these words, its answer continued by "very"."""
        _check_good_or_poor(question)
        towards_good, towards_bad = question.values[0], question.values[-1]
        return TopQuestion(
            text=question.text.replace(CHOICE, "").strip(),
            answer_prefix=f"{question.answer_prefix.strip()} very".strip(),
            options=(*GOOD_WORDS, *BAD_WORDS),
            values=(towards_good,) * len(GOOD_WORDS) + (towards_bad,) * len(BAD_WORDS),
            top=self.top,
        )


def _check_good_or_poor(question: Question) -> None:
    if [option.strip().lower() for option in question.options] != ["good", "poor"]:
        raise SettingError(
            f"a readout takes the place of good and poor, and the options of {question.text!r} are "
            f"{', '.join(map(repr, question.options))}"
        )


def read_top(question: TopQuestion, answers: FloatArray, temperature: float) -> tuple[Probability, FloatArray]:
    """Return N qualities whose log-odds are the mean over the likeliest words of logit times cosine, over T.

    SeP-IQA takes the sum, which has no bounds; the mean of a hundred words lies where the sigmoid is nearly straight.
    `answers` are (N, 3 k) ids, logits and cosines of the k likeliest words, see `qdebias.backends.top`; the second that
    is returned is how sure each answer is, (N,) in [0, 1].
    """
    if answers.shape[-1] != 3 * question.top:
        raise BackendError(
            f"the question {question.text!r} is read from the {question.top} likeliest words, and the answer has "
            f"{answers.shape[-1]} numbers; ask through qdebias.backends.top.TopReader, or name the method by its text"
        )
    _, logits, cosine = answers.reshape(-1, 3, question.top).swapaxes(0, 1)
    odds = (logits * cosine).sum(axis=-1) / question.top / temperature
    return from_log_odds(odds), certainty(logits, temperature)
