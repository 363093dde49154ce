"""Every method of the paper by name, with the questions as they are printed there.

Paper and released code disagree in several places, which docs/method.md lists; so each reading has a name, and none is
mended silently.
"""

from dataclasses import replace
from pathlib import Path

from qdebias.degrade import Fog, Saturate, Spatter, imagenet_c
from qdebias.equations import equal_weight
from qdebias.errors import SettingError
from qdebias.methods.expression import SUFFIX, add_parts, parse, read_file
from qdebias.methods.fitted import FIT as FIT
from qdebias.methods.fitted import load_fit
from qdebias.methods.method import Method, QDebias, Vanilla
from qdebias.methods.readouts import LEVELS5, Likeliest
from qdebias.methods.recipe import DOG_IQA, OURS, Q_ALIGN, Q_BENCH, Q_REALIGN, SEP_IQA_SOURCE, SEP_LEVELS, VCD
from qdebias.methods.recipe import Recipe as Recipe
from qdebias.prompts import PREFIX, Question, good_or_poor
from qdebias.prompts import VANILLA as VANILLA


def _level_of(text: str, noun: str) -> Question:
    """Return a question that is answered by one of five levels which it does not name."""
    options = tuple(f" {word}" for word in LEVELS5[0].words)
    return Question(text=text, answer_prefix=f"The {noun} is", options=options, values=LEVELS5[0].values)


QBENCH = good_or_poor("Rate the quality of the image.")

CONDITIONAL = good_or_poor(
    "The visual quality of the first image is poor. How about the visual quality of the second image? Good or poor?"
)
T1 = good_or_poor("Rate the quality of the second image. Good or poor?")
T2 = good_or_poor("How about the visual quality of the second image? Good or poor?")
T3 = good_or_poor(
    "The visual quality of the first image is poor. Rate the visual quality of the second image. Good or poor?"
)
SAME_OBJECT = Question(
    text="Do these two images describe the same object? Yes or no?", options=("Yes", "No"), values=(1.0, 0.0)
)

RELEASED_CONDITIONAL = Question(
    text=CONDITIONAL.text.replace("second image?", "second image."), options=("Good", "Poor"), values=(1.0, 0.0)
)
RELEASED_SAME_OBJECT = replace(SAME_OBJECT, text="Do these two images describe the same object? Yes or no")

CONDITIONAL_QUERY_FIRST = good_or_poor(
    "The visual quality of the second image is poor. How about the visual quality of the first image? Good or poor?"
)

PRISTINE = good_or_poor(
    "The visual quality of the first image is excellent. "
    "How about the visual quality of the second image? Good or poor?"
)
"""About a degraded copy, beside the query image; see docs/methods.md for which way its answer points."""

SEP_IQA = replace(
    Likeliest(top=100)(VANILLA),
    text="Taking into account the details and the rationality of the image, "
    "how would you rate the quality of this image?",
)
"""The question of SeP-IQA's script, which continues "The quality of the image is very"; reference words are ours."""

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

PAPER = QDebias(quality=CONDITIONAL, same=SAME_OBJECT)
UNASKED = replace(PAPER, same=None)  # without the same-object question, for weights that do not come from the model
RELEASED = QDebias(
    quality=RELEASED_CONDITIONAL,
    same=RELEASED_SAME_OBJECT,
    degradations=(*(imagenet_c(kind, 3) for kind in ("zoom-blur", "spatter", "saturate")), imagenet_c("fog", 4)),
)

_STARTS = {
    "paper": Recipe("paper", PAPER, "Q-Debias as the paper describes it, eq. (3)-(11)"),
    "qbench": Recipe("qbench", Vanilla(question=QBENCH), "the prompt of Q-Bench, T = 1; Table 1", Q_BENCH),
}


def _short(name: str, spelled: str, summary: str) -> Recipe:
    """Return a preset that is short for an expression."""
    start, *words = spelled.split("+")
    made = add_parts(_STARTS[start], words, {})
    return replace(made, name=name, summary=summary, source=_STARTS[start].source, spelled=spelled)


