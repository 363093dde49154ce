"""Every family through the contract, and against transformers called by hand."""

import json
import shutil
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from typer.testing import CliRunner

from contract import QUALITY, SAME, LocalContract, assert_same, encode, pair, picture
from qdebias.backends.base import Backend
from qdebias.backends.hf.backend import HfBackend
from qdebias.backends.hf.loading import load_hf
from qdebias.backends.load import load_backend
from qdebias.cli.app import app
from qdebias.errors import BackendError, ImageError, MissingPackageError
from qdebias.prompts import Placement, Question, Request
from tiny_families import FAMILIES
from tiny_models import checkpoint, load, torchvision_module

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't:DeprecationWarning")  # transformers'

WITHOUT_VIDEO = ("bakllava", "gemma3", "idefics3", "llava")  # transformers loads these without torchvision too


@cache
def loaded(family: str) -> HfBackend:
    return load(family)


@cache
def nano() -> Backend:
    return load_backend("nano", device="cpu")


def tokenizer(family: str) -> Any:
    return transformers.AutoTokenizer.from_pretrained(checkpoint(family))


class TestFamilies(LocalContract):
    @pytest.fixture(params=sorted(FAMILIES))
    def family(self, request: pytest.FixtureRequest) -> str:
        return request.param

    @pytest.fixture
    def backend(self, family: str) -> HfBackend:
        return loaded(family)

    @pytest.fixture
    def placements(self, family: str) -> tuple[Placement, ...]:
        return ("before", "after") if FAMILIES[family].after else ("before",)

    def test_prefix_ends_the_ids_and_images_stand_in_place(
        self, family: str, backend: HfBackend, placements: tuple[Placement, ...]
    ) -> None:
        decode, image = tokenizer(family).decode, loaded_image_token(family)
        for placement in placements:
            ((encoded, same),) = encode(backend, [pair(1, 2, placement)])
            assert decode(encoded.ids).endswith(QUALITY.answer_prefix)
            assert not decode(same.ids).endswith(QUALITY.answer_prefix)
            places = np.flatnonzero(encoded.ids == image)
            inside = encoded.ids[places[-1] :] if placement == "before" else encoded.ids[: places[0]]
            assert QUALITY.text in decode(inside)

    def test_hub_layout_gives_the_same_logits(self, family: str, backend: HfBackend) -> None:
        hub = load(family, hub=True)
        assert_same(backend.option_logits([pair(1, 2)]), hub.option_logits([pair(1, 2)]))

    @pytest.mark.parametrize("family", WITHOUT_VIDEO)
    def test_transformers_own_path_gives_the_same(self, family: str, backend: HfBackend) -> None:
        """AutoProcessor, apply_chat_template and the whole sequence's logits: nothing of ours but the messages."""
        request = pair(1, 2)
        folder = checkpoint(family)
        images = [{"type": "image", "image": transformers.image_utils.load_image(_pil(i))} for i in request.images]
        messages = [
            {"role": "user", "content": [*images, {"type": "text", "text": QUALITY.text}]},
            {"role": "assistant", "content": [{"type": "text", "text": QUALITY.answer_prefix}]},
        ]
        processor = transformers.AutoProcessor.from_pretrained(folder)
        inputs = processor.apply_chat_template(
            messages, tokenize=True, return_dict=True, return_tensors="pt", continue_final_message=True
        )
        model = transformers.AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
        with torch.inference_mode():
            want = model(**inputs).logits[0, -1].double().numpy()
        ((encoded, _),) = encode(backend, [request])
        np.testing.assert_array_equal(encoded.ids, inputs["input_ids"][0])
        np.testing.assert_array_equal(encoded.inputs["pixel_values"], inputs["pixel_values"])
        ((got, _),) = backend.last_logits([request])
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)


class TestNano(LocalContract):
    @pytest.fixture
    def backend(self) -> Backend:
        return nano()


def loaded_image_token(family: str) -> int:
    config = transformers.AutoConfig.from_pretrained(checkpoint(family))
    return int(config.image_token_id)


def _pil(image: np.ndarray) -> Any:
    from PIL import Image

    return Image.fromarray(image)


def test_reading_does_not_depend_on_what_was_asked_before() -> None:
    fresh = load_hf(checkpoint("qwen2_vl"), device="cpu")
    used = loaded("qwen2_vl")
    used.option_logits([Request(images=(picture(9, 200, 60),), questions=(SAME,))])
    np.testing.assert_array_equal(fresh.last_logits([pair(1, 2)])[0][0], used.last_logits([pair(1, 2)])[0][0])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_are_no_numbers_are_refused(value: float) -> None:
    backend = load_hf(checkpoint("llava"), device="cpu")
    with torch.no_grad():
        backend.model.lm_head.weight[7] = value
    with pytest.raises(BackendError, match=r"NaN or infinity.* in torch.float32; load it with dtype='bfloat16'"):
        backend.option_logits([pair(1, 2)])


def test_logits_that_overflow_in_half_precision_are_refused_and_never_clipped() -> None:
    """The same weights, which answer in the types that the error names."""
    for dtype, overflows in (("float32", False), ("bfloat16", False), ("float16", True)):
        backend = load_hf(checkpoint("llava"), device="cpu", dtype=dtype)
        with torch.no_grad():
            backend.model.lm_head.weight.copy_(backend.model.lm_head.weight.sign() * 60_000)
        if overflows:
            with pytest.raises(
                BackendError, match=r"NaN or infinity.* in torch.float16; load it with dtype='bfloat16'"
            ):
                backend.option_logits([pair(1, 2)])
        else:
            ((first, _),) = backend.option_logits([pair(1, 2)])
            assert np.isfinite(first).all()
            assert np.abs(first).max() > 65_504


