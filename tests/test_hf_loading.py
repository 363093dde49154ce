"""Folders that are no complete checkpoint: each is refused in one line that names it."""

import json
import logging
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import huggingface_hub.errors
import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from contract import assert_same, pair
from evil_pickle import Evil
from qdebias.backends.checkpoint import locate
from qdebias.backends.hf.loading import load_hf
from qdebias.errors import BackendError, MissingPackageError, SettingError
from tiny_models import checkpoint


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of a checkpoint that a test may spoil."""
    return Path(shutil.copytree(checkpoint("llava"), tmp_path / "model"))


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def change_config(folder: Path, **values: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def to_pickle(folder: Path, content: object = None) -> None:
    path = folder / "model.safetensors"
    torch.save(content or load_file(path), folder / "pytorch_model.bin")
    path.unlink(missing_ok=True)


def refused(folder: Path, match: str) -> None:
    with pytest.raises(BackendError, match=match) as caught:
        load_hf(folder, device="cpu")
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_empty_folder(tmp_path: Path) -> None:
    refused(tmp_path, "has no config.json; a checkpoint folder has")


def test_no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    refused(folder, r"holds no weights \(\*.safetensors\); the download is incomplete")


@pytest.mark.parametrize("content", [b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", b""])
def test_weights_that_are_none(folder: Path, content: bytes) -> None:
    (folder / "model.safetensors").write_bytes(content)
    refused(folder, "damaged, truncated, or only a Git LFS pointer")


def test_truncated_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    refused(folder, "damaged, truncated, or only a Git LFS pointer")


def test_missing_tensors_are_never_made_up(folder: Path) -> None:
    change_weights(folder, lambda tensors: tensors.pop(max(tensors)))
    refused(folder, "lack 1 tensors of the model, such as ")


def test_tensor_of_another_shape(folder: Path) -> None:
    def cut(tensors: dict[str, torch.Tensor]) -> None:
        name = max(tensors)
        tensors[name] = tensors[name][..., :-1].contiguous()

    change_weights(folder, cut)
    refused(folder, r"weight .* has shape \(31,\), but \(32,\) by config.json \(1 such tensors\)")


def test_surplus_tensors_only_when_allowed(folder: Path) -> None:
    change_weights(folder, lambda tensors: tensors.update({"extra.weight": torch.zeros(3)}))
    refused(folder, "1 tensors that the model does not use, such as 'extra.weight'.* allow_surplus=True")
    allowed = load_hf(folder, device="cpu", allow_surplus=True)
    assert_same(
        allowed.option_logits([pair(1, 2)]), load_hf(checkpoint("llava"), device="cpu").option_logits([pair(1, 2)])
    )


def test_shard_that_is_not_there(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    save_file({names[0]: tensors[names[0]]}, folder / "model-00001-of-00002.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").unlink()
    places = {name: f"model-0000{1 + (name != names[0])}-of-00002.safetensors" for name in names}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    refused(folder, "model-00002-of-00002.safetensors: this file of weights is missing; the download is incomplete")


def test_pickled_weights_are_read(folder: Path) -> None:
    want = load_hf(folder, device="cpu").option_logits([pair(1, 2)])
    to_pickle(folder)
    torch.save({"arguments": print}, folder / "training_args.bin")  # lies beside many weights, and is none
    assert_same(load_hf(folder, device="cpu").option_logits([pair(1, 2)]), want)


def test_code_in_a_pickle_never_runs(folder: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    weights = load_file(folder / "model.safetensors")
    to_pickle(folder, {**weights, "extra": Evil(trace)})
    refused(folder, "holds more than weights, and that is never run")
    assert not trace.exists()
    torch.load(folder / "pytorch_model.bin", weights_only=False)
    assert trace.read_text() == "this was run", "the file would do what the test says it does"


def test_a_file_of_weights_that_changes_behind_a_loaded_model_changes_no_answer(folder: Path) -> None:
    """Weights that stay mapped follow their file: another score where it is overwritten, no process where it is cut."""
    (file,) = folder.glob("*.safetensors")
    backend = load_hf(folder, device="cpu")
    requests = [pair(1, 2)]
    before = backend.option_logits(requests)
    with file.open("r+b") as weights:
        weights.seek(-file.stat().st_size // 2, os.SEEK_END)
        weights.write(bytes(file.stat().st_size // 2))
    assert_same(backend.option_logits(requests), before)
    os.truncate(file, 100)
    assert_same(backend.option_logits(requests), before)


def test_pickles_are_not_read_by_a_torch_that_runs_their_code(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    to_pickle(folder)
    monkeypatch.setattr(torch, "__version__", "2.9.1+cpu")
    refused(folder, r"pickles \(\*.bin\), by which torch 2.9.1\+cpu can be made to run code .*; install torch 2.10")


@pytest.mark.parametrize("text", ["{", "[]", '"llava"'])
def test_damaged_config(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    refused(folder, "cannot be read as JSON|holds no JSON object")


def test_unknown_family(folder: Path) -> None:
    change_config(folder, model_type="llava_nine")
    refused(folder, "model type 'llava_nine' is unknown to transformers .*: use a model that transformers has")


def test_code_of_a_checkpoint_is_never_run(folder: Path) -> None:
    change_config(folder, model_type="own", auto_map={"AutoConfig": "own.Config", "AutoModel": "own.Model"})
    (folder / "own.py").write_text("raise SystemExit('this was run')")
    refused(folder, "model type 'own' is unknown .* Python code of its own, which qdebias never runs")


def test_code_beside_a_known_family_is_never_run(folder: Path) -> None:
    change_config(folder, auto_map={"AutoConfig": "own.Config", "AutoModelForImageTextToText": "own.Model"})
    for name in ("processor_config.json", "tokenizer_config.json"):
        path = folder / name
        extra = {"auto_map": {"AutoProcessor": "own.P", "AutoTokenizer": ["own.T", None]}}
        path.write_text(json.dumps(json.loads(path.read_text()) | extra))
    (folder / "own.py").write_text("raise SystemExit('this was run')")
    load_hf(folder, device="cpu")


def test_text_only_model(tmp_path: Path) -> None:
    transformers.LlamaConfig().save_pretrained(tmp_path)
    refused(tmp_path, "a model of type 'llama' does not answer questions about images")


@pytest.mark.parametrize("name", ["tokenizer.json", "processor_config.json"])
def test_missing_processor_files(folder: Path, name: str) -> None:
    (folder / name).unlink()
    refused(folder, "the processor cannot be loaded|does not fit")


def test_missing_chat_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    refused(folder, "has no chat template; put the model's own into chat_template.jinja")


def test_chat_template_of_the_tokenizer_serves(folder: Path) -> None:
    want = load_hf(folder, device="cpu").option_logits([pair(1, 2)])
    template = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").unlink()
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"chat_template": template}))
    assert_same(load_hf(folder, device="cpu").option_logits([pair(1, 2)]), want)


def test_package_that_a_processor_needs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.models.smolvlm.processing_smolvlm.num2words", None)
    with pytest.raises(MissingPackageError, match=r"smolvlm: its processor needs .*num2words"):
        load_hf(checkpoint("smolvlm"), device="cpu")


def test_no_such_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", "./nowhere", "a/b/c"):
        with pytest.raises(BackendError, match=r"nowhere: no such folder|a/b/c: no such folder"):
            load_hf(path, device="cpu")


def test_file_instead_of_a_folder(folder: Path) -> None:
    with pytest.raises(BackendError, match=r"is a file; a checkpoint is a folder"):
        load_hf(folder / "config.json", device="cpu")


def test_revision_of_a_folder(folder: Path) -> None:
    with pytest.raises(SettingError, match="revision 'v1' was given, but a folder has none"):
        load_hf(folder, device="cpu", revision="v1")


def test_hub_id_without_a_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(BackendError, match="somebody/nothing: is not on this machine and the hub cannot be reached"):
        load_hf("somebody/nothing", device="cpu")


COMMIT = 8 * "0a1b2"


@pytest.mark.parametrize(("ref", "revision"), [(COMMIT + "\n", None), ("", COMMIT[:7]), ("", COMMIT.upper())])
def test_snapshot_in_the_cache_that_the_hub_does_not_find_offline_is_named(
    ref: str, revision: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A ref that ends in a line break, as echo writes it, a short commit, one in capital letters."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    kept = tmp_path / "models--somebody--something"
    shutil.copytree(checkpoint("qwen2_vl"), kept / "snapshots" / COMMIT)
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text(ref)
    with pytest.raises(
        BackendError, match=rf"give its folder \(.*snapshots/{COMMIT} is here, but its refs do not name"
    ):
        load_hf("somebody/something", device="cpu", revision=revision)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (huggingface_hub.errors.RepositoryNotFoundError, "neither a folder nor a repository of the hub"),
        (huggingface_hub.errors.GatedRepoError, "accept their terms"),
        (huggingface_hub.errors.RevisionNotFoundError, "no revision 'v9'"),
        (huggingface_hub.errors.HfHubHTTPError, "the hub refused"),
        (huggingface_hub.errors.HFValidationError, "neither a folder nor a hub id"),
        (ConnectionError, "the hub cannot be reached"),
    ],
)
def test_hub_refusals(kind: type[Exception], words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise kind.__new__(kind)

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(BackendError, match=words):
        locate("somebody/model", "v9")


def test_hub_snapshot_is_named_by_its_commit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}

    def fetch(repository: str, **options: object) -> str:
        asked.update(options, repository=repository)
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    backend = load_hf("somebody/model", device="cpu", revision="v1")
    assert (asked["repository"], asked["revision"]) == ("somebody/model", "v1")
    assert ".bin" not in str(asked["allow_patterns"])
    assert "consolidated*" in str(asked["ignore_patterns"]), "Mistral's repositories hold all weights twice"
    assert backend.fingerprint.identity["model"] == "somebody/model"
    assert backend.fingerprint.identity["revision"] == "model"  # the name of the snapshot's folder


def test_hub_pickles_are_fetched_only_where_there_is_nothing_else(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[object, object]] = []

    def fetch(_: str, *, revision: str | None, allow_patterns: list[str], **__: object) -> str:
        if "pytorch_model*.bin" in allow_patterns:
            to_pickle(folder, torch.load(kept, weights_only=True))
        asked.append((revision, allow_patterns))
        return str(folder)

    kept = folder.parent / "kept"
    torch.save(load_file(folder / "model.safetensors"), kept)
    (folder / "model.safetensors").unlink()
    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    load_hf("somebody/model", device="cpu")
    assert asked[1:] == [("model", ["pytorch_model*.bin"])], "of the commit that the rest is of"


def test_local_folder_is_loaded_without_a_word_or_a_connection(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    def connect(*_: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", connect)
    from transformers.utils import logging as chatter

    before = (chatter.get_verbosity(), chatter.is_progress_bar_enabled(), logging.root.level)
    backend = load_hf(checkpoint("qwen2_5_vl"), device="cpu")
    backend.option_logits([pair(1, 2)])
    assert (chatter.get_verbosity(), chatter.is_progress_bar_enabled(), logging.root.level) == before
    captured = capfd.readouterr()
    assert (captured.out, captured.err, caplog.text) == ("", "", "")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"device": "gpu"}, "device 'gpu' is unknown; use"),
        ({"device": "cuda:99"}, r"torch sees \d+ CUDA devices"),
        ({"dtype": "int8"}, "dtype 'int8' is unknown; use one of auto, float32, bfloat16, float16"),
        ({"max_pixels": 50_000}, "known to the Qwen-VL family, not to CLIPImageProcessorPil"),
    ],
)
def test_impossible_settings(options: dict[str, str], match: str) -> None:
    with pytest.raises(SettingError, match=match):
        load_hf(checkpoint("llava"), **{"device": "cpu", **options})


def test_pixel_limits_that_exclude_each_other() -> None:
    with pytest.raises(SettingError, match="0 < min_pixels <= max_pixels must hold, got 5000 and 4000"):
        load_hf(checkpoint("qwen2_vl"), device="cpu", min_pixels=5000, max_pixels=4000)


def test_default_type_of_a_checkpoint_in_float32_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qdebias.backends.hf.devices.has_bfloat16_units", lambda: True)
    backend = load_hf(checkpoint("llava"), device="cpu")
    assert backend.fingerprint.identity["dtype"] == "float32"
    assert np.isfinite(backend.last_logits([pair(1, 2)])[0][0]).all()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere pages of a mapped file stay in memory")
def test_weights_do_not_lie_in_memory_twice(folder: Path) -> None:
    """But for the one that is being copied: here two make up nearly all, so the peak is 1.5 times the weights."""
    model = transformers.AutoModelForImageTextToText.from_pretrained(folder)
    model.resize_token_embeddings(1_600_000, mean_resizing=False)
    model.save_pretrained(folder)
    code = (
        "import sys; from qdebias.backends.hf.loading import load_hf; "
        "from qdebias.system.processes import peak_memory; "
        "load_hf(sys.argv[1]); before = peak_memory(); model = load_hf(sys.argv[2]).model; "
        "print(sum(weight.nbytes for weight in model.parameters()), peak_memory() - before)"
    )
    command = [sys.executable, "-c", code, str(checkpoint("llava")), str(folder)]
    held, peak = map(int, subprocess.run(command, capture_output=True, check=True, text=True).stdout.split())
    assert held > 390e6
    assert peak <= 1.7 * held


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate")])
def test_a_model_that_does_not_fit_the_memory(error: Exception, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(transformers.AutoModelForImageTextToText, "from_pretrained", too_large)
    with pytest.raises(BackendError, match=r"^the model does not fit into the memory of cpu; use a smaller model"):
        load_hf(folder, device="cpu")
