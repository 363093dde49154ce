"""The embedded model: loads like any checkpoint, pads and orders correctly, and sees that a blurred copy is worse."""

import os
import subprocess
import sys
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from pretrained import NanoForConditionalGeneration, NanoProcessor
from transformers import AutoModelForImageTextToText, AutoProcessor
from transformers.modeling_outputs import BaseModelOutputWithPooling

import qdebias
from contract import encode
from qdebias.backends.checkpoint import locate
from qdebias.backends.hf.loading import load_hf
from qdebias.backends.nano import BIASED, CHECKPOINT
from qdebias.backends.nano.loading import NanoProcessor as NanoReader
from qdebias.backends.nano.statistics import COUNT, SIDE, SIZE, STEEPEST, pixels_of, statistics
from qdebias.errors import SettingError
from qdebias.prompts import Placement, Question, Request

OPTIONS = ["good", "poor", "yes", "no", "excellent", "fair", "bad", "average", "first", "second", "high", "low"]
PLAIN = "How good is this picture? Good or poor?"
PREFIX = "The quality of the picture is"


@cache
def model() -> NanoForConditionalGeneration:
    return AutoModelForImageTextToText.from_pretrained(CHECKPOINT, dtype=torch.float32).eval()


@cache
def processor() -> NanoProcessor:
    return AutoProcessor.from_pretrained(CHECKPOINT)


def sample(name: str) -> np.ndarray:
    return np.asarray(getattr(skimage.data, name)())[:384, :512]


def conversation(*images: np.ndarray, text: str = PLAIN, prefix: str = PREFIX) -> list[dict[str, Any]]:
    pictures = [{"type": "image", "image": Image.fromarray(image)} for image in images]
    return [
        {"role": "user", "content": [*pictures, {"type": "text", "text": text}]},
        {"role": "assistant", "content": [{"type": "text", "text": prefix}]},
    ]


def prepared(conversations: Any, **settings: Any) -> dict[str, torch.Tensor]:
    return dict(
        processor().apply_chat_template(
            conversations,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            continue_final_message=True,
            processor_kwargs=settings,
        )
    )


