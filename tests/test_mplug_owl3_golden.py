"""mPLUG-Owl3 against the official code: texts, ids, offsets, crops, features and logits."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import PIL.Image
import pytest
import torch
from safetensors.torch import load_file, save_file

from contract import encode
from plain_mplug_owl3 import media_offset, trace
from qdebias.backends.hf.backend import CuttingBackend
from qdebias.backends.hf.loading import load_hf
from qdebias.backends.mplug_owl3.processing import (
    GRIDS,
    TEMPLATE,
    MplugOwl3ImageProcessor,
    MplugOwl3Processor,
    choose_grid,
    cut_mode,
    read_vocabulary,
    tiles_text,
)
from qdebias.image import RgbImage, load_image
from qdebias.prompts import Question, Request

GOLDEN = Path(__file__).parent / "golden" / "mplug_owl3"
VERSIONS = ("240728", "240728_headgate", "241101")
REAL_SIZES = json.loads((GOLDEN / "processor_real_sizes.json").read_text())


@cache
def golden(version: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((GOLDEN / version / "cases.json").read_text())
    return content


@cache
def arrays(version: str) -> dict[str, torch.Tensor]:
    return load_file(GOLDEN / version / "arrays.safetensors")


@cache
def picture(name: str) -> RgbImage:
    return load_image(GOLDEN / "images" / name)


def shown(name: str) -> PIL.Image.Image:
    return PIL.Image.fromarray(picture(name))


def cases(*, batches: bool = False) -> list[Any]:
    return [
        pytest.param(version, case, id=f"{version}-{case['name']}")
        for version in VERSIONS
        for case in golden(version)["cases"]
        if case.get("kind") == ("batch" if batches else None)
    ]


def by_name(version: str, name: str) -> dict[str, Any]:
    return next(case for case in golden(version)["cases"] if case["name"] == name)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint folder for each version; that of the head-wise gate is put together of two."""
    made = tmp_path_factory.mktemp("headgate")
    weights = load_file(GOLDEN / "240728" / "model.safetensors")
    gates = load_file(GOLDEN / "240728_headgate" / "gate_proj.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if not name.endswith(".self_attn.gate")}
    save_file(kept | gates, made / "model.safetensors")
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (made / name).write_bytes((GOLDEN / "240728" / name).read_bytes())
    return {"240728": GOLDEN / "240728", "240728_headgate": made, "241101": GOLDEN / "241101"}


@pytest.fixture(scope="module")
def backends(folders: dict[str, Path]) -> dict[str, CuttingBackend]:
    return {version: load(folder) for version, folder in folders.items()}


def load(folder: Path, dtype: str = "float32") -> CuttingBackend:
    backend = load_hf(folder, device="cpu", dtype=dtype)
    assert isinstance(backend, CuttingBackend)
    return backend


def mode_of(case: dict[str, Any], release: str) -> str:
    if not case["cut_enable"]:
        return "off"
    return "official-240728" if release == "240728" and case["processor"] == "official" else "fixed"


def prompt_of(processor: MplugOwl3Processor, case: dict[str, Any]) -> str:
    """Return the conversation of a case as text; of what the assistant says last only a forced prefix is left."""
    turns, opened = case["messages"], case["messages"][-1]["role"] == "assistant"
    text = processor.apply_chat_template(turns[:-1] if opened else turns, add_generation_prompt=opened)
    return text + (case["force_prefix"] or "")


def inputs_of(backend: CuttingBackend, case: dict[str, Any]) -> dict[str, Any]:
    processor = backend.with_cut(mode_of(case, backend.model.config.release))._processor
    pictures = [shown(name) for name in case["images"]]
    made = processor(images=[pictures] if pictures else None, text=[prompt_of(processor, case)], return_tensors="pt")
    return dict(made)


def offset_of(inputs: Mapping[str, Any], release: str) -> list[list[int]] | list[int]:
    """Return the `media_offset` that the official model takes, from where our processor marks images."""
    begins = np.asarray(inputs["mm_token_type_ids"]).reshape(-1)
    return media_offset(release, np.flatnonzero(begins).tolist(), len(begins))


def run(backend: CuttingBackend, inputs: dict[str, Any]) -> torch.Tensor:
    """Return the (L, vocabulary) logits."""
    with torch.inference_mode():
        return torch.as_tensor(backend.model(**inputs).logits[0].float())


@pytest.mark.parametrize(("version", "case"), cases())
def test_prompt_is_the_official_one(backends: dict[str, CuttingBackend], version: str, case: dict[str, Any]) -> None:
    backend = backends[version]
    processor = backend.with_cut(mode_of(case, backend.model.config.release))._processor
    crops = processor.image_processor([shown(name) for name in case["images"]], return_tensors="np")
    assert processor.expanded(prompt_of(processor, case), crops["grids"].tolist()) == case["expanded_text"]
    inputs = inputs_of(backend, case)
    assert inputs["input_ids"].tolist() == [case["input_ids"]]
    assert [offset_of(inputs, backend.model.config.release)] == case["media_offset"]
    assert len(crops["pixel_values"]) == case["n_pixel_tensors"]
    assert len(inputs["pixel_values"]) == int((inputs["mm_token_type_ids"] == 1).sum()) == case["n_media_tokens"]


@pytest.mark.parametrize(("version", "case"), cases())
@torch.inference_mode()
def test_last_logits_match_on_both_ways(
    backends: dict[str, CuttingBackend], version: str, case: dict[str, Any]
) -> None:
    backend, want = backends[version], arrays(version)[f"last_logits/{case['name']}"]
    inputs = inputs_of(backend, case)
    starts = (inputs["mm_token_type_ids"][0] == 1).nonzero()[:, 0].tolist()
    traced = trace(backend.model, case["input_ids"], starts, inputs["pixel_values"])
    logits = run(backend, inputs)
    torch.testing.assert_close(traced.logits[-1], want, rtol=0, atol=1e-4)
    torch.testing.assert_close(logits[-1], want, rtol=0, atol=1e-4)
    if f"full_logits/{case['name']}" in arrays(version):
        full = arrays(version)[f"full_logits/{case['name']}"]
        torch.testing.assert_close(traced.logits, full, rtol=0, atol=1e-4)
        torch.testing.assert_close(logits, full, rtol=0, atol=1e-4)
        states = torch.stack([state[-1] for state in traced.hidden])
        torch.testing.assert_close(states, arrays(version)[f"hidden_last_pos/{case['name']}"], rtol=0, atol=1e-4)


@pytest.mark.parametrize(("version", "case"), cases(batches=True))
@torch.inference_mode()
def test_batches_match_row_by_row(backends: dict[str, CuttingBackend], version: str, case: dict[str, Any]) -> None:
    """The official batches are padded on the right; here rows are batched only where they are of one length."""
    backend = backends[version]
    asked = [inputs_of(backend, by_name(version, name)) for name in case["members"]]
    if case["text_only"]:
        ids = torch.tensor([case["input_ids"][-1][: case["lengths"][-1]]])
        asked.append({"input_ids": ids})
    lengths = case["lengths"]
    assert [one["input_ids"][0].tolist() for one in asked] == [
        ids[:length] for ids, length in zip(case["input_ids"], lengths, strict=True)
    ]
    want = arrays(version)[f"batch_last_logits/{case['name']}"]
    for row, inputs in enumerate(asked):
        torch.testing.assert_close(run(backend, inputs)[-1], want[row], rtol=0, atol=1e-4)


@pytest.mark.parametrize("version", ["240728", "241101"])
@torch.inference_mode()
def test_decoding_goes_on_as_officially(backends: dict[str, CuttingBackend], version: str) -> None:
    (case,) = (case for case in golden(version)["cases"] if case.get("kind") == "decode")
    inputs, count = inputs_of(backends[version], by_name(version, case["start"])), len(case["tokens"])
    inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.tensor([case["tokens"]])], dim=1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    inputs["mm_token_type_ids"] = torch.nn.functional.pad(inputs["mm_token_type_ids"], (0, count))
    want = arrays(version)["decode_logits"]
    torch.testing.assert_close(run(backends[version], inputs)[-len(want) :], want, rtol=0, atol=1e-4)


