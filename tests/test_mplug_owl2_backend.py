"""mPLUG-Owl2 as a backend: the contract in each form, sharing, scores from end to end, and what is refused."""

import atexit
import functools
import json
import shutil
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers as tk
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from contract import LocalContract, pair, picture
from qdebias import presets
from qdebias.backends.base import Backend
from qdebias.backends.hf.backend import HfBackend
from qdebias.backends.hf.loading import load_hf
from qdebias.backends.mplug_owl2.modeling import MplugOwl2Config, MplugOwl2ForConditionalGeneration, MplugOwl2Model
from qdebias.backends.mplug_owl2.processing import FORMS
from qdebias.backends.verify import verify
from qdebias.cli.app import app
from qdebias.errors import BackendError, PromptError, SettingError
from qdebias.image import RgbImage
from qdebias.prompts import Request
from qdebias.runs.scorer import Scorer

VISION: dict[str, Any] = {
    "hidden_size": 32,
    "image_size": 42,
    "intermediate_size": 48,
    "layer_norm_eps": 1e-6,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "patch_size": 14,
}
ABSTRACTOR: dict[str, Any] = {
    "encoder_hidden_size": 32,
    "grid_size": 3,
    "hidden_size": 32,
    "intermediate_size": 40,
    "layer_norm_eps": 1e-6,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_learnable_queries": 6,
}
TINY: dict[str, Any] = {
    "architectures": ["MPLUGOwl2LlamaForCausalLM"],
    "auto_map": {"AutoModelForCausalLM": "modeling_mplug_owl2.MPLUGOwl2LlamaForCausalLM"},
    "hidden_size": 64,
    "image_aspect_ratio": "pad",
    "intermediate_size": 96,
    "max_position_embeddings": 512,
    "model_type": "mplug_owl2",
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 4,
    "rms_norm_eps": 1e-6,
    "visual_config": {"visual_model": VISION, "visual_abstractor": ABSTRACTOR},
}
IMAGES = {
    "crop_size": 42,
    "do_center_crop": True,
    "do_normalize": True,
    "do_resize": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "resample": 3,
    "size": 42,
}
SPECIAL = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]


def train(path: Path) -> int:
    """Write a byte-pair vocabulary that has every word of the presets' answers in one token; return its size."""
    tokenizer = tk.Tokenizer(tk.models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))  # noqa: S106
    tokenizer.pre_tokenizer = tk.pre_tokenizers.Metaspace(prepend_scheme="never")
    trainer = tk.trainers.BpeTrainer(vocab_size=2000, special_tokens=SPECIAL, show_progress=False)
    asked = [presets.get(name).method.qualities for name in ("paper", "released", "vanilla", "q-align")]
    texts = [f"{one.text} {one.answer_prefix}" for group in asked for one in group]
    words = (
        " excellent good fair poor bad Yes No Good Poor USER: The first second image: ASSISTANT: Do these two images"
    )
    tokenizer.train_from_iterator([*texts, words, f" {words}"] * 3, trainer)
    pieces = sorted(tokenizer.get_vocab(), key=tokenizer.token_to_id)
    path.write_bytes(sentencepiece(pieces))
    return len(pieces)


def sentencepiece(pieces: list[str], *, kind: int = 2) -> bytes:
    """Return a SentencePiece file, byte-pair (2) or unigram (1); a piece counts the more, the earlier it stands."""
    content = b""
    for rank, piece in enumerate(pieces):
        text, score = piece.encode(), struct.pack("<f", -rank)
        one = bytes([10, len(text), *text, 21, *score, 24, 3 if piece in SPECIAL else 1])
        content += bytes([10, len(one), *one])
    return content + bytes([18, 2, 24, kind])


@functools.cache
def checkpoint() -> Path:
    """Return the folder of a checkpoint with random weights; to be copied by whoever wants to change it."""
    store = tempfile.TemporaryDirectory(prefix="qdebias-tiny-owl2-")
    atexit.register(store.cleanup)
    folder = Path(store.name) / "owl2"
    folder.mkdir()
    size = train(folder / "tokenizer.model")
    (folder / "config.json").write_text(json.dumps(TINY | {"vocab_size": size}))
    (folder / "preprocessor_config.json").write_text(json.dumps(IMAGES))
    generator = torch.Generator().manual_seed(4)
    weights = {}
    with torch.device("meta"):
        model = MplugOwl2ForConditionalGeneration(MplugOwl2Config.from_dict(entries(folder)))
    for name, parameter in model.named_parameters():
        value = torch.empty(parameter.shape).normal_(generator=generator)
        if "norm" in name or "ffn_ln" in name:
            value = value / 10 + (1 if name.endswith("weight") else 0)
        elif value.dim() == 2 and not name.endswith("embed"):
            value = value / value.shape[1] ** 0.5
        weights[name] = value.to(torch.bfloat16)
    save_file(weights, folder / "model.safetensors")
    return folder


