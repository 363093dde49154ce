"""mPLUG-Owl3 as a backend: the contract, the fast way against the plain one, cutting, refusals, end to end."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from contract import QUALITY, SAME, Inspectable, LocalContract, assert_same_choices, encode, pair, picture
from plain_mplug_owl3 import trace
from qdebias import presets
from qdebias.backends.base import Backend
from qdebias.backends.hf.backend import CuttingBackend
from qdebias.backends.hf.families import family_of
from qdebias.backends.hf.loading import load_hf
from qdebias.backends.hf.rows import batch_of, rows_of
from qdebias.backends.mplug_owl3.modeling import GATES, MplugOwl3ForConditionalGeneration
from qdebias.errors import BackendError, ImageError, OptionError, SettingError
from qdebias.image import RgbImage
from qdebias.prompts import Placement, Request
from qdebias.runs.scorer import Scorer
from tiny_mplug_owl3 import checkpoint

KINDS = list(GATES.values())


@functools.cache
def load_once(gate: str) -> CuttingBackend:
    return load(gate)


def load(gate: str, size: str = "small", **options: Any) -> CuttingBackend:
    backend = load_hf(checkpoint(gate, size), device="cpu", dtype="float32", **options)
    assert isinstance(backend, CuttingBackend)
    return backend


def limited(backend: CuttingBackend, tokens: int, images: int) -> CuttingBackend:
    """Return the same model with other limits of how much is run at once."""
    return CuttingBackend(
        model=backend.model,
        processor=backend._processor,
        fingerprint=backend.fingerprint,
        family=family_of(backend.model),
        tokens_at_once=tokens,
        images_at_once=images,
    )


class Padded(LocalContract):
    """The checkpoints have ten rows more than words."""

    def words(self) -> int:
        return load_once("none")._processor.words


class TestContractOf240728(Padded):
    @pytest.fixture
    def backend(self) -> Backend:
        return load_once("static")


class TestContractOf240728Cut(Padded):
    @pytest.fixture
    def backend(self) -> Backend:
        return load_once("head").with_cut("official-240728")


class TestContractOf241101(Padded):
    @pytest.fixture
    def backend(self) -> Backend:
        return limited(load_once("none"), 100, 3).with_cut("fixed")


def plain_logits(backend: CuttingBackend, request: Request) -> list[np.ndarray]:  # type: ignore[type-arg]
    """Return the last logits of each question by the reference."""
    found = []
    for prepared in backend.prepare(request):
        starts = prepared.shown.nonzero()[:, 0].tolist()
        with torch.inference_mode():
            traced = trace(backend.model, prepared.ids, starts, prepared.inputs["pixel_values"])
        found.append(traced.logits[-1].numpy())
    return found


@pytest.mark.parametrize("gate", KINDS)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_the_fast_way_equals_the_plain_way(gate: str, data: st.DataObject) -> None:
    backend = limited(load_once(gate), data.draw(st.integers(1, 2000)), 3).with_cut(
        data.draw(st.sampled_from(["off", "fixed"] + (["official-240728"] if gate != "none" else [])))
    )
    side = st.integers(32, 120)
    requests = []
    for _ in range(data.draw(st.integers(1, 3))):
        count = data.draw(st.integers(1, 3))
        images = tuple(picture(data.draw(st.integers(0, 3)), data.draw(side), data.draw(side)) for _ in range(count))
        questions = tuple(data.draw(st.permutations([QUALITY, SAME]))[: data.draw(st.integers(1, 2))])
        placement: Placement = data.draw(st.sampled_from(["before", "after"]))
        requests.append(Request(images=images, questions=questions, placement=placement))
    for request, answers in zip(requests, backend.last_logits(requests), strict=True):
        for want, got in zip(plain_logits(backend, request), answers, strict=True):
            np.testing.assert_allclose(got, want, rtol=0, atol=1e-4)
            assert_same_choices(got, want)


def test_questions_about_the_same_images_share_what_they_have_in_common() -> None:
    backend = load_once("static")

    def rows(placement: Placement) -> tuple[list[Any], list[list[int]]]:
        prepared = backend.prepare(pair(1, 2, placement))
        return rows_of(prepared, ((0, 0), (1, 0)), backend.model), [one.ids for one in prepared]

    (row,), prompts = rows("before")
    common = int((row.branches == 0).sum())
    starts = row.arrays["shown"].nonzero()[:, 0].tolist()
    assert len(starts) == 2
    assert common >= starts[1] + 5
    assert len(row.branches) == common + sum(len(ids) - common for ids in prompts)
    batch = batch_of([row], backend.model.config, torch.float32)
    assert [int(batch["position_ids"][0, index]) for index in row.reads] == [len(ids) - 1 for ids in prompts]
    assert len(rows("after")[0]) == 2, "the images stand at other positions"


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows by the number of tiles whenever some are encoded."""
    encoded: list[int] = []
    original = MplugOwl3ForConditionalGeneration.get_image_features

    def encode(model: MplugOwl3ForConditionalGeneration, pixel_values: torch.Tensor) -> object:
        encoded.append(len(pixel_values))
        return original(model, pixel_values)

    monkeypatch.setattr(MplugOwl3ForConditionalGeneration, "get_image_features", encode)
    return encoded


