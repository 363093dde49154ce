"""mPLUG-Owl3 as a backend: the contract, the fast way against the plain one, cutting, refusals, end to end."""

import dataclasses
import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from contract import QUALITY, SAME, LocalContract, assert_same_choices, pair, picture
from qdebias import presets
from qdebias.backends.base import Backend, Inspectable
from qdebias.backends.mplug_owl3 import MplugOwl3Backend, load_mplug_owl3
from qdebias.backends.mplug_owl3.plain import trace
from qdebias.backends.mplug_owl3.rows import batch_of, rows_of
from qdebias.backends.mplug_owl3.variant import Gate
from qdebias.engine import Scorer
from qdebias.errors import BackendError, ImageError, OptionError, PromptError, SettingError
from qdebias.image import RgbImage
from qdebias.prompts import Placement, Request
from tiny_mplug_owl3 import checkpoint

GATES = list(Gate)


@functools.cache
def load_once(gate: Gate) -> MplugOwl3Backend:
    return load(gate)


def load(gate: Gate, size: str = "small", **options: object) -> MplugOwl3Backend:
    return load_mplug_owl3(checkpoint(gate, size), device="cpu", **options)  # type: ignore[arg-type]


class Padded(LocalContract):
    """The checkpoints have ten rows more than words."""

    def words(self) -> int:
        return len(load_once(Gate.NONE).processor.vocabulary)


class TestContractOf240728(Padded):
    @pytest.fixture
    def backend(self) -> Backend:
        return load_once(Gate.STATIC)


class TestContractOf240728Cut(Padded):
    @pytest.fixture
    def backend(self) -> Backend:
        return load_once(Gate.HEAD).with_cut("official-240728")


class TestContractOf241101(Padded):
    @pytest.fixture
    def backend(self) -> Backend:
        return dataclasses.replace(load_once(Gate.NONE).with_cut("fixed"), crops_at_once=10)


def plain_logits(backend: MplugOwl3Backend, request: Request) -> list[np.ndarray]:  # type: ignore[type-arg]
    """Return the last logits of each question by the reference."""
    crops = [backend.processor.crops(image) for image in request.images]
    pixels = torch.from_numpy(np.concatenate([crop.pixels for crop in crops]))
    grids = [crop.grid for crop in crops]
    prompts = [backend.processor.question_prompt(question, grids, request.placement) for question in request.questions]
    with torch.inference_mode():
        return [trace(backend.model, prompt, pixels).logits[-1].numpy() for prompt in prompts]


@pytest.mark.parametrize("gate", GATES, ids=lambda gate: gate.value)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_the_fast_way_equals_the_plain_way(gate: Gate, data: st.DataObject) -> None:
    backend = load_once(gate).with_cut(
        data.draw(st.sampled_from(["off", "fixed"] + (["official-240728"] if gate is not Gate.NONE else [])))
    )
    side = st.integers(32, 120)
    requests = []
    for _ in range(data.draw(st.integers(1, 3))):
        count = data.draw(st.integers(1, 3))
        images = tuple(picture(data.draw(st.integers(0, 3)), data.draw(side), data.draw(side)) for _ in range(count))
        questions = tuple(data.draw(st.permutations([QUALITY, SAME]))[: data.draw(st.integers(1, 2))])
        placement: Placement = data.draw(st.sampled_from(["before", "after"]))
        requests.append(Request(images=images, questions=questions, placement=placement))
    backend = dataclasses.replace(backend, crops_at_once=data.draw(st.integers(1, 40)), vision_chunk=3)
    for request, answers in zip(requests, backend.last_logits(requests), strict=True):
        for want, got in zip(plain_logits(backend, request), answers, strict=True):
            np.testing.assert_allclose(got, want, rtol=0, atol=1e-4)
            assert_same_choices(got, want)


def test_questions_about_the_same_images_share_what_they_have_in_common() -> None:
    backend = load_once(Gate.STATIC)
    grids = [None, None]
    keys = [("a", 0), ("b", 0)]
    before = [backend.processor.question_prompt(question, grids, "before") for question in (QUALITY, SAME)]
    (row,) = rows_of(before, keys)
    assert row.common >= before[0].starts[1] + 5
    assert row.length == row.common + sum(len(prompt.ids) - row.common for prompt in before)
    batch = batch_of([row], pad=0, lag=1)
    assert [int(batch.positions[0, index]) for _, index in batch.reads] == [len(prompt.ids) - 1 for prompt in before]
    after = [backend.processor.question_prompt(question, grids, "after") for question in (QUALITY, SAME)]
    assert len(rows_of(after, keys)) == 2, "the images stand at other positions"


def test_each_image_is_encoded_once_a_call(photo: RgbImage, monkeypatch: pytest.MonkeyPatch) -> None:
    backend, encoded = load(Gate.STATIC), []
    original = type(backend.model).remember

    def counting(model: object, pixels: torch.Tensor, chunk: int) -> object:
        encoded.append(len(pixels))
        return original(model, pixels, chunk)  # type: ignore[arg-type]

    monkeypatch.setattr(type(backend.model), "remember", counting)
    Scorer(backend=backend, method="paper").score(photo)
    assert sum(encoded) == 5
    encoded.clear()
    Scorer(backend=dataclasses.replace(backend, crops_at_once=1), method="paper").score(photo)
    assert sum(encoded) == 5, "also where every request is run on its own"
    encoded.clear()
    Scorer(backend=backend.with_cut("official-240728"), method="paper").score(photo)
    assert sum(encoded) == 4 * 7 + 2, "of the query image only the two crops that are read"


