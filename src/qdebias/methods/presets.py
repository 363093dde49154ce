"""Every method of the paper by name, with the questions as they are printed there.

Paper and released code disagree in several places, so each reading has a name and none is mended silently:

| | `paper` | `released` |
|---|---|---|
| zoom blur | factors 1.00 to 1.10, step 0.01 | 1.00 to 1.20, step 0.02, and the image once more in the mean |
| fog | as in the code: eq. (7) as it is printed, without rescaling, is `paper-eq7` | rescaled by max / (max + k) \
after adding |
| quality question | "...the second image? Good or poor?" | "...the second image. Good or poor?" |
| its answer | "The quality of the image is" + " good", " poor" | "Good", "Poor" as the first word of the reply: the \
processor that the authors' script calls drops the prefix, which ends in a space there (`released-as-written`) |
| same-object question | "...the same object? Yes or no?" | "...the same object? Yes or no" |
"""

from dataclasses import replace
from pathlib import Path

from qdebias.degrade import Degradation, Fog, Saturate, Spatter, ZoomBlur, imagenet_c
from qdebias.equations import equal_weight, similarity_weight, winner_weight
from qdebias.methods import sources
from qdebias.methods.expression import add_parts, parse
from qdebias.methods.method import QDebias, Vanilla
from qdebias.methods.method_file import SUFFIX, read_file
from qdebias.methods.readouts import LEVELS5, Likeliest
from qdebias.methods.recipe import Recipe as Recipe
from qdebias.metrics.lpips import Lpips
from qdebias.prompts import Question

PREFIX = "The quality of the image is"

FIT = ".fit"
"""How the name of a file with a fit ends."""


def _good_or_poor(text: str) -> Question:
    return Question(text=text, answer_prefix=PREFIX, options=(" good", " poor"), values=(1.0, 0.0))


def _level_of(text: str, noun: str) -> Question:
    """Return a question that is answered by one of five levels which it does not name."""
    words = LEVELS5[0]
    options = tuple(f" {word}" for word in words.words)
    return Question(text=text, answer_prefix=f"The {noun} is", options=options, values=words.values)


VANILLA = _good_or_poor("Rate the quality of the image. Good or poor?")
QBENCH = _good_or_poor("Rate the quality of the image.")

CONDITIONAL = _good_or_poor(
    "The visual quality of the first image is poor. How about the visual quality of the second image? Good or poor?"
)
T1 = _good_or_poor("Rate the quality of the second image. Good or poor?")
T2 = _good_or_poor("How about the visual quality of the second image? Good or poor?")
T3 = _good_or_poor(
    "The visual quality of the first image is poor. Rate the visual quality of the second image. Good or poor?"
)
SAME_OBJECT = Question(
    text="Do these two images describe the same object? Yes or no?", options=("Yes", "No"), values=(1.0, 0.0)
)

RELEASED_CONDITIONAL = Question(
    text="The visual quality of the first image is poor. "
    "How about the visual quality of the second image. Good or poor?",
    options=("Good", "Poor"),
    values=(1.0, 0.0),
)
RELEASED_SAME_OBJECT = replace(SAME_OBJECT, text="Do these two images describe the same object? Yes or no")

CONDITIONAL_QUERY_FIRST = _good_or_poor(
    "The visual quality of the second image is poor. How about the visual quality of the first image? Good or poor?"
)

PRISTINE = _good_or_poor(
    "The visual quality of the first image is excellent. "
    "How about the visual quality of the second image? Good or poor?"
)
"""About a degraded copy, beside the query image; see docs/methods.md for which way its answer points."""

SEP_IQA = replace(
    Likeliest(top=100)(VANILLA),
    text="Taking into account the details and the rationality of the image, "
    "how would you rate the quality of this image?",
)
"""The question of SeP-IQA's script, which continues "The quality of the image is very"; the pole words are ours."""

SEP_LEVELS5 = replace(_level_of(SEP_IQA.text, "quality"), answer_prefix=SEP_IQA.answer_prefix)

STANDARD7 = Question(
    text="Rate the quality of the image by this standard. "
    "(1) Bad: damage hides what is shown. (2) Poor: strong damage everywhere. (3) Below average: visible damage. "
    "(4) Average: damage that can be seen and does not disturb much. (5) Above average: slight damage. "
    "(6) Good: damage only if one looks for it. (7) Excellent: sharp, clean and well exposed, without any damage. "
    "Answer with one number from 1 to 7.",
    answer_prefix="The quality of the image is (",
    options=tuple("7654321"),
    values=tuple(level / 6 for level in range(6, -1, -1)),
)
"""The reply ends in a bracket: behind it a digit is one token of its own in vocabularies that split digits off."""