@pytest.mark.parametrize("version", ["240728", "241101"])
@torch.inference_mode()
def test_bfloat16_stays_near_the_official_bfloat16(folders: dict[str, Path], version: str) -> None:
    backend = load(folders[version], "bfloat16")
    wanted = {name: want for name, want in arrays(version).items() if name.startswith("bf16_last_logits/")}
    assert wanted
    for name, want in wanted.items():
        inputs = inputs_of(backend, by_name(version, name.split("/")[1]))
        torch.testing.assert_close(run(backend, inputs)[-1], want, rtol=0, atol=0.15)


@pytest.mark.parametrize("version", ["240728", "241101"])
@torch.inference_mode()
def test_crops_and_features_match(backends: dict[str, CuttingBackend], version: str) -> None:
    model, cut, uncut = (backends[version].model, *(processor_of(backends[version], mode) for mode in ("fixed", "off")))
    same_pillow = PIL.__version__ == golden(version)["env"]["pillow"]
    for name, want in arrays(version).items():
        if not name.startswith("pixel_u8/"):
            continue
        image = name.split("/")[1]
        crops = cut([shown(image)], return_tensors="pt")
        meta = golden(version)["image_meta"][f"{image}/cut"]
        assert [crops["grids"][0].tolist(), [1, 1]] == meta["cut_shape"]
        scaled = (want.float() / 255 - 0.5) / 0.5
        atol = 0 if same_pillow else 2.1 / 255
        torch.testing.assert_close(crops["pixel_values"], scaled, rtol=0, atol=atol)
        whole = uncut([shown(image)], return_tensors="pt")["pixel_values"]
        torch.testing.assert_close(whole, crops["pixel_values"][-1:])
        features = model.get_image_features(scaled).last_hidden_state
        torch.testing.assert_close(features, arrays(version)[f"feat/{image}/cut"], rtol=0, atol=1e-4)
    last = (arrays(version)["pixel_u8/landscape.png/cut"][-1:].float() / 255 - 0.5) / 0.5
    hidden = model.image_tokens(last)
    torch.testing.assert_close(hidden, arrays(version)["vision_hidden_m2/landscape.png"], rtol=0, atol=1e-5)