def test_cutting_shows_the_query_image_as_the_mode_says() -> None:
    backend = load_once(Gate.STATIC)
    request = Request(images=(picture(1, 72, 96), picture(2, 72, 96)), questions=(SAME,))
    counts = {}
    for mode in ("off", "fixed", "official-240728"):
        [[encoding]] = backend.with_cut(mode).encode([request])
        counts[mode] = len(encoding.inputs["pixel_values"])
    assert counts == {"off": 2, "fixed": 14, "official-240728": 9}
    assert backend.with_cut("fixed").fingerprint.identity["cut"] == "fixed"
    assert backend.fingerprint.identity["cut"] == "off"
    assert backend.with_cut("official").fingerprint.identity["cut"] == "official-240728"
    assert load_once(Gate.NONE).with_cut("official").fingerprint.identity["cut"] == "fixed"
    with pytest.raises(SettingError, match="'diagonal'; choose one of off, fixed, official-240728"):
        backend.with_cut("diagonal")
    with pytest.raises(SettingError, match=r"a slip of release 240728, which this checkpoint \(241101\) does not have"):
        load_once(Gate.NONE).with_cut("official-240728")


def test_a_question_that_is_too_long_is_refused() -> None:
    backend = load_once(Gate.STATIC)
    long = dataclasses.replace(QUALITY, text="a good one " * 12000)
    with pytest.raises(PromptError, match="the model reads 32768"):
        backend.option_logits([dataclasses.replace(pair(1, 2), questions=(long,))])


def test_options_are_checked_before_anything_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = load(Gate.STATIC)
    monkeypatch.setattr(type(backend.model), "remember", lambda *_: pytest.fail("the model was run"))
    bad = dataclasses.replace(SAME, options=("Yes", "Unquestionably"))
    with pytest.raises(OptionError, match="'Unquestionably'"):
        backend.option_logits([pair(1, 2), dataclasses.replace(pair(1, 2), questions=(bad,))])


def test_logits_that_are_not_finite_are_refused() -> None:
    backend = load(Gate.STATIC)
    with torch.no_grad():
        backend.model.language_model.lm_head.weight[0, 0] = torch.inf
    with pytest.raises(BackendError, match="not finite; load it in bfloat16"):
        backend.last_logits([pair(1, 2)])


def test_too_little_memory_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = load(Gate.STATIC)

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(type(backend.model), "remember", full)
    with pytest.raises(BackendError, match="lower crops_at_once or vision_chunk"):
        backend.option_logits([pair(1, 2)])


def test_the_optional_doors_are_there() -> None:
    assert isinstance(load_once(Gate.STATIC), Inspectable)


@pytest.mark.parametrize(("gate", "cut"), [(Gate.STATIC, "official-240728"), (Gate.NONE, "off")])
def test_the_true_architecture_scores_photographs(gate: Gate, cut: str, photo: RgbImage) -> None:
    """28 + 27 layers, the true heads and crops, reduced in width alone, from several shards on disk."""
    folder = checkpoint(gate, "narrow")
    assert len(list(folder.glob("model-0000?-of-00003.safetensors"))) == 3
    backend = load(gate, "narrow", cut=cut)
    assert len(backend.model.language_model.model.layers) == 28
    released = dataclasses.replace(presets.RELEASED, degradations=presets.RELEASED.degradations[:1])
    method = presets.PAPER if cut == "off" else released
    photo = photo[:32].copy()  # of few tiles
    score = Scorer(backend=backend, method=method).score(photo)
    assert 0 <= score.value <= 1
    assert score.value != Scorer(backend=backend.with_cut("off"), method="vanilla").score(photo).value


def test_loading_names_the_release_and_refuses_the_other() -> None:
    backend = load_once(Gate.HEAD)
    assert backend.fingerprint.identity["release"] == "240728"
    assert backend.fingerprint.identity["gate"] == "head"
    assert load_once(Gate.NONE).fingerprint.identity["release"] == "241101"
    with pytest.raises(BackendError, match="holds release 240728, not 241101"):
        load(Gate.HEAD, release="241101")
    with pytest.raises(SettingError, match="no release '2B'"):
        load_mplug_owl3(release="2B")


def test_a_failing_image_is_named_by_the_engine(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"nothing")
    with pytest.raises(ImageError, match=r"broken\.png"):
        Scorer(backend=load_once(Gate.STATIC)).score(tmp_path / "broken.png")


def test_released_as_written_reads_behind_the_space() -> None:
    """With the prefix that the stock processor drops, the ids end in a space and the options begin without one."""
    backend = load_once(Gate.STATIC)
    question = presets.get("released-as-written").method.quality  # type: ignore[attr-defined]
    request = dataclasses.replace(pair(1, 2), questions=(question,))
    [[encoding]] = backend.encode([request])
    vocabulary = backend.processor.vocabulary
    assert vocabulary.decode(list(encoding.ids)).endswith("assistant\nThe quality of the image is ")
    [[logits]], [[whole]] = backend.option_logits([request]), backend.last_logits([request])
    assert logits.tolist() == [whole[vocabulary.encode(word)[0]] for word in ("Good", "Poor")]
