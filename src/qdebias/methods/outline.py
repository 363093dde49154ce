"""The questions of a method before there are pixels: the keys of their answers, and their cost."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from qdebias.degrade import Degradation
from qdebias.errors import SettingError
from qdebias.image import RgbImage
from qdebias.methods.describe import describe
from qdebias.prompts import Placement, Question, Request, StateQuestion, TopQuestion


def identity_digest(identity: Mapping[str, str]) -> str:
    """Return 32 hex digits over the identity of a backend (`Fingerprint.identity`)."""
    return _digest(dict(identity), 16)


@lru_cache(maxsize=256)
def question_id(placement: Placement, question: Question) -> str:
    """Return 16 hex digits over a question and its placement, without the values if they change no logit."""
    asked = [placement, question.text, question.answer_prefix, *question.options]
    if isinstance(question, TopQuestion):
        asked += ["likeliest", str(question.top), *map(str, question.values)]
    if isinstance(question, StateQuestion):
        asked.append("state")
    return _digest(asked, 8)


def answer_key(identity: str, images: Sequence[str], question: str) -> str:
    """Return 32 hex digits over an `identity_digest`, the images' digests in the order shown, and a `question_id`."""
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


QUERY = ""  # what stands in an outline for the query image


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request before there are pixels."""

    images: tuple[str, ...]  # each `QUERY`, one of `Outline.conditions`, or the digest of one that is always the same
    questions: tuple[Question, ...]
    placement: Placement = "before"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """What a method asks about an image, known before there is one: the property `outline` of a method.

    A method that has one keeps `qdebias export`, `report` and `compare` without the images: its `combine` is then given
    the stored answers, and a plan that holds nothing but `similarity`.

    Attributes:
        requests: In the order of the plan.
        conditions: Names of the conditional images, in the order of the plan; a name and the seed decide what is done
            to the query image.
        kinds: Kind of each, see `Condition.kind`.
        shared: Whether image, seed and the names of the conditions decide the conditions and all else that `combine`
            needs: then what other methods noted of the same conditions serves this method too.
        needs_pool: Whether it needs other images, `Context.pool`.
    """

    requests: tuple[Asked, ...]
    conditions: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    shared: bool = True
    needs_pool: bool = False

    @property
    def questions(self) -> tuple[Question, ...]:
        """Every question, each once."""
        return tuple(dict.fromkeys(question for asked in self.requests for question in asked.questions))

    def keys(self, identity: str, image: str, conditions: Mapping[str, str]) -> list[list[str]] | None:
        """Return the key of each answer, request by request; None where a conditional image was never made.

        `image` is the digest of the query image, and `conditions` has that of each conditional image by its name.
        """
        if not all(name in conditions for name in self.conditions):
            return None
        known = {QUERY: image, **conditions}
        keys = []
        for asked in self.requests:
            images = [known.get(name, name) for name in asked.images]
            keys.append([answer_key(identity, images, question_id(asked.placement, one)) for one in asked.questions])
        return keys


def outline_of(method: object) -> Outline | None:
    """Return the outline of a method, None if it has none."""
    return getattr(method, "outline", None)


def condition_name(degradation: Degradation) -> str:
    """Return the name of a conditional image: the degradation with its settings, as JSON."""
    return json.dumps(describe(degradation), sort_keys=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one image costs under a method."""

    forwards: int  # questions that are answered; a backend that shares the beginnings of prompts computes less
    encodings: int  # different images that the model sees, the query included

    def __str__(self) -> str:
        counts = {"forward": self.forwards, "image encoding": self.encodings}
        return ", ".join(f"{count} {noun}{'' if count == 1 else 's'}" for noun, count in counts.items())


def cost_of(method: object) -> Cost | None:
    """Return what one image costs, None for a method that does not tell what it asks."""
    outline = outline_of(method)
    if outline is None:
        return None
    encodings = len({image for asked in outline.requests for image in asked.images})
    return Cost(forwards=sum(len(asked.questions) for asked in outline.requests), encodings=encodings)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCost:
    """What one image costs a model under a method, in tokens; a backend that shares beginnings computes fewer."""

    forwards: int  # questions that are answered
    images: int  # most images in one prompt
    longest: int  # tokens of the longest prompt
    tokens: int  # of all prompts
    of_images: int  # those of them that hold the place of image features


def token_cost(method: object, model: str, image: RgbImage) -> TokenCost:
    """Return what an image of this size costs by `prompt_lengths`; conditional images have the size of the query."""
    from qdebias.backends.hf.loading import prompt_lengths

    outline = outline_of(method)
    if outline is None:
        raise SettingError(f"the requests of a {type(method).__name__} are not known before they are made")
    requests = [
        Request(images=(image,) * len(asked.images), questions=asked.questions, placement=asked.placement)
        for asked in outline.requests
    ]
    lengths = [length for row in prompt_lengths(model, requests) for length in row]
    return TokenCost(
        forwards=len(lengths),
        images=max(len(asked.images) for asked in outline.requests),
        longest=max(length.tokens for length in lengths),
        tokens=sum(length.tokens for length in lengths),
        of_images=sum(length.of_images for length in lengths),
    )