def test_half_precision_is_close() -> None:
    exact, half = loaded("llava"), load_hf(checkpoint("llava"), device="cpu", dtype="bfloat16")
    ((want, _),), ((got, _),) = exact.last_logits([pair(1, 2)]), half.last_logits([pair(1, 2)])
    assert 0 < np.abs(got - want).max() < 0.05 * np.abs(want).max()


def test_image_that_the_processor_refuses_is_named() -> None:
    ribbon = np.full((32, 8000, 3), 90, dtype=np.uint8)
    with pytest.raises(ImageError, match=r"refuses images of 8000 x 32: .*aspect ratio"):
        loaded("qwen2_vl").option_logits([Request(images=(ribbon,), questions=(QUALITY,))])


def test_prompt_longer_than_the_model_reads_is_refused() -> None:
    backend = load_hf(checkpoint("qwen2_vl"), device="cpu", max_pixels=28 * 28 * 400)
    large = picture(1, 700, 500)
    with pytest.raises(ImageError, match=r"500 x 700 and 500 x 700 become a prompt of \d+ tokens, .* at most 512"):
        backend.option_logits([Request(images=(large, large), questions=(QUALITY,))])


def test_pixel_limits_change_what_is_shown_and_the_fingerprint() -> None:
    wide = loaded("qwen2_vl")
    narrow = load_hf(checkpoint("qwen2_vl"), device="cpu", min_pixels=28 * 28, max_pixels=28 * 28 * 4)
    lengths = [len(encode(backend, [pair(1, 2)])[0][0].ids) for backend in (wide, narrow)]
    assert lengths[0] > lengths[1]
    assert wide.fingerprint.identity["images"] != narrow.fingerprint.identity["images"]


def test_fingerprint_tells_checkpoints_apart_by_content_not_by_path(tmp_path: Path) -> None:
    base = loaded("llava").fingerprint
    same = shutil.copytree(checkpoint("llava"), tmp_path / "elsewhere" / "llava")
    assert load_hf(same, device="cpu").fingerprint == base
    template = same / "chat_template.jinja"
    template.write_text(template.read_text().replace("USER", "HUMAN"))
    changed = load_hf(same, device="cpu").fingerprint
    assert {name for name in base.identity if base.identity[name] != changed.identity[name]} == {
        "configuration",
        "template",
    }
    half = load_hf(checkpoint("llava"), device="cpu", dtype="bfloat16").fingerprint
    assert {name for name in base.identity if base.identity[name] != half.identity[name]} == {"dtype"}


def test_fingerprint_says_what_ran() -> None:
    fingerprint = loaded("qwen2_vl").fingerprint
    assert fingerprint.identity["model"] == "qwen2_vl"
    assert fingerprint.identity["dtype"] == "float32"
    kind, _, settings = fingerprint.identity["images"].partition(" ")
    assert kind == "Qwen2VLImageProcessorPil"
    assert json.loads(settings)["size"] == {"shortest_edge": 28 * 28 * 2, "longest_edge": 28 * 28 * 12}
    assert set(fingerprint.environment) >= {"torch", "transformers", "tokenizers", "pillow", "device"}


def test_trailing_space_reads_the_word_without_it() -> None:
    spaced = Question(text="Good?", answer_prefix="The quality is ", options=("Good", "Bad"), values=(1.0, 0.0))
    backend, request = loaded("qwen2_vl"), pair(1, 2)
    ((whole,),) = backend.last_logits([Request(images=request.images, questions=(spaced,))])
    ((options,),) = backend.option_logits([Request(images=request.images, questions=(spaced,))])
    ids = [tokenizer("qwen2_vl").encode(word) for word in spaced.options]
    np.testing.assert_array_equal(options, whole[np.ravel(ids)])


def test_processor_that_needs_torchvision_is_refused_in_words() -> None:
    with pytest.raises(MissingPackageError, match=r"mistral3: its processor needs a package .*Torchvision"):
        load_hf(checkpoint("mistral3"), device="cpu")


@pytest.mark.parametrize(("method", "hub"), [("paper", False), ("paper", True), ("paper-literal", True)])
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_command_line_scores_with_every_family(family: str, method: str, hub: bool, tmp_path: Path) -> None:
    """In both layouts and in both placements, or with one line about why not."""
    path = tmp_path / "picture.png"
    _pil(picture(1, 72, 96)).save(path)
    command = ["score", str(path), "--json", "--device", "cpu", "--method", method]
    with torchvision_module() if FAMILIES[family].torchvision else nullcontext():
        outcome = CliRunner().invoke(app, [*command, "--model", f"hf:{checkpoint(family, hub=hub)}"])
    if method == "paper" or FAMILIES[family].after:
        assert outcome.exit_code == 0, outcome.stderr
        assert 0 <= json.loads(outcome.stdout)["score"] <= 1
    else:
        assert outcome.exit_code == 2
        assert "are not after the question" in outcome.stderr
        assert outcome.stderr.count("\n") == 1
