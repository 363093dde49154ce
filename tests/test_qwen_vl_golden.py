"""Qwen-VL against the official code: ids, pixels, image tokens and logits."""

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image

from contract import encode
from qdebias.backends.hf.backend import HfBackend
from qdebias.backends.hf.loading import load_hf
from qdebias.backends.qwen_vl.modeling import spread
from qdebias.backends.qwen_vl.processing import IMAGE, IMAGE_END, PAD, SLOT, read_vocabulary
from qdebias.image import RgbImage, load_image
from qdebias.prompts import Question, Request
from test_qwen_vl_checkpoint import config_of, empty_model

GOLDEN = Path(__file__).parent / "golden" / "qwen_vl"
CASES: dict[str, Any] = json.loads((GOLDEN / "cases.json").read_text())
BY_NAME = {case["name"]: case for case in CASES["cases"]}
PICTURES = ("query.png", "degraded.png", "gray.png")

FIRST, SECOND = CASES["questions"]
PREFIX = "The quality of the image is"
ASKED = {
    "base_one": (("query.png",), "Describe the quality of this image:", ""),
    "base_two_q1": (("degraded.png", "query.png"), FIRST, PREFIX),
    "base_two_q1_ntk": (("degraded.png", "query.png"), FIRST, PREFIX),
    "chat_two_q1": (("degraded.png", "query.png"), FIRST, PREFIX),
    "chat_two_q1_space": (("degraded.png", "query.png"), FIRST, f"{PREFIX} "),
    "chat_two_q1_ntk": (("degraded.png", "query.png"), FIRST, PREFIX),
    "chat_two_q2": (("degraded.png", "query.png"), SECOND, ""),
    "chat_one": (("query.png",), "Good or poor?", PREFIX),
    "chat_one_gray": (("gray.png",), "Good or poor?", PREFIX),
}
"""Images, question and answer prefix of each case that has images."""


@cache
def arrays() -> dict[str, np.ndarray[Any, Any]]:
    return dict(np.load(GOLDEN / "goldens.npz"))


@cache
def picture(name: str) -> RgbImage:
    return load_image(GOLDEN / name)


@pytest.fixture(scope="module")
def backends(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], HfBackend]:
    """A backend for each config and form."""
    short = tmp_path_factory.mktemp("short")
    for name in ("model.safetensors", "qwen.tiktoken"):
        shutil.copy(GOLDEN / name, short)
    shutil.copy(GOLDEN / "config_short.json", short / "config.json")
    folders = {"config.json": GOLDEN, "config_short.json": short}
    return {
        (config, form): load_hf(folder, device="cpu", form=form)
        for config, folder in folders.items()
        for form in ("base", "chat")
    }


def request_of(name: str) -> Request:
    images, text, prefix = ASKED[name]
    question = Question(text=text, answer_prefix=prefix, options=("s", "t"), values=(1.0, 0.0))
    return Request(images=tuple(picture(image) for image in images), questions=(question,))


def with_empty_slots(ids: list[int]) -> list[int]:
    """Return ids with every slot empty: the official code writes the path of a file there, which nothing reads."""
    start, end, slot = (CASES["special"][name] for name in ("img", "img_end", "imgpad"))
    inside, emptied = False, []
    for token in ids:
        inside = token == start or (inside and token != end)
        emptied.append(slot if inside and token != start else token)
    return emptied


@pytest.mark.parametrize("name", ASKED)
def test_ids_pixels_and_logits_are_the_official_ones(backends: dict[tuple[str, str], HfBackend], name: str) -> None:
    case, request = BY_NAME[name], request_of(name)
    backend = backends[case["config"], name.split("_")[0]]
    [[encoding]] = encode(backend, [request])
    assert encoding.ids.tolist() == with_empty_slots(case["ids"])
    for image, pixels in zip(ASKED[name][0], encoding.inputs["pixel_values"], strict=True):
        np.testing.assert_allclose(pixels[:, ::9, ::9], arrays()[f"pixels_sub__{image}"], rtol=0, atol=1e-6)
    [[logits]] = backend.last_logits([request])
    np.testing.assert_allclose(logits, arrays()[f"logits_last__{name}"], rtol=0, atol=1e-4)
    assert logits.argmax() == case["argmax"]


