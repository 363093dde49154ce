"""What a model is asked about two images."""

from collections.abc import Mapping

from qdebias.prompts import Question


def _first_or_second(text: str, answer_prefix: str) -> Question:
    return Question(text=text, answer_prefix=answer_prefix, options=(" first", " second"), values=(1.0, 0.0))


QUESTIONS: Mapping[str, Question] = {
    "quality": _first_or_second(
        "Which image has better visual quality, the first or the second?",
        "The image with better visual quality is the",
    ),
    "sharpness": _first_or_second("Which image is sharper, the first or the second?", "The sharper image is the"),
    "noise": _first_or_second(
        "Which image has less noise, the first or the second?", "The image with less noise is the"
    ),
    "exposure": _first_or_second(
        "Which image is better exposed, the first or the second?", "The better exposed image is the"
    ),
    "aesthetics": _first_or_second(
        "Which image is more aesthetically pleasing, the first or the second?",
        "The more aesthetically pleasing image is the",
    ),
}
"""Each question by what it is about; the value of an option is 1 where the first image is the better one.

Two-alternative forced choice, as in 2AFC prompting of LMMs and Compare2Score (Zhu et al., 2024); the words are ours.
"""
