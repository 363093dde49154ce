"""Qwen-VL as a backend: the contract, sharing, failures, and scores from end to end."""

import functools
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from contract import QUALITY, SAME, Inspectable, LocalContract, encode, pair, picture
from qdebias.backends.base import Backend
from qdebias.backends.hf.backend import HfBackend
from qdebias.backends.qwen_vl.modeling import QwenVLForConditionalGeneration, Transformer
from qdebias.errors import BackendError, ImageError
from qdebias.image import RgbImage
from qdebias.prompts import Request
from qdebias.runs.scorer import Scorer
from test_qwen_vl_checkpoint import checkpoint, load


@functools.cache
def load_once(form: str, trained: int = 2048) -> HfBackend:
    return load(checkpoint(form, trained))


class TestContractOfBase(LocalContract):
    @pytest.fixture
    def backend(self) -> Backend:
        return load_once("base")


class TestContractOfChat(LocalContract):
    @pytest.fixture
    def backend(self) -> Backend:
        return load_once("chat")


class TestContractOfStretchedPositions(LocalContract):
    @pytest.fixture
    def backend(self) -> Backend:
        return load_once("chat", 96)


@pytest.mark.parametrize("form", ["base", "chat"])
@pytest.mark.parametrize("method", ["paper", "paper-literal", "released", "vanilla"])
def test_an_image_is_scored_from_end_to_end(photo: RgbImage, form: str, method: str) -> None:
    scorer = Scorer(backend=load_once(form), method=method)
    score = scorer.score(photo)
    assert 0 < score.value < 1
    assert score.value != scorer.score(255 - photo).value


def test_placement_and_form_change_the_score(photo: RgbImage) -> None:
    scores = {
        Scorer(backend=load_once(form), method=method).score(photo).value
        for form in ("base", "chat")
        for method in ("paper", "paper-literal")
    }
    assert len(scores) == 4


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows by the number of images whenever some are encoded."""
    encoded: list[int] = []
    original = Transformer.get_image_features

    def encode(model: Transformer, pixel_values: torch.Tensor) -> object:
        encoded.append(len(pixel_values))
        return original(model, pixel_values)

    monkeypatch.setattr(Transformer, "get_image_features", encode)
    return encoded


@pytest.mark.parametrize("tokens_at_once", [1, 8192])
def test_each_image_is_encoded_once_a_call(
    photo: RgbImage, monkeypatch: pytest.MonkeyPatch, tokens_at_once: int
) -> None:
    encoded = counted(monkeypatch)
    backend = load(checkpoint(), tokens_at_once=tokens_at_once)
    Scorer(backend=backend, method="paper").score(photo)
    assert sum(encoded) == 5, "the query image and its four degradations"
    encoded.clear()
    same = [Request(images=(photo.copy(), photo.copy()), questions=(SAME,)) for _ in range(3)]
    backend.option_logits(same)
    assert encoded == [1], "images are told apart by their content"


def test_rows_are_run_together_within_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: list[Sequence[int]] = []
    original = Transformer.forward
    monkeypatch.setattr(
        Transformer,
        "forward",
        lambda model, ids, *others: [shapes.append(tuple(ids.shape)), original(model, ids, *others)][1],
    )
    requests = [pair(number, number + 1) for number in range(5)]
    want = load(checkpoint(), tokens_at_once=1).option_logits(requests)
    assert [rows for rows, _ in shapes] == [1] * 5
    shapes.clear()
    got = load(checkpoint(), tokens_at_once=1600).option_logits(requests)
    assert [rows for rows, _ in shapes] == [2, 2, 1]
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)


def test_one_image_alone_equals_it_among_others() -> None:
    backend = load_once("chat")
    alone = Request(images=(picture(1, 50, 60),), questions=(QUALITY,))
    [[want]] = backend.last_logits([alone])
    [[got], _] = backend.last_logits([alone, pair(2, 3)])
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)


def test_bfloat16_stays_near_float32() -> None:
    requests = [pair(1, 2), pair(3, 4, "after")]
    want = np.ravel(load_once("chat").last_logits(requests))
    got = np.ravel(load(checkpoint(), dtype="bfloat16").last_logits(requests))
    assert 0 < np.abs(got - want).max() < 0.3
    assert np.corrcoef(got, want)[0, 1] > 0.99


def test_what_can_be_looked_into() -> None:
    backend = load_once("chat")
    assert isinstance(backend, Inspectable)
    [[encoding, _]] = encode(backend, [pair(1, 2)])
    assert encoding.inputs["pixel_values"].shape == (2, 3, 84, 84)
    assert encoding.inputs["pixel_values"].dtype == np.float32


def test_failures_are_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = load(checkpoint())
    backend.model.lm_head.weight.data[3] = torch.inf
    with pytest.raises(BackendError, match=r"NaN or infinity\) in torch.float32; load it with dtype='bfloat16'"):
        backend.last_logits([pair(1, 2)])
    monkeypatch.setattr(QwenVLForConditionalGeneration, "forward", _out_of_memory)
    with pytest.raises(BackendError, match="the model does not fit into the memory of cpu; use a smaller model"):
        backend.last_logits([pair(1, 2)])


def _out_of_memory(*_: object, **__: object) -> torch.Tensor:
    raise torch.OutOfMemoryError("CUDA out of memory")


def test_too_many_images_are_refused_before_anything_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = counted(monkeypatch)
    many = Request(images=(picture(1, 40, 40),) * 32, questions=(QUALITY,))
    with pytest.raises(ImageError, match=r"become a prompt of \d+ tokens, but this model reads at most 8192"):
        load_once("chat").option_logits([many, pair(1, 2)])
    assert encoded == []
