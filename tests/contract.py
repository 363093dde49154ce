"""What every backend must do, as one battery of tests: derive from `BackendContract` and provide a `backend`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import pytest
from scipy.special import expit

from qdebias.backends.base import Backend, OpenVocabulary, OptionLogits
from qdebias.equations import FloatArray
from qdebias.errors import OptionError, PromptError
from qdebias.image import RgbImage
from qdebias.prompts import Placement, Question, Request


@runtime_checkable
class Inspectable(Protocol):
    """The optional doors of a backend, for checks against other implementations."""

    def prepare(self, request: Request) -> list[Any]:
        """Return the questions of a request, ready to be run: each with its `ids`, and the model's `inputs`."""

    def last_logits(self, requests: Sequence[Request]) -> OptionLogits:
        """Return the (vocabulary,) logits from which the options of each question are read."""


@dataclass(frozen=True, eq=False)
class Encoding:
    """The model's inputs for one question."""

    ids: npt.NDArray[np.int64]  # (L,) tokens, image placeholders expanded
    inputs: Mapping[str, Any]  # the others by the model's own argument names, such as pixel values


def encode(backend: Inspectable, requests: Sequence[Request]) -> list[list[Encoding]]:
    """Return what the model is run on for every question of every request."""
    found = []
    for request in requests:
        found.append(list[Encoding]())
        for prepared in backend.prepare(request):
            arrays = {
                name: value.numpy() if hasattr(value, "numpy") else value
                for name, value in prepared.inputs.items()
                if name not in ("input_ids", "attention_mask")
            }
            found[-1].append(Encoding(np.asarray(prepared.ids, dtype=np.int64), arrays))
    return found


TOLERANCE = 1e-5

QUALITY = Question(
    text="The visual quality of the first image is poor. How about the visual quality of the second image?",
    answer_prefix="The quality of the image is",
    options=(" good", " poor"),
    values=(1.0, 0.0),
)
SAME = Question(text="Do these two images describe the same object?", options=("Yes", "No"), values=(1.0, 0.0))