_RECIPES = (
    _STARTS["paper"],
    _short("paper-eq7", "paper+eq7", "Q-Debias with the fog of eq. (7) as printed, white nearly everywhere"),
    Recipe(
        "paper-literal",
        replace(PAPER, placement="after"),
        "Q-Debias with the images after the question, as the paper's listing prints it",
    ),
    Recipe("released", RELEASED, "Q-Debias as the authors' script computes it", cut="official"),
    Recipe(
        "released-as-written",
        replace(RELEASED, quality=replace(RELEASED_CONDITIONAL, answer_prefix=f"{PREFIX} ")),
        "Q-Debias as the authors' script is written, with the answer prefix that their processor drops",
    ),
    Recipe("vanilla", Vanilla(question=VANILLA), "one question about the image alone, eq. (1)"),
    _STARTS["qbench"],
    _short("qbench-t100", "qbench+t100", "the prompt of Q-Bench with the temperature of its script, T = 100"),
    Recipe("t1", replace(PAPER, quality=T1), "the whole prompt replaced; T1 of Table 4"),
    Recipe("t2", replace(PAPER, quality=T2), "without 'the first image is poor'; T2 of Table 4"),
    Recipe("t3", replace(PAPER, quality=T3), "without 'how about'; T3 of Table 4"),
    _short("average", "paper+average", "equal weights; Average of Table 5"),
    _short("lpips", "paper+lpips", "weights by pixel similarity, 1 - LPIPS; Quality Similarity of Table 5"),
    _short(
        "winner",
        "paper+winner",
        "only the condition with the highest P(same object); Winner-Takes-All of Table 5",
    ),
    _short("only-zoom-blur", "paper+only-zoom-blur", "zoom blur alone; experiment 2 of Table 3"),
    _short("only-spatter", "paper+only-spatter", "spatter alone; experiment 3 of Table 3"),
    _short("only-fog", "paper+only-fog", "fog alone; experiment 4 of Table 3"),
    _short("only-saturate", "paper+only-saturate", "saturation alone; experiment 5 of Table 3"),
    _short(
        "spatter-saturate",
        "paper+without-zoom-blur+without-fog",
        "the best pair in the paper; experiment 6 of Table 3",
    ),
    Recipe(
        "spatter-fog-saturate",
        replace(PAPER, degradations=(Spatter(), Fog(), Saturate())),
        "the best three in the paper; experiment 7 of Table 3",
        spelled="paper+without-zoom-blur",
    ),
    Recipe(
        "mismatched",
        replace(PAPER, mismatched=True),
        "degraded images of other content as conditions; experiment 8 of Table 3 (needs a pool of images)",
    ),
    Recipe(
        "pristine",
        replace(PAPER, quality=PRISTINE, query_first=True),
        "states that the image is excellent and asks about its degraded copy; the score is P(good) of the copy",
        OURS,
    ),
    Recipe(
        "sep-iqa",
        Vanilla(question=SEP_IQA),
        "the 100 most likely words, weighted by similarity to good or bad words; after SeP-IQA, with other reference "
        "words (SeP-IQA's readout loses to plain good and poor on 10 of 23 pairs of model and dataset)",
        SEP_IQA_SOURCE,
    ),
    *(
        Recipe(
            name,
            Vanilla(question=_q_align(noun), placement="after"),
            f"five levels of {noun}, with the prompt of Q-Align's scorer; for its model family",
            Q_ALIGN,
        )
        for name, noun in (("q-align", "quality"), ("q-align-aesthetics", "aesthetics"))
    ),
    Recipe(
        "sep-levels5",
        Vanilla(question=SEP_LEVELS5),
        "SeP-IQA's question with five levels: one forward",
        SEP_LEVELS,
    ),
    Recipe(
        "standard7", Vanilla(question=STANDARD7), "the mean digit on a described scale of 1 to 7: one forward", DOG_IQA
    ),
    Recipe(
        "qrealign",
        Vanilla(question=QREALIGN),
        "the trained scorer Q-ReAlign with the first question of its toolkit, also pyiqa's; reasoning off "
        "and no space before the answer prefix, as in training",
        Q_REALIGN,
    ),
    Recipe(
        "qrealign-readme",
        Vanilla(question=_q_align("quality")),
        "Q-ReAlign with the question of its README, the fifth of its training questions",
        Q_REALIGN,
    ),
    Recipe(
        "qrealign-aesthetics",
        Vanilla(question=QREALIGN_AESTHETICS),
        "Q-ReAlign on aesthetics, with the question of its toolkit",
        Q_REALIGN,
    ),
    Recipe(
        "qrealign-aesthetics-pyiqa",
        Vanilla(question=replace(QREALIGN_AESTHETICS, text="Can you rate the aesthetics of this picture?")),
        "Q-ReAlign on aesthetics, with pyiqa's question, which is not in the toolkit",
        Q_REALIGN,
    ),
    Recipe(
        "qrealign-video",
        Vanilla(question=_level_of("Can you rate the quality of this video?", "quality of the video")),
        "Q-ReAlign on the frames of a video in one prompt, for `Scorer.score_frames`; one image is a video of "
        "one frame",
        Q_REALIGN,
    ),
    Recipe(
        "contrast",
        QDebias(quality=VANILLA, weigh=equal_weight, contrast=1.0),
        "log-odds of good for the image minus their mean for its degraded copies, each in its own prompt: "
        "the paper's idea without a condition in the prompt",
        VCD,
    ),
    Recipe(
        "query-first",
        replace(PAPER, quality=CONDITIONAL_QUERY_FIRST, query_first=True),
        "the query image first, so that all conditions can share its part of the prompt",
        OURS,
    ),
)

RECIPES = {recipe.name: recipe for recipe in _RECIPES}


def get(method: str | Method | Recipe) -> Recipe:
    """Return the recipe of a method.

    Args:
        method: One of `RECIPES`; or an expression, such as "paper+levels5+logodds" or "paper@fog,package.module:rain",
            or a file that describes a method, "mine.toml", with or without parts behind it, see
            `qdebias.methods.expression`; or a fit, "mine.fit", see `qdebias.methods.fitted`. In the place of a preset,
            "package.module:name" is your own method, or a class or function that makes one. A recipe is returned
            as it is, and a method object gets the name of its class.

    Raises:
        SettingError: There is no such method; the message lists what there is.
    """
    if isinstance(method, Recipe):
        return method
    if not isinstance(method, str):
        if isinstance(method, type) or not hasattr(method, "plan"):
            raise SettingError(f"{method!r} is not a method; give its name, such as 'paper', or a method object")
        return Recipe(type(method).__name__, method, "a method of your own", source="")
    if method in RECIPES:
        return RECIPES[method]
    if method.endswith(FIT):
        fit = load_fit(method, get)
        return Recipe(method, fit, f"fitted to {fit.labels.summary}", source=OURS)
    path, suffix, parts = method.rpartition(SUFFIX)
    if not suffix or parts[:1] not in ("", "+"):
        return parse(method, RECIPES)
    return add_parts(read_file(Path(path + suffix), RECIPES), parts.split("+")[1:], RECIPES)
