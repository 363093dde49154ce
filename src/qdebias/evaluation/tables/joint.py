"""Asking several methods' questions about the same images at once.

Table 4 has four prompts about the same pairs of images. Asked one method after the other, a model would look at each
pair four times; asked together, the questions share all that it computes about the images.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from qdebias.equations import equal_weight
from qdebias.methods import presets
from qdebias.methods.method import QDebias
from qdebias.runs.derive import derivation, known_pixels
from qdebias.runs.run import Run


def joint_method(recipes: Sequence[str]) -> QDebias | None:
    """Return a method that asks the prompts of several recipes at once; its own score is of no interest.

    Args:
        recipes: Names of methods.

    Returns:
        The questions of those that show the same pairs of images as the first; None where there are not several.
    """
    methods = [one for one in (presets.get(recipe).method for recipe in recipes) if isinstance(one, QDebias)]
    paired = [one for one in methods if one.degradations and not one.mismatched and one.contrast is None]
    alike = [one for one in paired if _stripped(one) == _stripped(paired[0])]
    questions = tuple(dict.fromkeys(one.quality for one in alike))
    if len(questions) < 2:
        return None
    same = next((one.same for one in alike if one.same is not None), None)
    return replace(_stripped(alike[0]), quality=questions[0], ensemble=questions[1:], same=same)


def unanswered(run: Run, joint: QDebias, paths: Sequence[Path], *, seed: int) -> Iterator[Path]:
    """Yield the images about which not all of the questions are answered in the run."""
    found = derivation(run.index, run.identity, joint)
    for path in paths:
        pixels = known_pixels(run.index, run.manifest, str(path.absolute()), seed=seed)
        if pixels is None or found.answers(pixels) is None:
            yield path


def _stripped(method: QDebias) -> QDebias:
    """Return the method without what does not change the pairs of images: its questions and its arithmetic."""
    return QDebias(
        quality=presets.CONDITIONAL,
        degradations=method.degradations,
        weigh=equal_weight,
        placement=method.placement,
        query_first=method.query_first,
    )
