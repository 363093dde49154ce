"""What an answer is stored under: a hash of everything that decides it, and of nothing else."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache

from qdebias.prompts import Placement, Question, StateQuestion, TopQuestion


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
