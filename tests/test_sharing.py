"""Shared work gives the logits of the plain way, for every family, and is really shared."""

import inspect
import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch

from contract import QUALITY, SAME, assert_same_choices, encode, pair, picture
from qdebias.backends.base import OptionLogits
from qdebias.backends.hf.backend import HfBackend
from qdebias.backends.hf.devices import AtOnce, OutOfMemoryError, memory_of
from qdebias.backends.hf.families import FAMILIES, Family, family_of
from qdebias.backends.hf.images import SharedImages, joined
from qdebias.backends.hf.loading import load_hf
from qdebias.backends.nano import CHECKPOINT
from qdebias.equations import log_softmax
from qdebias.errors import SettingError
from qdebias.prompts import Placement, Question, Request
from tiny_families import FAMILIES as TINY
from tiny_models import checkpoint, load

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't:DeprecationWarning")  # transformers'

SINGLE = Request(images=(picture(7, 100, 41),), questions=(QUALITY, SAME))
ROUNDING = 1e-5


@cache
def plain(name: str) -> HfBackend:
    return load_hf(CHECKPOINT, device="cpu", sharing="off") if name == "nano" else load(name, sharing="off")


def sharing(name: str, *, tokens: int = 4096, images: int = 1, **changes: Any) -> HfBackend:
    """A backend on the same model as `plain`, with what the family allows."""
    alone = plain(name)
    family = family_of(alone.model)
    assert family is not None
    return HfBackend(
        model=alone.model,
        processor=alone._processor,
        fingerprint=alone.fingerprint,
        family=replace(family, **changes),
        tokens_at_once=tokens,
        images_at_once=images,
    )


def assert_equal(ours: OptionLogits, theirs: OptionLogits) -> None:
    """Over the whole vocabulary: logits relative to the largest where that is above 1, and probabilities."""
    for one, other in zip(chain(*ours), chain(*theirs), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=ROUNDING * max(1.0, np.abs(other).max()))
        np.testing.assert_allclose(np.exp(log_softmax(one)), np.exp(log_softmax(other)), rtol=0, atol=ROUNDING)
        assert_same_choices(one, other)


def placements(name: str) -> tuple[Placement, ...]:
    return ("before", "after") if name == "nano" or TINY[name].after else ("before",)


@pytest.mark.parametrize("name", [*sorted(TINY), "nano"])
def test_sharing_changes_no_logit(name: str) -> None:
    """Images alone, images and beginnings, one row or image at a time, everything at once."""
    ways = [
        sharing(name, prefix=False),
        sharing(name),
        sharing(name, tokens=1),
        sharing(name, images=8),
    ]
    for placement in placements(name):
        requests = [pair(1, 2, placement), pair(3, 2, placement), replace(SINGLE, placement=placement)]
        want = plain(name).last_logits(requests)
        for way in ways:
            assert_equal(way.last_logits(requests), want)


def query_first(placement: Placement = "before") -> list[Request]:
    """What `query-first` asks: an image before each of its degraded copies, one of another size."""
    image = picture(0, 64, 80)
    copies = [picture(1, 64, 80), picture(2, 64, 80), picture(3, 72, 96)]
    return [Request(images=(image.copy(), copy), questions=(QUALITY, SAME), placement=placement) for copy in copies]


def joining(name: str) -> HfBackend:
    """A backend that joins rows even where that is more work, as it is in models as small as these."""
    backend = sharing(name)
    backend._pairs = math.inf
    return backend


@pytest.mark.parametrize("name", [*sorted(TINY), "nano"])
def test_requests_that_begin_with_one_image_answer_as_if_alone(name: str) -> None:
    """However they are mixed with others, among them the image alone, and beside itself."""
    for placement in placements(name):
        first, second, third = query_first(placement)
        only = Request(images=first.images[:1], questions=(SAME,), placement=placement)
        twice = replace(first, images=(first.images[0], first.images[0]), questions=(QUALITY,))
        requests = [first, pair(4, 5, placement), second, only, third, twice]
        assert_equal(joining(name).last_logits(requests), plain(name).last_logits(requests))


APART = {"mllama": 3, "qwen3_5": 6}
"""Passes for three requests where images do not stand among the tokens, and where a layer keeps a running state."""


def watch(backend: HfBackend) -> list[tuple[int, ...]]:
    """Return a list that is told the rows and tokens of every pass of the backend."""
    forward, passes = backend._forward, list[tuple[int, ...]]()

    def run(inputs: Any, reads: Any) -> Any:
        passes.append(tuple(inputs["input_ids"].shape))
        return forward(inputs, reads)

    backend._forward = run  # type: ignore[method-assign]
    return passes


APART = {"mllama": 3, "qwen3_5": 6, "paligemma": 6, "paligemma2": 6}
"""Rows for three requests where images do not stand among the tokens, where a layer keeps a running state, and where
images see the question."""