def processor_of(backend: CuttingBackend, cut: str) -> MplugOwl3ImageProcessor:
    processor: MplugOwl3ImageProcessor = backend.with_cut(cut)._processor.image_processor
    return processor


@pytest.mark.parametrize("release", ["240728", "241101"])
def test_grids_texts_and_crops_at_the_true_size(release: str) -> None:
    want = REAL_SIZES[release]
    side = want["image_size"]
    for width, height, grid in want["grid_table"]:
        assert list(choose_grid(width, height, side)) == grid, (width, height)
    assert [list(grid) for grid in GRIDS] == want["default_cut_cfg"]["order"]
    for name, text in want["cut_text"].items():
        rows, columns = map(int, name.split("x"))
        assert tiles_text((rows, columns), release) == text
    exact = PIL.__version__ == want["pillow"]
    for path, described in want["crops"].items():
        crops, cut = MplugOwl3ImageProcessor(side, "fixed").crops(picture(path.split("/")[-1]))
        assert list(cut or ()) == described["grid"]
        assert len(crops) == len(described["crops"])
        for pixels, crop in zip(crops, described["crops"], strict=True):
            np.testing.assert_allclose(pixels.reshape(3, -1).mean(axis=1), crop["mean_rgb"], atol=1e-4 if exact else 1)
            if exact:
                assert sha256(pixels) == crop["sha256_u8_chw"]


def sha256(pixels: np.ndarray[Any, Any]) -> str:
    import hashlib

    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


def test_a_request_gives_the_ids_and_pixels_of_the_authors_script(backends: dict[str, CuttingBackend]) -> None:
    """The recipe without a prefix is what their script computed, as the stock processor drops the prefix they gave."""
    backend = backends["240728"].with_cut("official-240728")
    case = by_name("240728", "qdebias_quality_cut")
    assert case["messages"][1]["content"] == "The quality of the image is "
    text = case["messages"][0]["content"].removeprefix("<|image|><|image|> ")
    question = Question(text=text, options=("Good", "Poor"), values=(1, 0))
    request = Request(images=tuple(picture(name) for name in case["images"]), questions=(question,))
    [[encoding]] = encode(backend, [request])
    assert encoding.ids.tolist() == case["input_ids"]
    assert [offset_of(encoding.inputs, "240728")] == case["media_offset"]
    assert len(encoding.inputs["pixel_values"]) == case["n_media_tokens"]
    want = arrays("240728")["pixel_u8/landscape_bad.png/cut"], arrays("240728")["pixel_u8/landscape.png/cut"]
    scaled = (torch.cat(want)[: case["n_media_tokens"]] / 255 - 0.5) / 0.5
    atol = 0 if PIL.__version__ == golden("240728")["env"]["pillow"] else 2.1 / 255
    np.testing.assert_allclose(encoding.inputs["pixel_values"], scaled.numpy(), rtol=0, atol=atol)
    [[logits]] = backend.option_logits([request])
    want_logits = [case["answer_logits"]["Good"], case["answer_logits"]["Poor"]]
    np.testing.assert_allclose(logits, want_logits, rtol=0, atol=1e-4)


def test_ids_of_the_real_vocabulary(shared: Path) -> None:
    vocabulary = read_vocabulary(shared / "qwen2_tokenizer")
    expected = json.loads((shared / "goldens" / "mplug_owl3" / "real_tokenizer_cases.json").read_text())
    assert len(vocabulary) == expected["len"]
    for text, ids in expected["strings"].items():
        assert vocabulary.encode(text, add_special_tokens=False) == ids, text
        assert vocabulary.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False) == text
    for case in expected["cases"]:
        release = case["version"]
        cutting = "official-240728" if release == "240728" else "fixed"
        mode = cut_mode(cutting if case["cut_enable"] else "off", release)
        processor = MplugOwl3Processor(MplugOwl3ImageProcessor(384, mode), vocabulary, TEMPLATE)
        processor.release = release
        pictures = [np.zeros((height, width, 3), dtype=np.uint8) for width, height in case["image_sizes"]]
        text = prompt_of(processor, case | {"force_prefix": None})
        made = processor(images=[[PIL.Image.fromarray(one) for one in pictures]] if pictures else None, text=[text])
        assert made["input_ids"] == [case["input_ids"]]
        assert np.flatnonzero(made["mm_token_type_ids"][0]).tolist() == case["media_starts"]
        if case["media_offset_last"] is not None:
            assert offset_of(made, release)[-1] == case["media_offset_last"]