def _q_align(noun: str) -> Question:
    """Return the question of Q-Align's scorer; DeQA-Score and the README of Q-ReAlign ask the same about quality."""
    return _level_of(f"How would you rate the {noun} of this image?", f"{noun} of the image")


QREALIGN = _level_of("Can you rate the quality of this picture?", "quality of the image")
QREALIGN_AESTHETICS = _level_of("How is the aesthetics of this image?", "aesthetics of the image")
QREALIGN_AESTHETICS_PYIQA = replace(QREALIGN_AESTHETICS, text="Can you rate the aesthetics of this picture?")
QREALIGN_VIDEO = _level_of("Can you rate the quality of this video?", "quality of the video")

PAPER = QDebias(quality=CONDITIONAL, same=SAME_OBJECT)
UNASKED = replace(PAPER, same=None)
"""Without the same-object question, for weights that do not come from the model."""
RELEASED = QDebias(
    quality=RELEASED_CONDITIONAL,
    same=RELEASED_SAME_OBJECT,
    degradations=(
        imagenet_c("zoom_blur", severity=3),
        imagenet_c("spatter", severity=3),
        imagenet_c("saturate", severity=3),
        imagenet_c("fog", severity=4),
    ),
)


def _only(degradation: Degradation) -> QDebias:
    """One condition alone: its weight is 1 whatever the model says, so the same-object question is left out."""
    return replace(UNASKED, degradations=(degradation,), weigh=equal_weight)