def entries(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return content


@functools.cache
def load_once(form: str = "score") -> HfBackend:
    return load_hf(checkpoint(), device="cpu", dtype="float32", form=form)


class TestContractOfScore(LocalContract):
    @pytest.fixture
    def backend(self) -> Backend:
        return load_once()


class TestContractOfConversation(LocalContract):
    @pytest.fixture
    def backend(self) -> Backend:
        return load_once("conversation")


class TestContractOfNamed(LocalContract):
    @pytest.fixture
    def backend(self) -> Backend:
        return load_once("named")


@pytest.mark.parametrize("form", FORMS)
def test_sharing_changes_no_logit(form: str) -> None:
    requests = [pair(1, 2), pair(1, 3), pair(2, 1, "after"), Request(images=(picture(4, 30, 90),), questions=(ASKED,))]
    want = load_hf(checkpoint(), device="cpu", dtype="float32", form=form, sharing="off").last_logits(requests)
    for got, one in zip(load_once(form).last_logits(requests), want, strict=True):
        np.testing.assert_allclose(got, one, rtol=0, atol=1e-5)


ASKED = presets.get("q-align").method.quality


def test_each_image_is_encoded_once_a_call(photo: RgbImage, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[int] = []
    original = MplugOwl2Model.get_image_features

    def counting(model: MplugOwl2Model, pixel_values: torch.Tensor) -> object:
        encoded.append(len(pixel_values))
        return original(model, pixel_values)

    monkeypatch.setattr(MplugOwl2Model, "get_image_features", counting)
    Scorer(backend=load_once(), method="paper").score(photo)
    assert sum(encoded) == 5, "the query image and its four degradations"


@pytest.mark.parametrize("method", ["q-align", "q-align-aesthetics", "vanilla", "paper", "released"])
def test_a_folder_is_scored_from_the_command_line(photo: RgbImage, tmp_path: Path, method: str) -> None:
    Image.fromarray(photo).save(tmp_path / "photo.png")
    command = ["score", str(tmp_path / "photo.png"), "--model", f"hf:{checkpoint()}", "--method", method]
    result = CliRunner().invoke(app, [*command, "--device", "cpu", "--json"])
    assert result.exit_code == 0, result.output
    assert 0 <= json.loads(result.stdout)["score"] <= 1


def test_an_image_is_padded_unless_the_checkpoint_says_otherwise(tmp_path: Path) -> None:
    request = Request(images=(picture(1, 30, 90),), questions=(ASKED,), placement="after")
    answers = []
    for aspect in ("pad", "resize", None):
        folder = copy(tmp_path / str(aspect))
        write(folder / "config.json", entries(folder) | {"image_aspect_ratio": aspect})
        answers.append(np.ravel(load_hf(folder, device="cpu", dtype="float32").option_logits([request])))
    assert np.abs(np.diff(answers, axis=0)).max(axis=1).min() > 1e-3
    np.testing.assert_array_equal(answers[0], np.ravel(load_once().option_logits([request])))


def test_a_checkpoint_is_verified(photo: RgbImage) -> None:
    def score(backend: Backend, method: str, image: RgbImage) -> dict[str, Any]:
        return {"value": Scorer(backend=backend, method=method).score(image).value}

    report = verify(checkpoint(), {"photo": photo}, score, device="cpu", dtype="float32")
    assert report["refused"] is None
    assert report["keys"]["missing"] == report["keys"]["surplus"] == report["keys"]["wrong_shape"] == []
    assert report["largest_difference_to_the_plain_way"] < 1e-4
    values = {method: scores["photo"]["value"] for method, scores in report["scores"].items()}
    assert set(values) == {"q-align", "q-align-aesthetics", "vanilla", "paper"}
    assert len(set(values.values())) == 4


def test_more_images_than_have_names_are_refused() -> None:
    request = Request(images=(picture(1, 30, 30),) * 5, questions=(ASKED,))
    with pytest.raises(PromptError, match="the chat template of this model refuses the question"):
        load_once("named").option_logits([request])
    assert np.isfinite(load_once().option_logits([request])[0][0]).all()


def copy(folder: Path) -> Path:
    return Path(shutil.copytree(checkpoint(), folder))


def write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content))