@pytest.mark.parametrize("name", [*sorted(TINY), "nano"])
def test_requests_that_begin_with_one_image_are_one_row(name: str) -> None:
    backend = joining(name)
    passes = watch(backend)
    backend.option_logits(query_first())
    assert sum(rows for rows, _ in passes) == APART.get(name, 1)


def test_joined_row_holds_its_beginning_once() -> None:
    requests = query_first()
    apart, joined = sharing("llava", tokens=1), joining("llava")
    lengths, whole = watch(apart), watch(joined)
    apart._pairs = 0.0
    for backend in (apart, joined):
        backend.option_logits(requests)
    ids = encode(plain("llava"), requests)[0][0].ids
    places = np.flatnonzero(ids == apart.image_token)
    beginning = places[len(places) // 2]  # up to the second image
    assert whole == [(1, sum(length for _, length in lengths) - 2 * beginning)]


def test_rows_whose_attention_would_cost_more_than_it_saves_stay_apart() -> None:
    backend = sharing("llava")
    passes = watch(backend)
    for pairs, rows in [(0.0, 3), (math.inf, 1)]:
        backend._pairs = pairs
        passes.clear()
        backend.option_logits(query_first())
        assert sum(count for count, _ in passes) == rows


def test_row_that_does_not_fit_when_joined_is_run_apart(caplog: pytest.LogCaptureFixture) -> None:
    backend = joining("llava")
    forward, longest = backend._forward, max(len(one.ids) for one in chain(*encode(plain("llava"), query_first())))

    def run(inputs: Any, reads: Any) -> Any:
        if inputs["input_ids"].shape[1] > 2 * longest:
            raise OutOfMemoryError("full")
        return forward(inputs, reads)

    backend._forward = run  # type: ignore[method-assign]
    for _ in range(2):
        assert_equal(backend.last_logits(query_first()), plain("llava").last_logits(query_first()))
    assert caplog.messages == ["not enough memory: from now on requests about the same image are run apart"]


@pytest.mark.parametrize("name", ["qwen2_vl", "gemma3", "smolvlm"])
def test_three_questions_share_a_row_however_alike_they_are(name: str) -> None:
    longer = replace(QUALITY, answer_prefix=QUALITY.answer_prefix + " is")
    request = replace(pair(1, 2), questions=(QUALITY, longer, SAME))
    assert_equal(sharing(name).last_logits([request]), plain(name).last_logits([request]))


def test_black_and_equal_images() -> None:
    black = np.zeros((60, 80, 3), np.uint8)
    request = Request(images=(black, black), questions=(QUALITY, SAME))
    for name in ("llava", "smolvlm", "qwen2_vl", "internvl"):
        assert_equal(sharing(name).last_logits([request]), plain(name).last_logits([request]))


class Counter:
    """Counts the images that are encoded and the rows and tokens that are run."""

    def __init__(self, name: str, **changes: Any) -> None:
        family = FAMILIES[name]
        self.encoded = 0
        self.backend = sharing(name, encode=self._counting(family), **changes)
        self.rows = watch(self.backend)

    def _counting(self, family: Family) -> Any:
        def encode(model: Any, part: Any) -> Any:
            self.encoded += len(part["pixel_values"])
            return family.encode(model, part)

        return encode


def query(count: int = 4) -> list[Request]:
    """What the paper asks: four degraded copies, each before the same image, two questions."""
    image = picture(0, 64, 80)
    return [
        Request(images=(picture(seed, 64, 80), image.copy()), questions=(QUALITY, SAME)) for seed in range(1, count + 1)
    ]


def test_five_images_are_encoded_instead_of_sixteen_and_four_rows_run_instead_of_eight() -> None:
    counter = Counter("llava", tokens=1)
    counter.backend.option_logits(query())
    assert counter.encoded == 5
    assert [rows for rows, _ in counter.rows] == [1] * 4
    first, second = (one.ids for one in encode(plain("llava"), query()[:1])[0])
    common = int(np.argmin(first[: len(second)] == second[: len(first)]))
    assert counter.rows[0][1] == len(first) + len(second) - common


def test_rows_of_equal_shape_run_together() -> None:
    counter = Counter("llava", images=16)
    counter.backend.option_logits(query())
    assert [rows for rows, _ in counter.rows] == [4]
    counter.backend.option_logits([*query(2), SINGLE])
    assert sorted(rows for rows, _ in counter.rows[1:]) == [1, 2]


def test_question_first_shares_images_only() -> None:
    counter = Counter("qwen2_vl", tokens=1)
    requests = [replace(request, placement="after") for request in query()]
    counter.backend.option_logits(requests)
    assert len(counter.rows) == 8


def test_nothing_of_a_call_is_kept() -> None:
    counter = Counter("llava")
    processor = counter.backend._processor.image_processor
    for _ in range(2):
        counter.backend.option_logits(query(1))
    assert counter.encoded == 4
    assert counter.backend._processor.image_processor is processor


def test_question_between_others_keeps_its_answer() -> None:
    """Position state that a model keeps between calls must not reach the next one."""
    backend = sharing("qwen2_vl")
    fresh = backend.last_logits([pair(1, 2)])
    backend.last_logits([Request(images=(picture(9, 200, 60),), questions=(SAME,))])
    plain("qwen2_vl").last_logits([SINGLE])
    np.testing.assert_array_equal(np.array(fresh), np.array(backend.last_logits([pair(1, 2)])))


def test_unknown_family_and_old_forward_take_the_plain_way(monkeypatch: pytest.MonkeyPatch) -> None:
    model = plain("llava").model
    assert family_of(model) is FAMILIES["llava"]
    monkeypatch.setattr(type(model), "forward", lambda **_: None)
    assert family_of(model) is None, "the features would be swallowed by **kwargs"
    monkeypatch.undo()
    monkeypatch.delitem(FAMILIES, "llava")  # type: ignore[arg-type]
    assert family_of(model) is None


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"sharing": "much"}, "sharing 'much' is unknown; use one of all, images, off"),
        ({"tokens_at_once": -1}, "must be 1 or more, got -1 and None"),
    ],
)
def test_impossible_settings(options: dict[str, Any], match: str) -> None:
    with pytest.raises(SettingError, match=match):
        load_hf(checkpoint("llava"), device="cpu", **options)


