"""What the parts of an expression do to a draft; each returns the draft with the part in it.

Those that do not go with what is there already raise a SettingError.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from qdebias.degrade import Degradation, Spatter, kind_of
from qdebias.errors import SettingError
from qdebias.image import RgbImage
from qdebias.methods.aspects import Aspect
from qdebias.methods.content import suits
from qdebias.methods.draft import ASKING, Draft, Likeness
from qdebias.methods.pooling import Evidence, Pooled, by_likeness
from qdebias.methods.prior import ContentFree
from qdebias.methods.reading import Readings
from qdebias.methods.readouts import Likeliest, read_as
from qdebias.probability import FloatArray
from qdebias.prompts import Question
from qdebias.rivals.lpips import Lpips


def read_by(readout: Sequence[Callable[[Question], Question]], draft: Draft) -> Draft:
    """Ask in the words of a readout."""
    questions = tuple(asked for question in draft.method.quality for asked in read_as(readout, question))
    return replace(draft, method=replace(draft.method, quality=questions))


def judge(aspect: Aspect, draft: Draft) -> Draft:
    """Ask about an aspect, under conditions of which it is true unless they were chosen by name."""
    method = replace(draft.method, quality=tuple(map(aspect, draft.method.quality)))
    if method.degradations and not draft.settled:
        method = replace(method, degradations=aspect.degradations)
    return replace(draft, method=method)


def choose_by_content(draft: Draft) -> Draft:
    """Let spatter alone count on screen content."""
    if not any(isinstance(one, Spatter) for one in draft.method.degradations):
        raise SettingError("on screen content spatter alone counts, and this method has no spatter")
    return replace(draft, method=replace(draft.method, suits=suits))


def subtract(make: Callable[[], RgbImage], draft: Draft) -> Draft:
    """Subtract what is answered about an image without content."""
    return replace(draft, method=replace(draft.method, prior=ContentFree(make=make)))


def read_likeliest(top: float, draft: Draft) -> Draft:
    """Read the likeliest words."""
    if top != int(top):
        raise SettingError(f"the number of words is a whole number, got {top:g}")
    return read_by((Likeliest(top=int(top)),), draft)


def weigh_by(weigh: Callable[[Evidence], FloatArray], draft: Draft) -> Draft:
    """Weigh the conditions in another way."""
    _check_conditions(draft, "weights")
    if weigh in ASKING and draft.method.same is None:
        raise SettingError("these weights need the same-object question, and this method has none")
    return replace(draft, method=replace(draft.method, weigh=weigh, likeness=None))


def weigh_by_lpips(draft: Draft) -> Draft:
    """Weigh the conditions by the likeness of the pixels."""
    _check_conditions(draft, "weights")
    return replace(draft, method=replace(draft.method, weigh=by_likeness, likeness=Likeness(distance=Lpips())))


def average_by(mean: Callable[[Readings, FloatArray], Pooled], draft: Draft) -> Draft:
    """Take the mean of something else."""
    _check_conditions(draft, "a mean")
    return replace(draft, method=replace(draft.method, mean=mean))


def only(degradation: Degradation, draft: Draft) -> Draft:
    """Keep one condition alone."""
    _check_conditions(draft, "a choice of conditions")
    return replace(draft, method=replace(draft.method, degradations=(degradation,)))


def add(degradation: Degradation, draft: Draft) -> Draft:
    """Add a condition."""
    _check_conditions(draft, "further conditions")
    present = draft.method.degradations
    if kind_of(degradation) in map(kind_of, present):
        raise SettingError("the method has a condition of this kind already")
    return replace(draft, method=replace(draft.method, degradations=(*present, degradation)))


def leave_out(degradation: Degradation, draft: Draft) -> Draft:
    """Leave a condition out."""
    present = draft.method.degradations
    kept = tuple(one for one in present if kind_of(one) != kind_of(degradation))
    if kept == present or not kept:
        raise SettingError("no condition would be left" if present and not kept else "there is no such condition")
    return replace(draft, method=replace(draft.method, degradations=kept))


def heat(value: float, draft: Draft) -> Draft:
    """Set the temperature."""
    return replace(draft, method=replace(draft.method, temperature=value))


def repeat(count: float, draft: Draft) -> Draft:
    """Ask under several seeds."""
    if not count.is_integer() or count < 1:
        raise SettingError(f"the number of seeds is a whole number from 1 on, got {count:g}")
    return replace(draft, seeds=int(count))


def _check_conditions(draft: Draft, what: str) -> None:
    if not draft.method.degradations:
        raise SettingError(f"{what} need conditions, and this method asks about the image alone")