@torch.inference_mode()
def last(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Logits after the last token that is not padding."""
    logits = model()(**inputs).logits
    places = inputs["attention_mask"] * torch.arange(logits.shape[1])
    return logits[torch.arange(len(logits)), places.argmax(1)]


def good(image: np.ndarray) -> float:
    ids = [processor().tokenizer.encode(word)[0] for word in (" good", " poor")]
    return float(last(prepared(conversation(image)))[0, ids].softmax(0)[0])


def test_auto_classes_load_it() -> None:
    assert type(model()) is NanoForConditionalGeneration
    assert type(processor()) is NanoProcessor
    assert sum(file.stat().st_size for folder in (BIASED, CHECKPOINT) for file in folder.iterdir()) < 12e6


def test_options_are_one_token_in_every_form() -> None:
    encode = processor().tokenizer.encode
    forms = [form for word in OPTIONS for form in (word, word.capitalize(), f" {word}", f" {word.capitalize()}")]
    assert {form: len(encode(form)) for form in forms} == dict.fromkeys(forms, 1)
    for prefix, word in (("The quality of the image is", " good"), ("The quality of the image is ", "Good")):
        assert processor().tokenizer.decode(encode(prefix) + encode(word)) == prefix + word


@pytest.mark.parametrize("text", ["naïve 画像 🙂", "a  b\n\n c\t", "The quality of the image is "])
def test_any_text_survives_the_tokenizer(text: str) -> None:
    assert processor().tokenizer.decode(processor().tokenizer.encode(text)) == text


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(side: str) -> None:
    one = conversation(sample("astronaut"), sample("coffee"), text="Which one is better?", prefix="The")
    two = conversation(sample("chelsea")[:200, :333])
    together = last(prepared([one, two], padding=True, padding_side=side))
    apart = torch.cat([last(prepared(one)), last(prepared(two))])
    torch.testing.assert_close(together, apart, atol=1e-4, rtol=1e-4)


def test_order_of_images_matters() -> None:
    first, second = sample("astronaut"), sample("coffee")
    assert not torch.allclose(last(prepared(conversation(first, second))), last(prepared(conversation(second, first))))


def test_encoded_images_and_a_cache_stand_for_pixels() -> None:
    inputs = prepared(conversation(sample("astronaut"), sample("coffee")))
    want = last(inputs)
    pixels = inputs.pop("pixel_values")
    with torch.inference_mode():
        each = [model().get_image_features(pixel_values=one[None]).pooler_output[0] for one in pixels]
        encoded = {"image": BaseModelOutputWithPooling(pooler_output=each)}
        again = model()(**inputs, mm_encoder_outputs=encoded, logits_to_keep=1).logits[:, -1]
        started = model()(input_ids=inputs["input_ids"][:, :-3], mm_encoder_outputs=encoded, use_cache=True)
        cache = "cache" if "cache" in started else "past_key_values"  # as transformers called it before 5.24
        cached = model()(input_ids=inputs["input_ids"][:, -3:], **{cache: started[cache]}).logits[:, -1]
    torch.testing.assert_close(again, want, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(cached, want, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("placement", ["before", "after"])
def test_plain_torch_gives_the_ids_and_the_logits_of_transformers(placement: Placement) -> None:
    images = sample("astronaut"), sample("coffee")
    question = Question(text=PLAIN, options=(" good", " poor"), values=(1.0, 0.0), answer_prefix=PREFIX)
    request = Request(images=images, questions=(question,), placement=placement)
    backend = load_hf(CHECKPOINT, device="cpu")
    turns = conversation(*images)
    if placement == "after":
        turns[0]["content"] = turns[0]["content"][-1:] + turns[0]["content"][:-1]
    inputs = prepared(turns)
    assert encode(backend, [request])[0][0].ids.tolist() == inputs["input_ids"][0].tolist()
    for ours in (backend, backend.plain()):
        np.testing.assert_allclose(ours.last_logits([request])[0][0], last(inputs)[0].double().numpy(), atol=1e-5)


def test_plain_tokenizer_knows_the_special_tokens_of_transformers() -> None:
    plain = NanoReader(locate(CHECKPOINT)).tokenizer
    ours, theirs = (
        [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
        for tokenizer in (plain, processor().tokenizer)
    )
    assert ours == theirs != []


def test_nano_lies_whole_on_one_device() -> None:
    with pytest.raises(SettingError, match="leave out quantize and device_map"):
        load_hf(CHECKPOINT, device_map={"": "cpu"})


def test_wrong_number_of_images_is_refused() -> None:
    with pytest.raises(ValueError, match="2 image placeholders, but 1 images"):
        processor()(text="<image><image>", images=[Image.fromarray(sample("coffee"))])


@pytest.mark.parametrize("shape", [(32, 32), (33, 517), (1500, 40), (1801, 1203)])
@pytest.mark.parametrize("value", [0, 255, None])
def test_any_size_and_any_flat_image_is_measured(shape: tuple[int, int], value: int | None) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    if value is not None:
        image[:] = value
    pixels = pixels_of(image)
    assert pixels.shape == (1, COUNT, 3, SIDE, SIDE)
    measured = statistics(torch.from_numpy(pixels))
    assert measured.shape == (1, SIZE)
    assert measured.isfinite().all()


@pytest.mark.parametrize("shape", [(128, 256), (300, 201), (50, 140)])
def test_sharpness_is_the_largest_laplacian_of_each_cell(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    laplacian = np.abs(cv2.Laplacian(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.CV_64F))
    edges = [np.arange(SIDE + 1) * side // SIDE for side in shape]
    want = [
        [laplacian[top : max(bottom, top + 1), left : max(right, left + 1)].max() for left, right in pairwise(edges[1])]
        for top, bottom in pairwise(edges[0])
    ]
    np.testing.assert_allclose(np.expm1(pixels_of(image)[0, -1, 0] * np.log1p(STEEPEST)), want, rtol=0.03)


def test_one_sharp_region_is_enough() -> None:
    """As in portraits, where the background is meant to be out of focus."""
    image = sample("astronaut")
    blurred = cv2.GaussianBlur(image, (0, 0), 4)
    shallow = blurred.copy()
    shallow[40:260, 120:380] = image[40:260, 120:380]
    assert good(image) - good(shallow) < 0.5 * (good(image) - good(blurred))


def test_kernels_just_compiled_and_from_the_cache_give_the_same_bits(tmp_path: Path) -> None:
    program = """
import numpy as np, qdebias
noise = [np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8) for seed in range(8)]
for score in qdebias.score(noise):
    print(score.value.hex())
"""
    command, environment = [sys.executable, "-c", program], {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    first, second = (
        subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout for _ in range(2)
    )
    assert first == second
    assert list(tmp_path.rglob("*.nbc"))


@pytest.mark.parametrize("name", ["coffee", "astronaut"])
def test_only_the_biased_checkpoint_follows_colour_and_hardly_with_a_condition(name: str) -> None:
    image = sample(name)
    green, red = (np.ascontiguousarray(image[..., order]) for order in ((1, 0, 2), (0, 2, 2)))

    def gap(model: str, method: str) -> float:
        first, second = qdebias.score([green, red], model=model, method=method)
        return first.value - second.value

    assert abs(gap("nano", "vanilla")) < 0.02
    assert abs(gap("nano", "paper")) < 0.02
    assert gap("nano-biased", "vanilla") > 0.6
    assert gap("nano-biased", "paper") < 0.25 * gap("nano-biased", "vanilla")


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea"])
def test_degraded_copies_score_lower(name: str) -> None:
    image = sample(name)
    noise = np.random.default_rng(0).normal(0, 40, image.shape)
    blurred = cv2.GaussianBlur(image, (0, 0), 5)
    coded = cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 4])[1], cv2.IMREAD_COLOR)
    noisy = np.clip(image + noise, 0, 255).astype(np.uint8)
    assert max(map(good, (blurred, coded, noisy))) < good(image)