def test_sharing_is_no_part_of_the_identity() -> None:
    assert load_hf(checkpoint("llava"), device="cpu").fingerprint == plain("llava").fingerprint


class TestAtOnce:
    def test_halves_says_so_once_and_remembers(self, caplog: pytest.LogCaptureFixture) -> None:
        sizes = []

        def run(items: Sequence[int]) -> list[int]:
            sizes.append(len(items))
            if len(items) > 2:
                raise OutOfMemoryError("full")
            return [item * 10 for item in items]

        at_once = AtOnce(8, "images")
        with caplog.at_level(logging.WARNING):
            assert at_once.run(range(7), run) == [0, 10, 20, 30, 40, 50, 60]
            assert at_once.run(range(3), run) == [0, 10, 20]
        assert sizes == [7, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]
        assert caplog.messages == ["not enough memory: from now on at most 3 images are run together"]

    def test_one_that_does_not_fit_is_refused(self) -> None:
        def run(_: Sequence[int]) -> list[int]:
            raise OutOfMemoryError("full")

        with pytest.raises(OutOfMemoryError, match="full"):
            AtOnce(8, "tokens").run([1, 2], run, sizes=[4, 4])

    @pytest.mark.parametrize(
        "error",
        [
            torch.OutOfMemoryError("CUDA out of memory"),
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't"),
            MemoryError(),
        ],
    )
    def test_what_torch_says_is_translated(self, error: Exception) -> None:
        with (
            pytest.raises(OutOfMemoryError, match="does not fit into the memory of cpu"),
            memory_of(torch.device("cpu")),
        ):
            raise error
        with pytest.raises(RuntimeError, match="something else"), memory_of(torch.device("cpu")):
            raise RuntimeError("something else")


def test_model_that_is_too_large_at_once_answers_the_same_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = sharing("llava", tokens=10**6)
    want = backend.last_logits(query())
    run = type(backend.model).forward

    def forward(self: Any, input_ids: torch.Tensor, **rest: Any) -> Any:
        if len(input_ids) > 1:
            raise torch.OutOfMemoryError
        return run(self, input_ids=input_ids, **rest)

    forward.__signature__ = inspect.signature(run)  # type: ignore[attr-defined]
    monkeypatch.setattr(type(backend.model), "forward", forward)
    np.testing.assert_allclose(np.array(backend.last_logits(query())), np.array(want), rtol=0, atol=1e-4)


def test_images_that_are_encoded_together_are_joined_and_taken_apart() -> None:
    tensors = [torch.arange(6.0).reshape(2, 3), torch.arange(6.0, 12).reshape(2, 3)]
    family = Family(encode=lambda _, part: {"tensor": part["pixel_values"], "list": part["pixel_values"].tolist()})
    images = SharedImages(plain("llava").model, None, family, AtOnce(8, "images"))
    for name, tensor in enumerate(tensors):
        images._parts[name, 0] = images._waiting[name, 0] = {"pixel_values": tensor}
    images.encode()
    for name, tensor in enumerate(tensors):
        assert torch.equal(images.features[name, 0]["tensor"], tensor)
        assert images.features[name, 0]["list"] == tensor.tolist()
    assert joined([[1, 2], [3, 4]]) == [1, 2, 3, 4]
    assert joined([[[1]], [[2]]], axis=1) == [[1, 2]]
    assert joined([torch.ones(1, 2), torch.ones(1, 3)]).tolist() == [[1, 1, 0], [1, 1, 1]]


def test_first_word_of_a_reply_is_read_in_the_shared_row() -> None:
    """A question without an answer prefix ends where the chat template opens the reply."""
    bare = Question(text="Good or poor?", options=("Good", "Bad"), values=(1.0, 0.0))
    request = replace(pair(1, 2), questions=(bare, QUALITY))
    assert_equal(sharing("bakllava").last_logits([request]), plain("bakllava").last_logits([request]))
