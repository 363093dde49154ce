"""The parts that a method can be put together from: literal tables from words to objects.

    paper + levels5 + logodds + t100 + seeds4

A part has a kind; a method has at most one part of a kind, except for the kinds in `MANY`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from qdebias import degrade, equations
from qdebias.degrade import Degradation, kind_of
from qdebias.equations import Evidence, FloatArray
from qdebias.errors import SettingError
from qdebias.methods import recipe
from qdebias.methods.content import ContentFree, blank, noise, suits
from qdebias.methods.method import QDebias
from qdebias.methods.readouts import ENSEMBLE, GOOD_POOR, LEVELS5, NEUTRAL, WORDS, Likeliest
from qdebias.metrics.packages import Lpips
from qdebias.prompts import Question

NEEDS_SAME = (equations.semantic_weight, equations.winner_weight)  # the weights that need the same-object question


@dataclass(frozen=True, slots=True)
class Aspect:
    """What is asked about instead of quality as a whole: sharpness, noise and others."""

    noun: str  # takes the place of "quality" in every question and at the beginning of the answer
    degradations: tuple[Degradation, ...]  # this aspect of them is poor

    def change(self, method: QDebias) -> QDebias:
        """Ask about this aspect: "Rate the sharpness of the image. Good or poor?"."""
        return replace(_reword([self._word], method), degradations=self.degradations if method.degradations else ())

    def _word(self, question: Question) -> Question:
        text, prefix = (
            words.replace("visual quality", "quality").replace("quality", self.noun)
            for words in (question.text, question.answer_prefix)
        )
        return replace(question, text=text, answer_prefix=prefix)


ASPECTS: Mapping[str, Aspect] = {
    "sharpness": Aspect("sharpness", (degrade.GaussianBlur(), degrade.ZoomBlur(), degrade.Pixelate())),
    "noise": Aspect("freedom from noise", (degrade.GaussianNoise(),)),
    "exposure": Aspect("exposure", (degrade.Brightness(offset=0.5), degrade.Brightness(offset=-0.5))),
    "colour": Aspect("color", (degrade.Saturate(gain=2.0), degrade.Saturate(gain=0.1))),
    "contrast": Aspect("contrast", (degrade.Contrast(), degrade.Fog())),
    "aesthetics": Aspect(
        "aesthetic quality", (degrade.ZoomBlur(), degrade.Spatter(), degrade.Saturate(), degrade.Fog())
    ),
}


@dataclass(frozen=True, slots=True)
class Part:
    """One word of an expression.

    `change` turns a method without it into one with it, or raises a SettingError where it does not go with the rest. Of
    a part that has a number or a condition behind it, the first argument is that.
    """

    kind: str  # what it decides
    change: Callable[..., QDebias]
    summary: str
    source: str


def _reword(changes: Sequence[Callable[[Question], Question]], method: QDebias) -> QDebias:
    """Ask about quality in other words, in each of these ways."""
    first, *others = (change(question) for question in method.qualities for change in changes)
    return replace(method, quality=first, ensemble=tuple(others))


def _read_likeliest(top: float, method: QDebias) -> QDebias:
    if not top.is_integer():
        raise SettingError(f"the number of words is a whole number, got {top:g}")
    return _reword([Likeliest(top=int(top))], method)


def _begin_answers(started: Callable[[Question], Question], refusal: str, method: QDebias) -> QDebias:
    """Begin the answers to every question in another way."""
    changed = replace(_reword([started], method), same=method.same and started(method.same))
    if changed == method:
        raise SettingError(refusal)
    return changed


def _prefixed(question: Question) -> Question:
    """Begin the answer of a question that has no answer prefix: " Yes" or "Yes" becomes " yes" after it."""
    if question.answer_prefix:
        return question
    options = tuple(f" {option.strip().lower()}" for option in question.options)
    return replace(question, answer_prefix="The answer is", options=options)


def _begun_with(start: str) -> Callable[..., QDebias]:
    def begun(question: Question) -> Question:
        return replace(question, answer_prefix=question.answer_prefix and start + question.answer_prefix)

    return partial(_begin_answers, begun, "the questions of this method have no answer prefix")


def _weigh_by(weigh: Callable[[Evidence], FloatArray], method: QDebias) -> QDebias:
    if weigh in NEEDS_SAME and method.same is None:
        raise SettingError("these weights need the same-object question, and this method has none")
    return replace(method, weigh=weigh, distance=Lpips() if weigh is equations.similarity_weight else None)


def _average_by(mean: Any, method: QDebias) -> QDebias:  # noqa: ANN401 (see `QDebias.mean`)
    if method.contrast is not None:
        raise SettingError("a contrast averages log-odds; leave the mean out")
    return replace(method, mean=mean)


def _only(degradation: Degradation, method: QDebias) -> QDebias:
    return replace(method, degradations=(degradation,))


def _add(degradation: Degradation, method: QDebias) -> QDebias:
    if kind_of(degradation) in map(kind_of, method.degradations):
        raise SettingError("the method has a condition of this kind already")
    return replace(method, degradations=(*method.degradations, degradation))


def _leave_out(degradation: Degradation, method: QDebias) -> QDebias:
    kept = tuple(one for one in method.degradations if kind_of(one) != kind_of(degradation))
    if kept == method.degradations:
        raise SettingError("there is no such condition")
    if not kept:
        raise SettingError("no condition would be left")
    return replace(method, degradations=kept)


def _choose_by_content(method: QDebias) -> QDebias:
    if not any(isinstance(one, degrade.Spatter) for one in method.degradations):
        raise SettingError("on screen content spatter alone counts, and this method has no spatter")
    return replace(method, suits=suits)


def _print_fog(method: QDebias) -> QDebias:
    if not any(isinstance(one, degrade.Fog) for one in method.degradations):
        raise SettingError("there is no fog among the conditions")
    changed = (replace(one, rescale=False) if isinstance(one, degrade.Fog) else one for one in method.degradations)
    return replace(method, degradations=tuple(changed))


def _subtract_copies(share: float, method: QDebias) -> QDebias:
    if method.contrast is None:
        raise SettingError("nothing is subtracted by this method; start from contrast")
    return replace(method, contrast=share)


def _repeat(count: float, method: QDebias) -> QDebias:
    if not count.is_integer() or count < 1:
        raise SettingError(f"the number of seeds is a whole number from 1 on, got {count:g}")
    return replace(method, seeds=int(count))


_TABLE_5 = f"{recipe.PAPER}, Table 5"
_ENTROPY = "how sure the answer is: 1 - entropy of the options / log K"
_MEDIAN = "only the middle condition, by its log-odds: a choice without labels"

_READOUTS = {
    "goodpoor": (GOOD_POOR, "good or poor", f"{recipe.PAPER}, eq. (1) and (8)"),
    "levels5": (LEVELS5, "the mean of excellent, good, fair, poor, bad as 1, .75, .5, .25, 0", recipe.Q_ALIGN),
    "words": (WORDS, "several words per side: good, high, excellent against poor, low, bad", recipe.DEQA),
    "neutral": (NEUTRAL, "a neutral word: good, average, poor as 1, .5, 0", recipe.Q_BOOST),
    "ensemble": (ENSEMBLE, "the mean over three questions with a neutral word each", recipe.Q_BOOST),
}
_WEIGHTS = {
    "semantic": (equations.semantic_weight, "P(same object), through a softmax", f"{recipe.PAPER}, eq. (10)"),
    "average": (equations.equal_weight, "equal weights", _TABLE_5),
    "winner": (equations.winner_weight, "only the condition with the highest P(same object)", _TABLE_5),
    "lpips": (equations.similarity_weight, "1 - LPIPS of the pixels, through a softmax", _TABLE_5),
    "confidence": (equations.certainty_weight, _ENTROPY, recipe.OURS),
    "median": (equations.median_weight, _MEDIAN, recipe.OURS),
}
_MEANS = {
    "probability": (equations.mean_probability, "the mean of the qualities", f"{recipe.PAPER}, eq. (9)"),
    "logodds": (equations.mean_log_odds, "the mean of the log-odds", recipe.OPINION_POOL),
}

PARTS: Mapping[str, Part] = {
    **{name: Part("readout", partial(_reword, words), *told) for name, (words, *told) in _READOUTS.items()},
    **{name: Part("weights", partial(_weigh_by, weigh), *told) for name, (weigh, *told) in _WEIGHTS.items()},
    **{name: Part("mean", partial(_average_by, mean), *told) for name, (mean, *told) in _MEANS.items()},
    **{
        f"prior-{make.__name__}": Part(
            "prior",
            partial(replace, prior=ContentFree(make=make)),
            f"minus the logits about {what} instead of the query",
            recipe.CALIBRATION,
        )
        for make, what in ((blank, "a grey image"), (noise, "an image of noise"))
    },
    "prefixed": Part(
        "prefix",
        partial(_begin_answers, _prefixed, "every question of this method has an answer prefix already"),
        "questions without an answer prefix get “The answer is” and lower-case options",
        recipe.OURS,
    ),
    "spaced": Part(
        "spacing", _begun_with(" "), "a space before the answer prefix", f"the toolkit of {recipe.Q_REALIGN}"
    ),
    "open-thought": Part(
        "thought",
        _begun_with("<think>\n"),
        "the answer prefix is inside the reasoning block that the chat template opens (enable_thinking=true), where "
        "the model was not trained to answer",
        f"the README of {recipe.Q_REALIGN}, and pyiqa, with a template that opens a reasoning block",
    ),
    "eq7": Part("fog", _print_fog, "fog without rescaling, white nearly everywhere", f"{recipe.PAPER}, eq. (7)"),
    "by-content": Part(
        "choice",
        _choose_by_content,
        "only spatter for screen content, all conditions otherwise",
        f"{recipe.PAPER}, Table 1, chosen there for a whole dataset",
    ),
    **{
        name: Part("aspect", aspect.change, f"asks about {aspect.noun} instead of quality", recipe.CLIP_IQA)
        for name, aspect in ASPECTS.items()
    },
}

CONDITIONS: Mapping[str, Part] = {
    "only-": Part("only", _only, "a single condition", f"{recipe.PAPER}, Table 3"),
    "without-": Part("without", _leave_out, "without one condition", f"{recipe.PAPER}, Table 3"),
    "with-": Part("with", _add, "a further condition", recipe.IMAGENET_C),
}
"""Parts with the name of a degradation behind them: `with-jpeg`, `with-jpeg5`."""

NUMBERED: Mapping[str, Part] = {
    "topk": Part(
        "readout",
        _read_likeliest,
        "the NUMBER most likely words, weighted by similarity to good or bad words",
        recipe.SEP_IQA_SOURCE,
    ),
    "t": Part(
        "temperature",
        lambda value, method: replace(method, temperature=value),
        "T of the softmax over the options; 1 in the paper, 100 in Q-Bench's script",
        f"{recipe.PAPER}, eq. (8)",
    ),
    "a": Part("share", _subtract_copies, "a of a contrast: the factor of the copies' log-odds", recipe.VCD),
    "seeds": Part("seeds", _repeat, "the mean over NUMBER noise seeds, with their spread", recipe.SELF_CONSISTENCY),
}
"""Parts with a number behind them: `t100`, `a0.5`, `seeds4`."""

KINDS = (
    "aspect", "only", "without", "with", "fog", "choice", "readout", "prefix", "spacing", "thought", "weights", "mean",
    "prior", "share", "temperature", "seeds",
)  # fmt: skip
"""In the order in which parts are put together and written."""

MANY = ("with", "without")  # the kinds of which there may be several parts

NEED_CONDITIONS = {
    "weights": "weights",
    "mean": "means",
    "only": "choices of conditions",
    "with": "further conditions",
}
"""The kinds that are for methods with conditional images, and what a refusal calls their parts."""