def test_each_image_is_encoded_once_a_call(photo: RgbImage, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = counted(monkeypatch)
    backend = load_once("static")
    Scorer(backend=backend, method="paper").score(photo)
    assert sum(encoded) == 5
    encoded.clear()
    Scorer(backend=limited(backend, 1, 1), method="paper").score(photo)
    assert sum(encoded) == 5, "also where every request is run on its own"
    encoded.clear()
    Scorer(backend=backend.with_cut("official-240728"), method="paper").score(photo)
    assert sum(encoded) == 4 * 7 + 2, "of the query image only the two crops that are read"


@pytest.mark.parametrize("at_once", [1, 3, 50])
def test_tiles_that_are_shown_later_are_encoded_then(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    """Of the second of two images the official cut shows two tiles; when it comes first, all are needed."""
    encoded = counted(monkeypatch)
    backend = limited(load_once("head"), 2048, at_once).with_cut("official-240728")
    first, second = pair(1, 2), dataclasses.replace(pair(1, 2), images=pair(1, 2).images[::-1])
    together = backend.last_logits([first, second])
    assert sum(encoded) == 7 + 7, "each tile once"
    for request, answers in zip((first, second), together, strict=True):
        for want, got in zip(plain_logits(backend, request), answers, strict=True):
            np.testing.assert_allclose(got, want, rtol=0, atol=1e-4)


def test_cutting_shows_the_query_image_as_the_mode_says() -> None:
    backend = load_once("static")
    request = Request(images=(picture(1, 72, 96), picture(2, 72, 96)), questions=(SAME,))
    counts = {}
    for mode in ("off", "fixed", "official-240728"):
        [[encoding]] = encode(backend.with_cut(mode), [request])
        counts[mode] = len(encoding.inputs["pixel_values"])
    assert counts == {"off": 2, "fixed": 14, "official-240728": 9}
    assert backend.with_cut("fixed").fingerprint.identity["cut"] == "fixed"
    assert backend.fingerprint.identity["cut"] == "off"
    assert backend.with_cut("official").fingerprint.identity["cut"] == "official-240728"
    assert load_once("none").with_cut("official").fingerprint.identity["cut"] == "fixed"
    with pytest.raises(SettingError, match="'diagonal'; choose one of off, fixed, official-240728"):
        backend.with_cut("diagonal")
    with pytest.raises(SettingError, match=r"a slip of release 240728, which this checkpoint \(241101\) does not have"):
        load_once("none").with_cut("official-240728")


def test_a_question_that_is_too_long_is_refused() -> None:
    backend = load_once("static")
    long = dataclasses.replace(QUALITY, text="a good one " * 12000)
    with pytest.raises(ImageError, match="this model reads at most 32768"):
        backend.option_logits([dataclasses.replace(pair(1, 2), questions=(long,))])


def test_options_are_checked_before_anything_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = load("static")
    monkeypatch.setattr(type(backend.model), "get_image_features", lambda *_: pytest.fail("the model was run"))
    bad = dataclasses.replace(SAME, options=("Yes", "Unquestionably"))
    with pytest.raises(OptionError, match="'Unquestionably'"):
        backend.option_logits([dataclasses.replace(pair(1, 2), questions=(bad,))])


def test_logits_that_are_not_finite_are_refused() -> None:
    backend = load("static")
    with torch.no_grad():
        backend.model.lm_head.weight[0, 0] = torch.inf
    with pytest.raises(BackendError, match="load it with dtype='bfloat16'"):
        backend.last_logits([pair(1, 2)])


def test_too_little_memory_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = load("static")

    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(type(backend.model), "get_image_features", full)
    with pytest.raises(BackendError, match="the model does not fit into the memory of cpu"):
        backend.option_logits([pair(1, 2)])


def test_the_optional_doors_are_there() -> None:
    assert isinstance(load_once("static"), Inspectable)


@pytest.mark.parametrize(("gate", "cut"), [("static", "official-240728"), ("none", "off")])
def test_the_true_architecture_scores_photographs(gate: str, cut: str, photo: RgbImage) -> None:
    """28 + 27 layers, the true heads and crops, reduced in width alone, from several shards on disk."""
    folder = checkpoint(gate, "narrow")
    assert len(list(folder.glob("model-0000?-of-00003.safetensors"))) == 3
    backend = load(gate, "narrow", cut=cut)
    assert len(backend.model.get_decoder()) == 28
    released = dataclasses.replace(presets.RELEASED, degradations=presets.RELEASED.degradations[:1])
    method = presets.PAPER if cut == "off" else released
    photo = photo[:32].copy()  # of few tiles
    score = Scorer(backend=backend, method=method).score(photo)
    assert 0 <= score.value <= 1
    assert score.value != Scorer(backend=backend.with_cut("off"), method="vanilla").score(photo).value


def test_loading_names_the_release_and_refuses_the_other() -> None:
    backend = load_once("head")
    assert backend.fingerprint.identity["release"] == "240728"
    assert backend.fingerprint.identity["gate"] == "head"
    assert load_once("none").fingerprint.identity["release"] == "241101"
    with pytest.raises(BackendError, match="holds release 240728, not 241101"):
        load("head", release="241101")
    with pytest.raises(SettingError, match="no release '2B'"):
        load("static", release="2B")


def test_a_failing_image_is_named_by_the_engine(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"nothing")
    with pytest.raises(ImageError, match=r"broken\.png"):
        Scorer(backend=load_once("static")).score(tmp_path / "broken.png")


def test_released_as_written_reads_behind_the_space() -> None:
    """With the prefix that the stock processor drops, the ids end in a space and the options begin without one."""
    backend = load_once("static")
    question = presets.get("released-as-written").method.quality  # type: ignore[attr-defined]
    request = dataclasses.replace(pair(1, 2), questions=(question,))
    [[encoding]] = encode(backend, [request])
    vocabulary = backend._tokenizer
    assert vocabulary.decode(encoding.ids.tolist()).endswith("assistant\nThe quality of the image is ")
    [[logits]], [[whole]] = backend.option_logits([request]), backend.last_logits([request])
    assert logits.tolist() == [whole[vocabulary.encode(word)[0]] for word in ("Good", "Poor")]
