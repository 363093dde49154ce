"""What a method asks, without any pixels: the keys of its answers, and what it costs."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from qdebias.degrade import Degradation
from qdebias.errors import SettingError
from qdebias.image import RgbImage
from qdebias.methods.describe import describe
from qdebias.methods.method import Method, QDebias
from qdebias.prompts import Placement, Question, Request, StateQuestion, TopQuestion


def identity_digest(identity: Mapping[str, str]) -> str:
    """Return 32 hex digits over the identity of a backend (`Fingerprint.identity`)."""
    return _digest(dict(sorted(identity.items())), 16)


@lru_cache(maxsize=256)
def question_id(placement: Placement, question: Question) -> str:
    """Return 16 hex digits over what is asked; the options' values are left out where they change no logit."""
    asked = [placement, question.text, question.answer_prefix, *question.options]
    if isinstance(question, TopQuestion):
        asked += ["likeliest", str(question.top), *map(str, question.values)]
    if isinstance(question, StateQuestion):
        asked.append("state")
    return _digest(asked, 8)


def answer_key(identity: str, images: Sequence[str], question: str) -> str:
    """Return 32 hex digits over model, images and question.

    Args:
        identity: From `identity_digest`.
        images: `qdebias.image.digest` of each image, in the order in which the model sees them.
        question: From `question_id`.
    """
    return hashlib.blake2b("\0".join((identity, question, *images)).encode(), digest_size=16).hexdigest()


def method_id(settings: object, seed: int, pool: str | None = None) -> str:
    """Return 16 hex digits over a method, as `describe` describes it, the seed of its degradations and its pool."""
    return _digest([settings, seed, pool], 8)


def pool_digest(description: object) -> str:
    """Return 32 hex digits over a pool of images, as `describe` describes it."""
    return _digest(description, 16)


def _digest(value: object, size: int) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=size).hexdigest()


@dataclass(frozen=True)
class Outline:
    """What a method asks about one image."""

    method: QDebias

    @property
    def shared(self) -> bool:
        """Whether image, seed and the names of the conditions decide the conditions and all else that `combine` needs.

        Then what other methods noted of the same conditions serves this method too.
        """
        return self.method.distance is None and self.method.suits is None and not self.method.mismatched

    @cached_property
    def conditions(self) -> tuple[str, ...]:
        """Names of the conditional images, in the order of the plan."""
        other = " of another image" if self.method.mismatched else ""
        return tuple(
            condition_name(draw.degradation) + (f" with seed + {draw.offset}" if draw.offset else "") + other
            for draw in self.method.draws
        )

    @property
    def questions(self) -> tuple[tuple[Question, ...], ...]:
        """The questions of each request, in the order of the plan."""
        return tuple(questions for _, questions in self.method.shown("", self.conditions, ""))

    def keys(self, identity: str, image: str, conditions: Mapping[str, str]) -> list[list[str]] | None:
        """Return the key of each answer, request by request; None where a conditional image was never made.

        Args:
            identity: From `identity_digest`.
            image: Digest of the query image.
            conditions: Digest of each conditional image by its name.
        """
        if not all(name in conditions for name in self.conditions):
            return None
        prior, placement = self.method.prior, self.method.placement
        shown = self.method.shown(
            image, [conditions[name] for name in self.conditions], None if prior is None else prior.digest
        )
        return [
            [answer_key(identity, images, question_id(placement, question)) for question in questions]
            for images, questions in shown
        ]


def outline(method: Method) -> Outline | None:
    """Return what a method asks, None where it is of a class whose plans are not known here."""
    return Outline(method) if type(method) is QDebias else None


def condition_name(degradation: Degradation) -> str:
    """Return the name of a conditional image: the degradation with its settings, as JSON."""
    return json.dumps(describe(degradation), sort_keys=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one image costs under a method."""

    forwards: int  # questions that are answered; a backend that shares the beginnings of prompts computes less
    encodings: int  # different images that the model sees, the query included

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
