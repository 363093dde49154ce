"""Questions about one or two images, in many wordings, with soft answers.

The wordings that the library's presets ask are not among them: `EVALUATION` lists those, and `draw` refuses them.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from qdebias import presets

Rng = np.random.Generator

EVALUATION = (
    "Taking into account the details and the rationality of the image, how would you rate the quality of this image?",
    "The visual quality of the first image is poor. How about the visual quality of the second image? Good or poor?",
    "The visual quality of the first image is poor. How about the visual quality of the second image. Good or poor?",
    "The visual quality of the first image is poor. Rate the visual quality of the second image. Good or poor?",
    "The visual quality of the second image is poor. How about the visual quality of the first image? Good or poor?",
    "The visual quality of the first image is excellent. "
    "How about the visual quality of the second image? Good or poor?",
    "Rate the quality of the image. Good or poor?",
    "Rate the quality of the image.",
    "Rate the quality of the second image. Good or poor?",
    "How about the visual quality of the second image? Good or poor?",
    "Do these two images describe the same object? Yes or no?",
    "Do these two images describe the same object? Yes or no",
    "How would you rate the quality of this image?",
    "Can you rate the quality of this picture?",
    "Can you rate the quality of this video?",
    "How would you rate the aesthetics of this image?",
    "How is the aesthetics of this image?",
    "Can you rate the aesthetics of this picture?",
    presets.get("standard7").method.quality.text,
)
LEVELS = ("excellent", "good", "fair", "poor", "bad")
PAIRS = (("good", "poor"),) * 6 + (("good", "bad"), ("high", "low"), ("great", "terrible"), ("excellent", "awful"))
NOUNS = ("image", "image", "picture", "photo", "photograph")
QUALITIES = ("quality", "visual quality", "image quality", "perceptual quality", "overall quality", "technical quality")


@dataclass(frozen=True)
class Wording:
    """One question, without its images.

    Attributes:
        question: Text of the user's turn.
        prefix: Beginning of the assistant's answer; "" for none.
        options: Words whose next-token probability is trained, exactly as they appear (" good", "Good").
        images: 1 or 2.
    """

    question: str
    prefix: str
    options: tuple[str, ...]
    images: int


def _plain(text: str) -> str:
    return re.sub(r"[^a-z ]", "", text.lower()).strip()


_FORBIDDEN = frozenset(map(_plain, EVALUATION))


def draw(make: Callable[..., Wording], rng: Rng, *settings: object) -> Wording:
    """Draw wordings until one is not an evaluation prompt."""
    while True:
        wording = make(rng, *settings)
        if _plain(wording.question) not in _FORBIDDEN:
            return wording


def _one(rng: Rng, *texts: str) -> str:
    return texts[int(rng.integers(len(texts)))]


def _answer(rng: Rng, words: tuple[str, ...], about: str) -> tuple[str, tuple[str, ...]]:
    """Return an answer prefix (often none) and the words in the form in which they would follow it."""
    if rng.random() < 0.45:
        lower = rng.random() < 0.2
        return "", tuple(word if lower else word.capitalize() for word in words)
    quality = _one(rng, *QUALITIES)
    prefix = _one(
        rng,
        f"The {quality} of {about} is",
        f"The {quality} of {about} is",
        f"{about.capitalize()} has a {quality} that is",
        f"I would say that the {quality} of {about} is",
        f"Its {quality} is",
        f"The {quality} is",
        "I think it is",
    )
    if _plain(prefix) == "the quality of the image is":
        prefix = "The quality of this image is"
    if rng.random() < 0.2:
        return prefix + " ", tuple(word.capitalize() if rng.random() < 0.7 else word for word in words)
    return prefix, tuple(" " + word for word in words)


def _offer(rng: Rng, words: tuple[str, ...]) -> str:
    """The options as a closing question, such as " Good or poor?"."""
    if len(words) > 2:
        listed = ", ".join(words[:-1]) + " or " + words[-1]
    else:
        listed = _one(rng, "{} or {}", "{} or {}", "{}, or {}", "either {} or {}").format(*words)
    mark = _one(rng, "?", "?", "?", ".", "")
    return _one(
        rng, " " + listed.capitalize() + mark, " " + listed.capitalize() + mark, f" Answer {listed}.", f" ({listed})"
    )


def _about(rng: Rng, which: str) -> str:
    noun = _one(rng, *NOUNS)
    if which == "only":
        return _one(rng, f"the {noun}", f"this {noun}", f"the {noun}")
    names = {"first": ("first", "first", "first", "one"), "second": ("second", "second", "second", "two")}[which]
    name = _one(rng, *names)
    return f"{noun} {name}" if name in ("one", "two") else f"the {name} {noun}"


def _ask(rng: Rng, about: str) -> str:
    quality = _one(rng, *QUALITIES)
    return _one(
        rng,
        f"Rate the {quality} of {about}.",
        f"Judge the {quality} of {about}.",
        f"Assess the {quality} of {about}.",
        f"Please evaluate the {quality} of {about}.",
        f"Describe the {quality} of {about}.",
        f"How is the {quality} of {about}?",
        f"How about the {quality} of {about}?",
        f"How would you rate the {quality} of {about}?",
        f"What is the {quality} of {about}?",
        f"What do you think of the {quality} of {about}?",
        f"Tell me about the {quality} of {about}.",
        f"Look at {about}. Rate its {quality}.",
        f"Consider {about}. How is its {quality}?",
    )


def rating(rng: Rng, which: str, words: tuple[str, ...] | None = None) -> Wording:
    """Ask for the quality of the only, the first or the second image; `words` None draws a pair of opposites."""
    words = words or PAIRS[int(rng.integers(len(PAIRS)))]
    about = _about(rng, which)
    offered = len(words) > 2 or words != PAIRS[0] or rng.random() < 0.75
    question = _ask(rng, about) + (_offer(rng, words) if offered else "")
    prefix, options = _answer(rng, words, about)
    if not offered and not prefix:
        question += _offer(rng, words)
    return Wording(question, prefix, options, 1 if which == "only" else 2)


def levels(rng: Rng, which: str) -> Wording:
    """Ask for one of five levels, excellent to bad."""
    return rating(rng, which, LEVELS)


def neutral(rng: Rng, which: str) -> Wording:
    """Ask for good, a neutral word, or poor."""
    return rating(rng, which, ("good", _one(rng, "average", "fair", "medium", "acceptable"), "poor"))


def agreement(rng: Rng, which: str) -> Wording:
    """Ask for yes or no: is the quality good?"""
    about, quality = _about(rng, which), _one(rng, *QUALITIES)
    question = _one(
        rng,
        f"Is the {quality} of {about} good?",
        f"Does {about} have a good {quality}?",
        f"Would you call the {quality} of {about} good?",
    )
    return Wording(
        question + _one(rng, "", " Yes or no?", " Answer yes or no."), "", ("Yes", "No"), 1 if which == "only" else 2
    )


def conditional(rng: Rng, word: str) -> Wording:
    """Say what the quality of the first image is, then ask for that of the second."""
    noun, quality = _one(rng, *NOUNS), _one(rng, *QUALITIES)
    told = _one(
        rng,
        f"The {quality} of the first {noun} is {word}.",
        f"The {quality} of the first {noun} is {word}.",
        f"The first {noun} has {word} {quality}.",
        f"The first {noun} is of {word} {quality}.",
        f"Image one is of {word} {quality}.",
        f"People call the {quality} of the first {noun} {word}.",
        f"The first one is {word}.",
        f"Given that the {quality} of the first {noun} is {word},",
    )
    words = PAIRS[0] if rng.random() < 0.8 else PAIRS[int(rng.integers(len(PAIRS)))]
    about = _about(rng, "second")
    asked = _one(
        rng, _ask(rng, about), _ask(rng, about), "How about the second one?", "What about the second?", f"And {about}?"
    )
    if told.endswith(","):
        asked = asked[0].lower() + asked[1:]
    question = f"{told} {asked}{_offer(rng, words)}"
    prefix, options = _answer(rng, words, _one(rng, about, "this image", "the picture"))
    return Wording(question, prefix, options, 2)


def comparison(rng: Rng) -> Wording:
    """Ask which of two images is better; the options are the first and the second."""
    noun, quality = _one(rng, *NOUNS), _one(rng, *QUALITIES)
    question = _one(
        rng,
        f"Which {noun} is better?",
        f"Which {noun} has the better {quality}?",
        f"Which of the two {noun}s has better {quality}?",
        f"Compare the {quality} of the two {noun}s. Which one is better?",
        f"Of these {noun}s, which looks better?",
        f"Choose the {noun} of higher {quality}.",
    ) + _one(rng, "", " The first or the second?", " First or second?", " First or second?", " Answer first or second.")
    form = rng.random()
    if form < 0.5:
        return Wording(question, "", ("First", "Second"), 2)
    prefix = _one(rng, "The better image is the", "The", "I prefer the", f"The {quality} is better in the")
    return Wording(question, prefix, (" first", " second"), 2)


def same(rng: Rng) -> Wording:
    """Ask whether two images show the same thing."""
    noun = _one(rng, "images", "images", "pictures", "photos", "photographs")
    verb = _one(rng, "show", "describe", "depict", "contain", "present")
    thing = _one(rng, "object", "object", "scene", "content", "subject", "thing")
    question = _one(
        rng,
        f"Do the two {noun} {verb} the same {thing}?",
        f"Do these {noun} {verb} the same {thing}?",
        f"Do these two {noun} {verb} the same {thing}?",
        f"Do both {noun} {verb} the same {thing}?",
        f"Is the same {thing} seen in both {noun}?",
        f"Is the {thing} of these two {noun} the same?",
    ) + _one(rng, "", " Yes or no?", " Yes or no?", " Yes or no", " Answer yes or no.")
    if rng.random() < 0.8:
        return Wording(question, "", ("Yes", "No"), 2)
    return Wording(question, "The answer is", (" yes", " no"), 2)