def test_all_cases_in_one_call_are_the_official_ones(backends: dict[tuple[str, str], HfBackend]) -> None:
    for key, backend in backends.items():
        names = [name for name in ASKED if (BY_NAME[name]["config"], name.split("_")[0]) == key]
        for name, [logits] in zip(names, backend.last_logits([request_of(name) for name in names]), strict=True):
            np.testing.assert_allclose(logits, arrays()[f"logits_last__{name}"], rtol=0, atol=1e-4)


def test_a_batch_matches_the_official_left_padded_one(backends: dict[tuple[str, str], HfBackend]) -> None:
    requests = [request_of(name) for name in CASES["left_padded_batch"]]
    got = backends["config.json", "chat"].last_logits(requests)
    np.testing.assert_allclose(np.concatenate(got), arrays()["logits_last__left_padded_batch"], rtol=0, atol=1e-4)


@torch.inference_mode()
def test_a_text_without_images_matches(backends: dict[tuple[str, str], HfBackend]) -> None:
    case, backend = BY_NAME["text_only"], backends["config.json", "chat"]
    vocabulary = read_vocabulary(GOLDEN)
    assert vocabulary.encode(case["text"]) == case["ids"]
    logits = backend.model(torch.tensor([case["ids"]])).logits[0, -1]
    np.testing.assert_allclose(logits, arrays()["logits_last__text_only"], rtol=0, atol=1e-4)


@torch.inference_mode()
def test_greedy_continuation_matches(backends: dict[tuple[str, str], HfBackend]) -> None:
    backend = backends["config.json", "chat"]
    [[encoding]] = encode(backend, [request_of("chat_two_q1")])
    pixels = torch.from_numpy(encoding.inputs["pixel_values"])
    ids = encoding.ids.tolist()
    for want in CASES["greedy_after_chat_two_q1"]:
        assert int(backend.model(torch.tensor([ids]), pixel_values=pixels).logits[0, -1].argmax()) == want
        ids.append(want)


def pixels_of(backend: HfBackend, name: str) -> torch.Tensor:
    """Return what the processor makes of a picture: (1, 3, side, side)."""
    made = backend._processor.image_processor([Image.fromarray(picture(name))], return_tensors="pt")
    return cast(torch.Tensor, made["pixel_values"])


@pytest.mark.parametrize("name", PICTURES)
@torch.inference_mode()
def test_image_tokens_match(backends: dict[tuple[str, str], HfBackend], name: str) -> None:
    backend = backends["config.json", "chat"]
    visual, pixels = backend.model.transformer.visual, pixels_of(backend, name)
    patches = visual.conv1(pixels).flatten(2).transpose(1, 2)[0] + spread(visual.positional_embedding, 1024)
    np.testing.assert_allclose(patches[::37], arrays()[f"patch_embed_sub__{name}"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(visual(pixels)[0], arrays()[f"features__{name}"], rtol=0, atol=1e-4)


def test_hidden_states_match(backends: dict[tuple[str, str], HfBackend]) -> None:
    for name in ASKED:
        backend = backends[BY_NAME[name]["config"], name.split("_")[0]]
        seen: list[torch.Tensor] = []
        hook = backend.model.transformer.h[0].register_forward_hook(lambda *given, seen=seen: seen.append(given[2]))
        backend.last_logits([request_of(name)])
        hook.remove()
        np.testing.assert_allclose(seen[0][0, -1], arrays()[f"hidden_mid_last__{name}"], rtol=0, atol=1e-4)


def test_label_words_and_special_tokens_have_the_official_ids() -> None:
    vocabulary = read_vocabulary(GOLDEN)
    for word, ids in CASES["label_words"].items():
        assert vocabulary.encode(word) == ids
    names = {"eod": PAD, "im_start": "<|im_start|>", "im_end": "<|im_end|>"} | {
        "img": IMAGE,
        "img_end": IMAGE_END,
        "imgpad": SLOT,
    }
    assert {name: vocabulary.id_of(token) for name, token in names.items()} == CASES["special"]
    for case in BY_NAME.values():
        ids = with_empty_slots(case["ids"])
        assert vocabulary.encode(vocabulary.decode(ids)) == ids


def test_the_tiny_model_has_the_official_names_and_shapes() -> None:
    model = empty_model(config_of(GOLDEN))
    shapes = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    assert shapes == json.loads((GOLDEN / "state_dict_shapes.json").read_text())