def picture(seed: int, height: int, width: int) -> RgbImage:
    """A smooth coloured pattern with some noise: two seeds differ clearly in every part."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    colours = rng.uniform(40, 200, 3) + 55 * np.sin((rows + seed * columns)[..., None] / rng.uniform(4, 9, 3))
    return np.clip(colours + rng.normal(0, 8, colours.shape), 0, 255).astype(np.uint8)


def pair(first: int, second: int, placement: Placement = "before") -> Request:
    images = (picture(first, 72, 96), picture(second, 64, 80))
    return Request(images=images, questions=(QUALITY, SAME), placement=placement)


def assert_same(left: OptionLogits, right: OptionLogits) -> None:
    assert [len(request) for request in left] == [len(request) for request in right]
    for one, other in zip(chain(*left), chain(*right), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=TOLERANCE)


def assert_same_choices(got: FloatArray, want: FloatArray) -> None:
    """Compare P of each word against the next one in the vocabulary: what P(good) is, whichever words are requested."""
    np.testing.assert_allclose(expit(np.diff(got)), expit(np.diff(want)), rtol=0, atol=TOLERANCE)


def differ(left: OptionLogits, right: OptionLogits) -> bool:
    return bool(np.abs(left[0][0] - right[0][0]).max() > 100 * TOLERANCE)


class BackendContract:
    """The battery. A subclass provides the fixture `backend`.

    Attributes:
        reads_tokens: Whether an option has to be one token.
        doors: Which optional protocols the backend has; the others it must not have.
    """

    reads_tokens = True
    doors: tuple[type, ...] = ()

    @pytest.fixture
    def placements(self) -> tuple[Placement, ...]:
        """Those that the backend supports, "before" among them; the other one is refused."""
        return ("before", "after")

    def test_gives_one_finite_array_a_question(self, backend: Backend, placements: tuple[Placement, ...]) -> None:
        five = replace(QUALITY, options=(" good", " poor", " fair"), values=(1.0, 0.0, 0.5))
        for placement in placements:
            request = replace(pair(1, 2, placement), questions=(QUALITY, SAME, five))
            answers = backend.option_logits([request, pair(3, 4, placement)])
            assert [[logits.shape for logits in answer] for answer in answers] == [[(2,), (2,), (3,)], [(2,), (2,)]]
            assert all(logits.dtype == np.float64 and np.isfinite(logits).all() for logits in chain(*answers))

    def test_asked_nothing_answers_nothing(self, backend: Backend) -> None:
        assert backend.option_logits([]) == []

    def test_batch_size_and_order_change_nothing(self, backend: Backend, placements: tuple[Placement, ...]) -> None:
        for placement in placements:
            requests = [pair(1, 2, placement), pair(3, 2, placement), pair(2, 1, placement)]
            together = backend.option_logits(requests)
            assert_same(together, [backend.option_logits([request])[0] for request in requests])
            assert_same(together, backend.option_logits(requests[::-1])[::-1])
            assert_same(together, backend.option_logits(requests[:1]) + backend.option_logits(requests[1:]))

    def test_grouping_changes_nothing(self, backend: Backend, placements: tuple[Placement, ...]) -> None:
        for placement in placements:
            request = pair(1, 2, placement)
            apart = [replace(request, questions=(question,)) for question in request.questions]
            (first,), (second,) = backend.option_logits(apart)
            assert_same(backend.option_logits([request]), [[first, second]])

    def test_different_sizes_in_one_call_change_nothing(self, backend: Backend) -> None:
        small = Request(images=(picture(5, 32, 32), picture(6, 33, 97)), questions=(QUALITY,))
        single = Request(images=(picture(7, 100, 41),), questions=(QUALITY,))
        together = backend.option_logits([small, pair(1, 2), single])
        assert_same(together, [backend.option_logits([request])[0] for request in (small, pair(1, 2), single)])

    def test_every_part_of_a_request_matters(self, backend: Backend) -> None:
        request = pair(1, 2)
        answer = backend.option_logits([request])
        first, second = request.images
        changed = [
            replace(request, images=(second, first)),
            replace(request, images=(second, second)),
            replace(request, images=(first, first)),
            replace(request, images=(second,)),
            replace(request, questions=(replace(QUALITY, text="Rate the quality of the second image."),)),
            replace(request, questions=(replace(QUALITY, answer_prefix="The image is"),)),
        ]
        for other in changed:
            assert differ(answer, backend.option_logits([other])), other.questions

    def test_placement_matters(self, backend: Backend, placements: tuple[Placement, ...]) -> None:
        after = pair(1, 2, "after")
        if "after" in placements:
            assert differ(backend.option_logits([pair(1, 2)]), backend.option_logits([after]))
        else:
            with pytest.raises(PromptError):
                backend.option_logits([after])

    def test_options_are_read_independently(self, backend: Backend) -> None:
        request = pair(1, 2)
        ((forward,),) = backend.option_logits([replace(request, questions=(QUALITY,))])
        turned = replace(QUALITY, options=QUALITY.options[::-1])
        ((backward,),) = backend.option_logits([replace(request, questions=(turned,))])
        np.testing.assert_allclose(forward, backward[::-1], rtol=0, atol=TOLERANCE)

    def test_pixels_are_read_whatever_their_memory(self, backend: Backend) -> None:
        request = pair(1, 2)
        kept = [image.copy() for image in request.images]
        turned = tuple(np.asfortranarray(image[::-1])[::-1] for image in request.images)
        for image in turned:
            image.flags.writeable = False
        assert_same(backend.option_logits([request]), backend.option_logits([replace(request, images=turned)]))
        for image, copy in zip(request.images, kept, strict=True):
            np.testing.assert_array_equal(image, copy)

    def test_option_of_several_tokens_is_refused(self, backend: Backend) -> None:
        """It is no trouble where there are no tokens."""
        long = replace(QUALITY, options=(" good", " unmistakably poor"))
        request = replace(pair(1, 2), questions=(long,))
        if self.reads_tokens:
            with pytest.raises(OptionError, match=r"' unmistakably poor' .* tokens .* choose a word"):
                backend.option_logits([request])
        else:
            ((logits,),) = backend.option_logits([request])
            assert logits.shape == (2,)

    def test_fingerprint_is_text_and_stays(self, backend: Backend) -> None:
        before = backend.fingerprint
        backend.option_logits([pair(1, 2)])
        assert backend.fingerprint == before
        assert before.identity
        for name, value in (before.identity | before.environment).items():
            assert isinstance(name, str)
            assert isinstance(value, str)
            assert not value.startswith("/"), "a path of this machine says nothing about the model"

    def test_has_the_doors_that_it_promises(self, backend: Backend) -> None:
        assert [door for door in (Inspectable, OpenVocabulary) if isinstance(backend, door)] == [*self.doors]


class VocabularyContract(BackendContract):
    """And what a backend must do whose words can be looked into."""

    doors = (OpenVocabulary,)

    def test_the_likeliest_words_come_first(self, backend: Backend) -> None:
        assert isinstance(backend, OpenVocabulary)
        ((top, _),) = backend.top_logits([pair(1, 2)], 5)
        assert len(top.ids) == len(top.words) == len(top.logits) == 5
        assert (np.diff(top.logits) <= 0).all()

    def test_words_and_tokens_have_vectors(self, backend: Backend) -> None:
        assert isinstance(backend, OpenVocabulary)
        vectors = backend.word_vectors([" good", " poor", " good"])
        assert vectors.shape[0] == 3
        np.testing.assert_array_equal(vectors[0], vectors[2])
        assert not np.array_equal(vectors[0], vectors[1])
        np.testing.assert_array_equal(backend.word_vectors([7, " poor", 9])[1], vectors[1])


class LocalContract(VocabularyContract):
    """And what a model in this process must do, which shows its ids and all its logits."""

    doors = (Inspectable, OpenVocabulary)

    def words(self) -> int | None:
        """How many rows of the vocabulary are words, where rows that are none pad it."""
        return None

    def test_last_logits_continue_what_encode_shows(self, backend: Backend, placements: tuple[Placement, ...]) -> None:
        assert isinstance(backend, Inspectable)
        for placement in placements:
            ((encoded, _),) = encode(backend, [pair(1, 2, placement)])
            assert encoded.ids.dtype == np.int64
            assert encoded.ids.ndim == 1
            assert encoded.inputs, "the pixel values are missing"
            ((whole, _),) = backend.last_logits([pair(1, 2, placement)])
            ((options, _),) = backend.option_logits([pair(1, 2, placement)])
            assert whole.ndim == 1
            assert np.abs(whole[:, None] - options).min(axis=0).max() < TOLERANCE

    def test_the_likeliest_words_are_the_largest_of_the_last_logits(self, backend: Backend) -> None:
        assert isinstance(backend, OpenVocabulary)
        assert isinstance(backend, Inspectable)
        ((whole, _),) = backend.last_logits([pair(1, 2)])
        ((top, _),) = backend.top_logits([pair(1, 2)], 5)
        np.testing.assert_allclose(top.logits, whole[top.ids], rtol=0, atol=TOLERANCE)
        larger = np.flatnonzero(whole[: self.words()] > top.logits[-1] + TOLERANCE)
        assert set(larger.tolist()) <= set(top.ids.tolist())
