"""mPLUG-Owl2 against the official code of Q-Align: ids, pixels, image tokens, states and logits."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tokenizers import Tokenizer

from contract import encode
from qdebias import presets
from qdebias.backends.hf.backend import HfBackend
from qdebias.backends.hf.loading import load_hf
from qdebias.backends.mplug_owl2.modeling import IMAGE_TOKEN, MplugOwl2Config, MplugOwl2ForConditionalGeneration
from qdebias.backends.mplug_owl2.processing import MARKER, MplugOwl2ImageProcessor, read_vocabulary
from qdebias.image import load_image
from qdebias.prompts import Question, Request
from qdebias.runs.scorer import Scorer

ATOL = 1e-4


@pytest.fixture(scope="module")
def golden(shared: Path) -> Path:
    return shared / "goldens" / "mplug_owl2"


@pytest.fixture(scope="module")
def cases(golden: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((golden / "cases.json").read_text())
    return content | {"asked": {case["name"]: case for case in content["cases"] if "prompt" in case}}


@pytest.fixture(scope="module")
def arrays(golden: Path) -> dict[str, torch.Tensor]:
    return load_file(golden / "arrays.safetensors")


@pytest.fixture(scope="module")
def backend(golden: Path) -> HfBackend:
    return load_hf(golden, device="cpu", dtype="float32")


def inputs_of(backend: HfBackend, golden: Path, case: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Return the model's arguments; where all frames of a clip fill one marker, one for each stands there instead."""
    pictures = [Image.open(golden / "images" / name) for name in case["images"]]
    text = case["prompt"]
    if text.count(MARKER) == 1:
        text = text.replace(MARKER, MARKER * len(pictures))
    made = backend._processor(images=[pictures] if pictures else None, text=[text], return_tensors="pt")
    return dict(made)


