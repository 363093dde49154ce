"""The interface of a model: it returns the logits of answer options.

A backend is any object that fits `Backend`; there is nothing to inherit or register.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from qdebias.equations import FloatArray
from qdebias.prompts import Request

OptionLogits: TypeAlias = list[list[FloatArray]]
"""For each request, for each of its questions: the (K,) logits of the question's options."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """Identity and environment of a model.

    Attributes:
        identity: Everything that decides the logits: the weights, the numeric type, how images are resized, the chat
            template. Answers of different identities are never mixed.
        environment: Versions and device: recorded, warned about, not refused.
    """

    identity: Mapping[str, str]
    environment: Mapping[str, str] = field(default_factory=dict)


class Backend(Protocol):
    """A large multimodal model."""

    @property
    def fingerprint(self) -> Fingerprint:
        """Identity and environment of this backend."""

    def option_logits(self, requests: Sequence[Request]) -> OptionLogits:
        """Return the logits of every option of every question of every request.

        Batch size, order and grouping of the requests change no logit beyond rounding. Log-probabilities may stand
        for logits: the softmax over the options cancels the constant.

        Returns:
            One list a request, in order; in it one float64 array (K,) a question, in the order of its options.

        Raises:
            OptionError: An option is not one token, or is missing from what a server returns. Never a zero.
            PromptError: The images or the answer prefix would not reach the model as the request places them.
            ImageError: One of the images cannot be shown to this model.
        """


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TopLogits:
    """The k likeliest words after a prompt, in falling order of the logits."""

    ids: npt.NDArray[np.int64]  # (k,) their tokens
    words: tuple[str, ...]  # the text of each token
    logits: FloatArray  # (k,) logits, not log-probabilities


@runtime_checkable
class OpenVocabulary(Protocol):
    """Optional methods of a backend that gives access to its vocabulary: see `qdebias.backends.top`."""

    def top_logits(self, requests: Sequence[Request], k: int) -> list[list[TopLogits]]:
        """Return for every question of every request the k tokens with the largest logits."""

    def word_vectors(self, words: Sequence[str | int]) -> FloatArray:
        """Return (n, d) input embeddings of words, each the mean over its tokens, or of tokens by their ids."""


@runtime_checkable
class TellsStates(Protocol):
    """Optional attribute of a backend whose `option_logits` answers a `StateQuestion` with the (d,) hidden state."""

    @property
    def state_size(self) -> int:
        """d, the same for every question about one image."""


@runtime_checkable
class Cutting(Protocol):
    """Optional method of a backend that cuts large images into crops: mPLUG-Owl3."""

    def with_cut(self, cut: str) -> Backend:
        """Return the same model, not loaded again, with another cut mode in its identity."""


def identity_difference(stored: Mapping[str, str], present: Mapping[str, str], *, where: str = "the run") -> list[str]:
    """Return one phrase for each field in which a stored and a present identity differ."""
    names = sorted(name for name in {*stored, *present} if stored.get(name) != present.get(name))
    return [f"{name}: {stored.get(name, 'absent')} in {where}, {present.get(name, 'absent')} now" for name in names]
