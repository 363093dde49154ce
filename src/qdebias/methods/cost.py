"""What a method costs, counted from what it asks."""

from collections import Counter
from dataclasses import dataclass

from qdebias.errors import SettingError
from qdebias.image import RgbImage
from qdebias.methods.method import Method
from qdebias.methods.outline import outline
from qdebias.prompts import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one image costs under a method.

    Attributes:
        forwards: Questions that are answered. A backend that shares the beginnings of prompts computes less.
        encodings: Different images that the model sees, the query included.
    """

    forwards: int
    encodings: int

    def __str__(self) -> str:
        """Return it in words."""
        return f"{_many(self.forwards, 'forward')}, {_many(self.encodings, 'image encoding')}"


def cost_of(method: Method) -> Cost | None:
    """Return what one image costs, None for a method of a class that is not known here."""
    outlined = outline(method)
    if outlined is None:
        return None
    encodings = 1 + len(set(outlined.conditions)) + (outlined.method.prior is not None)
    return Cost(forwards=sum(map(len, outlined.questions)), encodings=encodings)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCost:
    """What one image costs a model under a method, in tokens; a backend that shares beginnings computes fewer.

    Attributes:
        forwards: Questions that are answered.
        images: Most images in one prompt.
        longest: Tokens of the longest prompt.
        tokens: Tokens of all prompts.
        of_images: Those of them that hold the place of image features.
    """

    forwards: int
    images: int
    longest: int
    tokens: int
    of_images: int


def token_cost(method: Method, model: str, image: RgbImage) -> TokenCost:
    """Return what an image of this size costs; conditional images have the size of the query.

    Raises:
        SettingError: The method's requests are not known here, or see `prompt_lengths`.
        BackendError: See `prompt_lengths`.
        ImageError: The processor refuses the image, or a prompt is longer than the model can read.
    """
    from qdebias.backends.hf.loading import prompt_lengths

    outlined = outline(method)
    if outlined is None:
        raise SettingError(f"the requests of a {type(method).__name__} are not known before they are made")
    shown = outlined.method.shown("", outlined.conditions, "")
    times = Counter((len(images), question) for images, questions in shown for question in questions)
    placement = outlined.method.placement
    requests = [
        Request(images=(image,) * several, questions=(question,), placement=placement) for several, question in times
    ]
    lengths = [length for (length,) in prompt_lengths(model, requests)]
    return TokenCost(
        forwards=times.total(),
        images=max(several for several, _ in times),
        longest=max(length.tokens for length in lengths),
        tokens=sum(count * length.tokens for count, length in zip(times.values(), lengths, strict=True)),
        of_images=sum(count * length.of_images for count, length in zip(times.values(), lengths, strict=True)),
    )


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