def run(backend: HfBackend, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the (L, vocabulary) logits."""
    dtype = backend.model.dtype
    cast = {name: value.to(dtype) if value.is_floating_point() else value for name, value in inputs.items()}
    with torch.inference_mode():
        return torch.as_tensor(backend.model(**cast).logits[0].float())


def assert_near(got: torch.Tensor, want: torch.Tensor, atol: float = ATOL) -> None:
    torch.testing.assert_close(got, want, rtol=0, atol=atol)


def test_ids_are_the_official_ones(backend: HfBackend, golden: Path, cases: dict[str, Any]) -> None:
    assert len(cases["asked"]) == 17
    for name, case in cases["asked"].items():
        ids = backend._processor.tokenizer.prompt(case["prompt"])
        assert ids == case["input_ids"], name
        merged = inputs_of(backend, golden, case)["input_ids"][0]
        places = torch.where(merged == IMAGE_TOKEN)[0].tolist()
        assert places == [place for start, end in case["image_spans"] for place in range(start, end)], name
        assert len(merged) == case["merged_length"], name


def test_pixels_and_image_tokens_match(
    backend: HfBackend, golden: Path, cases: dict[str, Any], arrays: dict[str, torch.Tensor]
) -> None:
    for name in cases["image_meta"]:
        picture = Image.open(golden / "images" / name)
        pixels = backend._processor.image_processor([picture], return_tensors="pt")["pixel_values"]
        torch.testing.assert_close(pixels[0], arrays[f"pixel_values/{name}"], rtol=0, atol=0)
        with torch.inference_mode():
            model = backend.model.model
            assert_near(model.vision_model(pixels)[0], arrays[f"vision/{name}"])
            assert_near(model.get_image_features(pixels).pooler_output[0], arrays[f"abstractor/{name}"])


def test_states_and_logits_match(
    backend: HfBackend, golden: Path, cases: dict[str, Any], arrays: dict[str, torch.Tensor]
) -> None:
    states: list[torch.Tensor] = []
    model, compared = backend.model.model, 0
    hooks = [model.layers[0].register_forward_pre_hook(lambda _, given: states.append(given[0][0]))]
    hooks += [layer.register_forward_hook(lambda _, __, made: states.append(made[0])) for layer in model.layers]
    try:
        for name, case in cases["asked"].items():
            states.clear()
            logits = run(backend, inputs_of(backend, golden, case))
            assert_near(logits[-1], arrays[f"last_logits/{name}"])
            kept = [*states[:-1], model.norm(states[-1])]
            wanted = {f"full_logits/{name}": logits} | {f"hidden/{name}/{place}": kept[place] for place in range(3)}
            wanted[f"hidden_last_pos/{name}"] = torch.stack([state[-1] for state in kept])
            for key, got in wanted.items():
                if key in arrays:
                    assert_near(got, arrays[key])
                    compared += 1
    finally:
        for hook in hooks:
            hook.remove()
    assert compared == 26


def test_words_that_follow_match_the_official_cache(
    backend: HfBackend, golden: Path, cases: dict[str, Any], arrays: dict[str, torch.Tensor]
) -> None:
    decoded = next(case for case in cases["cases"] if case["name"] == "decode/pair_good_bad")
    inputs = inputs_of(backend, golden, cases["asked"][decoded["start"]])
    tail = torch.tensor([decoded["tokens"]])
    inputs["input_ids"] = torch.cat([inputs["input_ids"], tail], dim=1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    want = arrays["decode_logits/pair_good_bad"]
    assert_near(run(backend, inputs)[-len(want) :], want)


def test_half_precision_stays_near_the_official_one(
    golden: Path, cases: dict[str, Any], arrays: dict[str, torch.Tensor], subtests: pytest.Subtests
) -> None:
    for dtype, short, atol in (("bfloat16", "bf16", 0.3), ("float16", "fp16", 0.05)):
        with subtests.test(dtype):
            backend = load_hf(golden, device="cpu", dtype=dtype)
            wanted = {key: want for key, want in arrays.items() if key.startswith(f"{short}_last_logits/")}
            assert len(wanted) == 6
            for key, want in wanted.items():
                case = cases["asked"][key.partition("/")[2]]
                assert_near(run(backend, inputs_of(backend, golden, case))[-1], want, atol)


def test_a_scored_clip_of_other_length_is_read_at_its_own_end(
    backend: HfBackend, golden: Path, cases: dict[str, Any], arrays: dict[str, torch.Tensor]
) -> None:
    """The official scorer pads a shorter clip on the right and reads behind it; here each is read where it ends."""
    question = Question(
        text="How would you rate the quality of this video?",
        answer_prefix="The quality of the video is",
        options=(" good", " poor"),
        values=(1.0, 0.0),
    )
    requests = [
        Request(images=tuple(load_image(golden / "images" / name) for name in clip), questions=(question,))
        for clip in cases["checks"]["ragged_clips"]["clips"]
    ]
    requests = [Request(images=one.images, questions=one.questions, placement="after") for one in requests]
    long, short = backend.last_logits(requests)
    np.testing.assert_allclose(long[0], arrays["last_logits/video/3frames"], rtol=0, atol=ATOL)
    np.testing.assert_allclose(short[0], arrays["last_logits/video/1frame"], rtol=0, atol=ATOL)
    assert np.abs(short[0] - arrays["ragged_official_last_logits/short_clip"].numpy()).max() > 1


def test_methods_give_the_official_scores(golden: Path, cases: dict[str, Any], subtests: pytest.Subtests) -> None:
    for method, form, case in (
        ("q-align", None, "quality"),
        ("q-align", "conversation", "conv_quality"),
        ("q-align-aesthetics", None, "aesthetics"),
    ):
        with subtests.test(case):
            scorer = Scorer(backend=load_hf(golden, device="cpu", dtype="float32", form=form), method=method)
            wanted = {name: one for name, one in cases["asked"].items() if name.startswith(f"{case}/")}
            assert wanted
            for name, want in wanted.items():
                score = scorer.score(golden / "images" / name.partition("/")[2])
                assert score.value == pytest.approx(want["score_1_0"], abs=1e-5), name
                assert 4 * (score.deviation or 0) == pytest.approx(want["std_5_1"], abs=1e-4), name


def test_the_default_method_gives_what_the_official_scorer_gives(golden: Path, cases: dict[str, Any]) -> None:
    scorer = Scorer(backend=load_hf(golden, device="cpu", dtype="float32"), method="q-align")
    official = cases["checks"]["official_scorers"]
    values = [scorer.score(golden / "images" / name).value for name in official["images"]]
    np.testing.assert_allclose(values, official["QAlignScorer"], rtol=0, atol=1e-5)


def test_other_published_prompts_are_reached_by_placement_and_form(golden: Path, cases: dict[str, Any]) -> None:
    question = presets.get("q-align-aesthetics").method.quality
    pair = Question(text="Which image has better quality, and why?", options=("Yes", "No"), values=(1.0, 0.0))
    odd, bad = (load_image(golden / "images" / name) for name in ("odd.png", "odd_bad.png"))
    for form, request, name in (
        ("score", Request(images=(odd,), questions=(question,)), "conv_aesthetics/odd.png"),
        ("named", Request(images=(odd, bad), questions=(pair,)), "pair/good_bad"),
    ):
        [[encoding]] = encode(load_hf(golden, device="cpu", dtype="float32", form=form), [request])
        shown = encoding.ids[encoding.ids != IMAGE_TOKEN].tolist()
        assert shown == [token for token in cases["asked"][name]["input_ids"] if token != IMAGE_TOKEN]
        assert len(encoding.ids) == cases["asked"][name]["merged_length"]


def test_the_vocabulary_is_the_one_of_the_official_fast_tokenizer(golden: Path, cases: dict[str, Any]) -> None:
    """They differ by design only behind a special token, where the slow one, which is official, adds no space."""
    vocabulary, fast = read_vocabulary(golden), Tokenizer.from_file(str(golden / "tokenizer.json"))
    assert len(vocabulary) == fast.get_vocab_size() == 420
    texts = [part for case in cases["asked"].values() for part in re.split(r"<\|image\|>|</s>", case["prompt"]) if part]
    for text in (*texts, "  two  spaces ", "naïve café \U0001f600\n\n"):
        assert vocabulary.prompt(text) == fast.encode(text).ids, text
        assert vocabulary.decode(vocabulary.encode(text)) == text
    assert [vocabulary.encode(f" {word}") for word in cases["level_words"]] == [[one] for one in cases["level_ids"]]
    assert vocabulary.prompt(f"{MARKER}a{MARKER}b") == [
        IMAGE_TOKEN,
        *fast.encode("a").ids,
        IMAGE_TOKEN,
        *fast.encode("b").ids,
    ]


def test_squares_of_the_true_size(golden: Path) -> None:
    wanted = json.loads((golden / "processor_448.json").read_text())
    settings = json.loads((golden / "preprocessor_config.json").read_text()) | {"size": 448, "crop_size": 448}
    for aspect, key in (("pad", "pad"), ("resize", "resize"), (None, "bare")):
        processor = MplugOwl2ImageProcessor.from_dict(dict(settings))
        processor.aspect = aspect
        for name, described in wanted["images"].items():
            pixels = processor([Image.open(golden / "images" / name)], return_tensors="np")["pixel_values"][0]
            mean, deviation = (np.array(settings[f"image_{what}"])[:, None, None] for what in ("mean", "std"))
            grey = np.rint((pixels * deviation + mean) * 255).astype(np.uint8)
            probes = [grey[:, row, column].tolist() for row, column in wanted["points_yx"]]
            assert probes == described[key]["probe_u8"], (key, name)
            np.testing.assert_allclose(grey.mean(axis=(1, 2)), described[key]["mean_u8"], atol=1e-4)


def test_the_full_model_has_the_official_names_and_shapes(golden: Path) -> None:
    shapes = json.loads((golden / "state_dict_q_align.json").read_text())
    shapes = shapes.get("tensors", shapes)
    entries = json.loads((golden / "config.json").read_text())
    parts = entries["visual_config"]
    parts["visual_model"] |= {"hidden_size": 1024, "image_size": 448, "intermediate_size": 4096}
    parts["visual_model"] |= {"num_attention_heads": 16, "num_hidden_layers": 24}
    parts["visual_abstractor"] |= {"encoder_hidden_size": 1024, "grid_size": 32, "hidden_size": 1024}
    parts["visual_abstractor"] |= {"intermediate_size": 2816, "num_attention_heads": 16, "num_hidden_layers": 6}
    parts["visual_abstractor"] |= {"num_learnable_queries": 64}
    entries |= {"hidden_size": 4096, "intermediate_size": 11008, "num_attention_heads": 32, "num_hidden_layers": 32}
    entries |= {"num_key_value_heads": 32, "vocab_size": 32000, "max_position_embeddings": 2048}
    with torch.device("meta"):
        model = MplugOwl2ForConditionalGeneration(MplugOwl2Config.from_dict(entries))
    assert {name: list(tensor.shape) for name, tensor in model.state_dict().items()} == shapes
    assert model.config.image_tokens == 65