def refused(folder: Path, match: str) -> None:
    with pytest.raises(BackendError, match=match) as caught:
        load_hf(folder, device="cpu", dtype="float32")
    assert "\n" not in str(caught.value)


def part(name: str, **changed: Any) -> dict[str, Any]:
    return {"visual_config": {**TINY["visual_config"], name: {**TINY["visual_config"][name], **changed}}}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"hidden_size": "wide"}, "hidden_size is 'wide', not a number"),
        ({"attention_bias": True}, "attention_bias is True; only False is supported"),
        ({"rope_scaling": {"type": "linear", "factor": 2}}, "rope_scaling is .*; only None is supported"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'; only 'silu' is supported"),
        ({"num_attention_heads": 5}, "decoder: 64 channels are not 5 heads"),
        ({"visual_config": {"visual_model": VISION}}, "has no entry 'visual_config' with"),
        (part("visual_model", patch_size=None), "visual_model: patch_size is None, not a number"),
        (part("visual_model", num_channels=1), "visual_model: num_channels is 1; only 3 is supported"),
        (part("visual_abstractor", hidden_size=64), "differ in their channels"),
        (part("visual_abstractor", grid_size=4), "images of 42 pixels do not fit grid_size 4"),
        ({"image_aspect_ratio": "anyres"}, "image_aspect_ratio is 'anyres'; known are 'pad' and 'resize'"),
        ({"vocab_size": 300}, r"the vocabulary has \d+ tokens, but config.json says 300"),
    ],
)
def test_a_config_that_is_not_understood_is_refused(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    folder = copy(tmp_path / "owl2")
    write(folder / "config.json", entries(folder) | changed)
    refused(folder, message)


def test_weights_have_to_fit(tmp_path: Path) -> None:
    folder = copy(tmp_path / "owl2")
    name = "model.layers.0.self_attn.k_proj.multiway.1.weight"
    table = "model.visual_abstractor.encoder.layers.0.crossattention.attention.k_pos_embed"

    def change(edit: Callable[[dict[str, torch.Tensor]], object]) -> None:
        weights = load_file(checkpoint() / "model.safetensors")
        edit(weights)
        save_file(weights, folder / "model.safetensors")

    change(lambda weights: weights.update({"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8)}))
    request = pair(1, 2)
    np.testing.assert_array_equal(
        load_hf(folder, device="cpu", dtype="float32").option_logits([request]), load_once().option_logits([request])
    )
    for missing in (name, table):
        change(lambda weights, missing=missing: weights.pop(missing))
        refused(folder, f"the weights lack 1 tensors of the model, such as '{missing}'")
    change(lambda weights: weights.update({"base_model.lora_A.weight": torch.zeros(2)}))
    refused(folder, "1 tensors that the model does not use")


def test_files_beside_the_weights_have_to_be_there(tmp_path: Path) -> None:
    folder = copy(tmp_path / "owl2")
    write(folder / "preprocessor_config.json", IMAGES | {"size": 224})
    refused(folder, "preprocessor_config.json is missing, or is not for images of 42 pixels")
    (folder / "preprocessor_config.json").unlink()
    refused(folder, "preprocessor_config.json is missing")
    write(folder / "preprocessor_config.json", IMAGES)
    (folder / "tokenizer.model").unlink()
    refused(folder, "holds no vocabulary; it needs tokenizer.model")
    for damaged in (
        b"",
        b"version https://git-lfs.github.com/spec/v1\n",
        sentencepiece(SPECIAL)[:-1],
        sentencepiece(SPECIAL, kind=1),
    ):
        (folder / "tokenizer.model").write_bytes(damaged)
        refused(folder, "tokenizer.model: is damaged")
    (folder / "tokenizer.model").write_bytes(sentencepiece(["a", "b", "c"]))
    refused(folder, "tokenizer.model: does not begin with <unk>, <s> and </s>")
    with pytest.raises(SettingError, match="form 'chat' is unknown; use one of score, conversation, named"):
        load_hf(checkpoint(), device="cpu", dtype="float32", form="chat")
