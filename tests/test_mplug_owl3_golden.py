"""mPLUG-Owl3 against the official code: texts, ids, offsets, crops, features and logits."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
import torch
from safetensors.torch import load_file, save_file

from qdebias.backends.mplug_owl3.backend import MplugOwl3Backend
from qdebias.backends.mplug_owl3.conversation import Turn
from qdebias.backends.mplug_owl3.cutting import CUT_MODES, GRIDS, choose_grid, cut_mode
from qdebias.backends.mplug_owl3.load import load_mplug_owl3
from qdebias.backends.mplug_owl3.plain import trace
from qdebias.backends.mplug_owl3.processor import Processor, Prompt
from qdebias.backends.mplug_owl3.release import RELEASES
from qdebias.backends.mplug_owl3.rows import Row, batch_of, rows_of
from qdebias.backends.mplug_owl3.vocabulary import read_vocabulary
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
def backends(folders: dict[str, Path]) -> dict[str, MplugOwl3Backend]:
    return {version: load_mplug_owl3(folder, device="cpu") for version, folder in folders.items()}


def mode_of(case: dict[str, Any], backend: MplugOwl3Backend) -> str:
    if not case["cut_enable"]:
        return "off"
    official = backend.processor.release.name == "240728" and case["processor"] == "official"
    return "official-240728" if official else "fixed"


def prompt_and_pixels(backend: MplugOwl3Backend, case: dict[str, Any]) -> tuple[Prompt, torch.Tensor]:
    """Return the prompt of a case and all its crops, those without a marker included."""
    processor = backend.with_cut(mode_of(case, backend)).processor
    crops = [processor.crops(picture(name)) for name in case["images"]]
    turns = [Turn(message["role"], message["content"]) for message in case["messages"]]
    prompt = processor.prompt(turns, [crop.grid for crop in crops], case["force_prefix"] or "")
    return prompt, torch.from_numpy(np.concatenate([crop.pixels for crop in crops]))


@pytest.mark.parametrize(("version", "case"), cases())
def test_prompt_is_the_official_one(backends: dict[str, MplugOwl3Backend], version: str, case: dict[str, Any]) -> None:
    backend = backends[version]
    prompt, pixels = prompt_and_pixels(backend, case)
    assert prompt.text == case["expanded_text"]
    assert list(prompt.ids) == case["input_ids"]
    assert [backend.processor.release.media_offset(prompt.starts, len(prompt.ids))] == case["media_offset"]
    assert (len(pixels), len(prompt.starts)) == (case["n_pixel_tensors"], case["n_media_tokens"])


@pytest.mark.parametrize(("version", "case"), cases())
@torch.inference_mode()
def test_last_logits_match_on_both_ways(
    backends: dict[str, MplugOwl3Backend], version: str, case: dict[str, Any]
) -> None:
    backend, want = backends[version], arrays(version)[f"last_logits/{case['name']}"]
    prompt, pixels = prompt_and_pixels(backend, case)
    traced = trace(backend.model, prompt, pixels)
    torch.testing.assert_close(traced.logits[-1], want, rtol=0, atol=1e-4)
    torch.testing.assert_close(run(backend, [(prompt, pixels)])[0], want, rtol=0, atol=1e-4)
    if f"full_logits/{case['name']}" in arrays(version):
        torch.testing.assert_close(traced.logits, arrays(version)[f"full_logits/{case['name']}"], rtol=0, atol=1e-4)
        states = torch.stack([state[-1] for state in traced.hidden])
        torch.testing.assert_close(states, arrays(version)[f"hidden_last_pos/{case['name']}"], rtol=0, atol=1e-4)


def run(backend: MplugOwl3Backend, asked: list[tuple[Prompt, torch.Tensor]]) -> torch.Tensor:
    """Return the last logits of several prompts, each in a row of its own, in one padded batch."""
    rows, memory = [], []
    for number, (prompt, pixels) in enumerate(asked):
        rows.append(Row(prompts=(prompt,), crops=tuple((str(number), place) for place in range(len(prompt.starts)))))
        memory.append(backend.model.remember(pixels[: len(prompt.starts)], 2) if prompt.starts else [])
    batch = batch_of(rows, pad=backend.processor.vocabulary.pad, lag=backend.processor.release.lag)
    return backend.model.last_logits(batch, memory)


@pytest.mark.parametrize(("version", "case"), cases(batches=True))
@torch.inference_mode()
def test_batches_match_row_by_row(backends: dict[str, MplugOwl3Backend], version: str, case: dict[str, Any]) -> None:
    backend = backends[version]
    asked = [prompt_and_pixels(backend, by_name(version, name)) for name in case["members"]]
    if case["text_only"]:
        ids = tuple(case["input_ids"][-1][: case["lengths"][-1]])
        asked.append((Prompt(text="", ids=ids, starts=()), torch.empty(0)))
    rows = rows_of_each(asked)
    padded = batch_of(rows, pad=backend.processor.vocabulary.pad, lag=backend.processor.release.lag)
    assert padded.ids.tolist() == case["input_ids"]
    want = arrays(version)[f"batch_last_logits/{case['name']}"]
    torch.testing.assert_close(run(backend, asked), want, rtol=0, atol=1e-4)


def rows_of_each(asked: list[tuple[Prompt, torch.Tensor]]) -> list[Row]:
    keys = [("any", place) for place in range(20)]
    return [rows_of([prompt], keys)[0] for prompt, _ in asked]


@pytest.mark.parametrize("version", ["240728", "241101"])
@torch.inference_mode()
def test_bfloat16_stays_near_the_official_bfloat16(folders: dict[str, Path], version: str) -> None:
    backend = load_mplug_owl3(folders[version], device="cpu", dtype="bfloat16")
    wanted = {name: want for name, want in arrays(version).items() if name.startswith("bf16_last_logits/")}
    assert wanted
    for name, want in wanted.items():
        asked = prompt_and_pixels(backend, by_name(version, name.split("/")[1]))
        torch.testing.assert_close(run(backend, [asked])[0], want, rtol=0, atol=0.15)


@pytest.mark.parametrize("version", ["240728", "241101"])
@torch.inference_mode()
def test_crops_and_features_match(backends: dict[str, MplugOwl3Backend], version: str) -> None:
    backend = backends[version].with_cut("fixed")
    same_pillow = PIL.__version__ == golden(version)["env"]["pillow"]
    for name, want in arrays(version).items():
        if not name.startswith("pixel_u8/"):
            continue
        image = name.split("/")[1]
        crops = backend.processor.crops(picture(image))
        meta = golden(version)["image_meta"][f"{image}/cut"]
        assert [list(crops.grid or ()), [1, 1]] == meta["cut_shape"]
        pixels = torch.from_numpy(crops.pixels)
        torch.testing.assert_close(pixels.int(), want.int(), rtol=0, atol=0 if same_pillow else 1)
        uncut = torch.from_numpy(backends[version].processor.crops(picture(image)).pixels)
        torch.testing.assert_close(uncut, pixels[-1:])
        torch.testing.assert_close(backend.model.encode(want), arrays(version)[f"feat/{image}/cut"], rtol=0, atol=1e-4)
    hidden = backend.model.vision_model(arrays(version)["pixel_u8/landscape.png/cut"][-1:])
    torch.testing.assert_close(hidden, arrays(version)["vision_hidden_m2/landscape.png"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("release", ["240728", "241101"])
def test_grids_texts_and_crops_at_the_true_size(release: str) -> None:
    want = REAL_SIZES[release]
    side = want["image_size"]
    for width, height, grid in want["grid_table"]:
        assert list(choose_grid(width, height, side)) == grid, (width, height)
    assert [list(grid) for grid in GRIDS] == want["default_cut_cfg"]["order"]
    for name, text in want["cut_text"].items():
        rows, columns = map(int, name.split("x"))
        assert RELEASES[release].tiles_text((rows, columns)) == text
    exact = PIL.__version__ == want["pillow"]
    for path, described in want["crops"].items():
        crops = CUT_MODES["fixed"].crops(picture(path.split("/")[-1]), side)
        assert list(crops.grid or ()) == described["grid"]
        assert len(crops.pixels) == len(described["crops"])
        for pixels, crop in zip(crops.pixels, described["crops"], strict=True):
            np.testing.assert_allclose(pixels.reshape(3, -1).mean(axis=1), crop["mean_rgb"], atol=1e-4 if exact else 1)
            if exact:
                assert sha256(pixels) == crop["sha256_u8_chw"]


def sha256(pixels: np.ndarray[Any, Any]) -> str:
    import hashlib

    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


def test_a_request_gives_the_ids_and_pixels_of_the_authors_script(backends: dict[str, MplugOwl3Backend]) -> None:
    """The recipe without a prefix is what their script computed, as the stock processor drops the prefix they gave."""
    backend = backends["240728"].with_cut("official-240728")
    case = by_name("240728", "qdebias_quality_cut")
    assert case["messages"][1]["content"] == "The quality of the image is "
    text = case["messages"][0]["content"].removeprefix("<|image|><|image|> ")
    question = Question(text=text, options=("Good", "Poor"), values=(1, 0))
    request = Request(images=tuple(picture(name) for name in case["images"]), questions=(question,))
    [[encoding]] = backend.encode([request])
    assert encoding.ids.tolist() == case["input_ids"]
    assert [encoding.inputs["media_offset"].tolist()] == case["media_offset"]
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
        assert vocabulary.encode(text) == ids, text
        assert vocabulary.decode(ids) == text
    for case in expected["cases"]:
        release = RELEASES[case["version"]]
        cutting = "official-240728" if release.name == "240728" else "fixed"
        mode = cut_mode(cutting if case["cut_enable"] else "off", release)
        processor = Processor(vocabulary=vocabulary, release=release, side=384, cut=mode)
        turns = [Turn(message["role"], message["content"]) for message in case["messages"]]
        grids = [choose_grid(*size, 384) if case["cut_enable"] else None for size in case["image_sizes"]]
        prompt = processor.prompt(turns, grids)
        assert list(prompt.ids) == case["input_ids"]
        assert list(prompt.starts) == case["media_starts"]
        if case["media_offset_last"] is not None:
            assert release.media_offset(prompt.starts, len(prompt.ids))[-1] == case["media_offset_last"]