_RECIPES = (
    Recipe(name="paper", method=PAPER, summary="Q-Debias as the paper describes it, eq. (3)-(11)"),
    Recipe(
        name="paper-eq7",
        method=replace(PAPER, degradations=(*PAPER.degradations[:3], Fog(rescale=False))),
        summary="Q-Debias with the fog of eq. (7) as it is printed, white nearly everywhere",
    ),
    Recipe(
        name="paper-literal",
        method=replace(PAPER, placement="after"),
        summary="Q-Debias with the images after the question, as the paper's listing prints it",
    ),
    Recipe(
        name="released",
        method=RELEASED,
        summary="Q-Debias as the authors' script computes it",
        cut="official",
    ),
    Recipe(
        name="released-as-written",
        method=replace(RELEASED, quality=replace(RELEASED_CONDITIONAL, answer_prefix=f"{PREFIX} ")),
        summary="Q-Debias as the authors' script reads: with the answer prefix that their processor drops",
    ),
    Recipe(name="vanilla", method=Vanilla(question=VANILLA), summary="one question about the image alone, eq. (1)"),
    Recipe(
        name="qbench",
        method=Vanilla(question=QBENCH),
        summary="the prompt of Q-Bench, T = 1; Table 1",
        source=sources.Q_BENCH,
    ),
    Recipe(
        name="qbench-t100",
        method=Vanilla(question=QBENCH, temperature=100.0),
        summary="the prompt of Q-Bench with the temperature of its script, T = 100",
        source=sources.Q_BENCH,
    ),
    Recipe(name="t1", method=replace(PAPER, quality=T1), summary="the whole prompt replaced; T1 of Table 4"),
    Recipe(name="t2", method=replace(PAPER, quality=T2), summary="without 'the first image is poor'; T2 of Table 4"),
    Recipe(name="t3", method=replace(PAPER, quality=T3), summary="without 'how about'; T3 of Table 4"),
    Recipe(
        name="average",
        method=replace(UNASKED, weigh=equal_weight),
        summary="every condition counts the same; Average of Table 5",
    ),
    Recipe(
        name="lpips",
        method=replace(UNASKED, weigh=similarity_weight, distance=Lpips()),
        summary="weights by the likeness of the pixels, 1 - LPIPS; Quality Similarity of Table 5",
    ),
    Recipe(
        name="winner",
        method=replace(PAPER, weigh=winner_weight),
        summary="only the condition most surely of the same object counts; Winner-Takes-All of Table 5",
    ),
    Recipe(name="only-zoom-blur", method=_only(ZoomBlur()), summary="zoom blur alone; experiment 2 of Table 3"),
    Recipe(name="only-spatter", method=_only(Spatter()), summary="spatter alone; experiment 3 of Table 3"),
    Recipe(name="only-fog", method=_only(Fog()), summary="fog alone; experiment 4 of Table 3"),
    Recipe(name="only-saturate", method=_only(Saturate()), summary="saturation alone; experiment 5 of Table 3"),
    Recipe(
        name="spatter-saturate",
        method=replace(PAPER, degradations=(Spatter(), Saturate())),
        summary="the pair that does best in the paper; experiment 6 of Table 3",
    ),
    Recipe(
        name="spatter-fog-saturate",
        method=replace(PAPER, degradations=(Spatter(), Fog(), Saturate())),
        summary="the three that do best in the paper; experiment 7 of Table 3",
    ),
    Recipe(
        name="mismatched",
        method=replace(PAPER, mismatched=True),
        summary="degraded images of other content as conditions; experiment 8 of Table 3 (needs a pool of images)",
    ),
    Recipe(
        name="pristine",
        method=replace(PAPER, quality=PRISTINE, query_first=True),
        summary="the image is called excellent and its degraded copy is judged beside it; the score is P(good) of that",
        source=sources.OURS,
    ),
    Recipe(
        name="sep-iqa",
        method=Vanilla(question=SEP_IQA),
        summary="the 100 likeliest words, each by how its meaning leans to good or bad; after SeP-IQA, with other pole "
        "words (its source's readout loses to plain good and poor on 10 of 23 pairs of model and dataset)",
        source=sources.SEP_IQA,
    ),
    *(
        Recipe(
            name=name,
            method=Vanilla(question=_q_align(noun), placement="after"),
            summary=f"five levels of {noun}, in the prompt of Q-Align's scorer; for models of its line",
            source=sources.Q_ALIGN,
        )
        for name, noun in (("q-align", "quality"), ("q-align-aesthetics", "aesthetics"))
    ),
    Recipe(
        name="sep-levels5",
        method=Vanilla(question=SEP_LEVELS5),
        summary="the question of SeP-IQA, read by five levels: one forward",
        source=sources.SEP_LEVELS,
    ),
    Recipe(
        name="standard7",
        method=Vanilla(question=STANDARD7),
        summary="the mean digit by a written standard of 1 to 7: one forward",
        source=sources.DOG_IQA,
    ),
    Recipe(
        name="qrealign",
        method=Vanilla(question=QREALIGN),
        summary="the trained scorer Q-ReAlign, by the first question of its toolkit, which pyiqa asks too; thought off "
        "and no space before the stem, as it was trained",
        source=sources.Q_REALIGN,
    ),
    Recipe(
        name="qrealign-readme",
        method=Vanilla(question=_q_align("quality")),
        summary="Q-ReAlign by the question of its README, the fifth of those it was trained on",
        source=sources.Q_REALIGN,
    ),
    Recipe(
        name="qrealign-aesthetics",
        method=Vanilla(question=QREALIGN_AESTHETICS),
        summary="Q-ReAlign on aesthetics, by the question of its toolkit",
        source=sources.Q_REALIGN,
    ),
    Recipe(
        name="qrealign-aesthetics-pyiqa",
        method=Vanilla(question=QREALIGN_AESTHETICS_PYIQA),
        summary="Q-ReAlign on aesthetics, by the question of pyiqa, which the toolkit does not ask",
        source=sources.Q_REALIGN,
    ),
    Recipe(
        name="qrealign-video",
        method=Vanilla(question=QREALIGN_VIDEO),
        summary="Q-ReAlign on the frames of a video in one prompt, for `Scorer.score_frames`; one image is a video of "
        "one frame",
        source=sources.Q_REALIGN,
    ),
    Recipe(
        name="contrast",
        method=QDebias(quality=VANILLA, weigh=equal_weight, contrast=1.0),
        summary="log-odds of good for the image less their mean for its degraded copies, each asked about alone: "
        "the paper's idea without a condition in the prompt",
        source=sources.VCD,
    ),
    Recipe(
        name="query-first",
        method=replace(PAPER, quality=CONDITIONAL_QUERY_FIRST, query_first=True),
        summary="the query image first, so that all conditions can share its part of the prompt",
        source=sources.OURS,
    ),
)

RECIPES = {recipe.name: recipe for recipe in _RECIPES}


def get(text: str) -> Recipe:
    """Return the recipe of a method.

    Args:
        text: One of `RECIPES`; or an expression, such as "paper+levels5+logodds" or "paper@fog,package.module:rain",
            see `qdebias.methods.expression`; or a file that describes a method, "mine.toml", see
            `qdebias.methods.method_file`, with or without parts behind it; or a fit, "mine.fit", see
            `qdebias.methods.fitted`. In the
            place of a preset, "package.module:name" is a method of one's own, or a class or function that makes one.

    Raises:
        SettingError: There is no such method; the message lists what there is.
    """
    if text.endswith(FIT):
        from qdebias.methods.fitted import load_fit

        fit = load_fit(text)
        return Recipe(name=text, method=fit, summary=f"fitted to {fit.labels.summary}", source=sources.OURS)
    path, suffix, parts = text.rpartition(SUFFIX)
    if not suffix or parts[:1] not in ("", "+"):
        return parse(text, RECIPES)
    return add_parts(read_file(Path(path + suffix), RECIPES), parts.split("+")[1:], RECIPES)
