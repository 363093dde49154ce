import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from qdebias.backends import load
from qdebias.backends.catalogue import KNOWN_MODELS
from qdebias.backends.fake import FakeBackend
from qdebias.backends.load import backend_names, load_backend, split_arguments, with_arguments
from qdebias.errors import BackendError, MissingPackageError, SettingError
from qdebias.image import RgbImage
from tiny_models import checkpoint


def make_nothing() -> SimpleNamespace:
    return SimpleNamespace(option_logits=None)


def test_fake_takes_its_options() -> None:
    assert load_backend("fake", name="mine", delay=0.5) == FakeBackend(name="mine", delay=0.5, remember=False)


def test_factory_is_called_with_what_was_chosen() -> None:
    backend = load_backend("qdebias.backends.fake:FakeBackend", name="mine")
    assert backend == FakeBackend(name="mine")


@pytest.mark.parametrize("form", ["hf:{}", "{}"])
def test_folder_loads(form: str) -> None:
    backend = load_backend(form.format(checkpoint("llava")), device="cpu", dtype="bfloat16")
    assert backend.fingerprint.identity["dtype"] == "bfloat16"


@pytest.mark.parametrize(
    ("pairs", "arguments"),
    [
        (["enable_thinking=true"], {"enable_thinking": True}),
        (["effort=low", "steps=3", "share=0.5"], {"effort": "low", "steps": 3, "share": 0.5}),
        (
            ["date=1 Jan 2025, 12:00/a", "odd=a&b=c?d#e", "empty="],
            {"date": "1 Jan 2025, 12:00/a", "odd": "a&b=c?d#e", "empty": ""},
        ),
    ],
)
@pytest.mark.parametrize("spec", ["hf:/a folder/x", "nano", "openai:http://localhost:8000/v1?a=b#name"])
def test_arguments_of_the_template_stand_behind_the_name(spec: str, pairs: list[str], arguments: dict) -> None:
    assert split_arguments(spec) == (spec, {})
    assert split_arguments(with_arguments(spec, pairs)) == (spec, arguments)


def test_arguments_that_are_none() -> None:
    assert split_arguments("openai:http://localhost:8000/v1?a=b") == ("openai:http://localhost:8000/v1?a=b", {})
    for pair in ("thinking", "=1", "a-b=1"):
        with pytest.raises(SettingError, match="--template-arg is KEY=VALUE, such as enable_thinking=true, got"):
            with_arguments("nano", [pair])
    with pytest.raises(SettingError, match="does not read the argument 'effort'"):
        load_backend("nano?effort=low")
    with pytest.raises(SettingError, match=r"backend 'fake': .*template_args"):
        load_backend("fake?effort=low")


def test_nano_is_called_nano() -> None:
    assert load_backend("nano", device="cpu").fingerprint.identity["model"] == "nano"


@pytest.mark.parametrize("name", ["nanoo", "", "hf", "hf:", "nano:x", "fake:x", ":", "no such folder/x"])
def test_unknown_name_lists_what_there_is(name: str) -> None:
    with pytest.raises(
        SettingError,
        match=r"there are: nano, nano-biased, fake, mplug-owl3, .*bakllava, .*hf:<hub id or folder>|cannot be imported",
    ):
        load_backend(name)


def test_every_known_model_is_listed() -> None:
    assert {model.name for model in KNOWN_MODELS} <= set(backend_names())


@pytest.mark.parametrize("spec", ["no.such.module:make", "qdebias.backends.fake:NoSuchName"])
def test_factory_that_cannot_be_imported(spec: str) -> None:
    with pytest.raises(SettingError, match=f"{spec} cannot be imported"):
        load_backend(spec)


def test_factory_that_is_no_function() -> None:
    with pytest.raises(SettingError, match="has to be a function"):
        load_backend("qdebias.image:MAX_PIXELS")


def test_factory_that_gives_no_backend() -> None:
    with pytest.raises(SettingError, match="has no option_logits and fingerprint"):
        load_backend(f"{__name__}:make_nothing")


def test_unknown_option_lists_those_there_are() -> None:
    with pytest.raises(SettingError, match=r"'fake': .*'speed'; its options are: answer, name, delay, failing"):
        load_backend("fake", speed=1)
    with pytest.raises(SettingError, match=r"its options are: device, dtype, revision, .*max_pixels, allow_surplus"):
        load_backend("nano", trust_remote_code=True)


@pytest.mark.parametrize("form", ["hf:{}", "{}"])
def test_folders_of_our_own_models_are_recognised(form: str, tmp_path: Path) -> None:
    for config, refusal in (
        ({"model_type": "mplugowl3"}, "has no entry 'hidden_size'"),
        ({"model_type": "mplug_owl2"}, "has no entry 'hidden_size'"),
        ({"model_type": "qwen"}, "this Qwen sees no images"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(config))
        with pytest.raises(BackendError, match=refusal):
            load_backend(form.format(tmp_path), device="cpu")


@pytest.mark.parametrize(
    ("name", "maker", "bound"),
    [
        ("mplug-owl3", "load_hf", {"release": "240728"}),
        ("mplug-owl3-241101", "load_hf", {"release": "241101"}),
        ("one-align", "load_hf", ("q-future/one-align",)),
        ("qwen-vl", "load_hf", ("Qwen/Qwen-VL",)),
        ("qwen-vl-chat", "load_hf", ("Qwen/Qwen-VL-Chat",)),
        ("openai:http://localhost:8000#m", "load_openai", ("http://localhost:8000#m",)),
        ("vllm:a/b", "load_vllm", ("a/b",)),
    ],
)
def test_names_lead_to_their_loaders(name: str, maker: str, bound: object) -> None:
    found = load._NAMED[name]() if name in load._NAMED else load._find(name)
    assert isinstance(found, partial)
    assert found.func.__name__ == maker
    assert bound in (found.args, found.keywords)


@pytest.mark.parametrize("package", ["torch", "transformers"])
def test_absent_package_is_named_with_the_command(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == package else object())
    with pytest.raises(MissingPackageError, match=rf'{package} not installed: pip install "qdebias\[torch\]"'):
        load_backend("nano")


def test_old_transformers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda _: "5.9.1.dev0")
    with pytest.raises(MissingPackageError, match=r"transformers 5.9.1.dev0 is too old"):
        load_backend("nano")


def score_beside_broken_torchvision(model: str, folder: Path, photo: RgbImage) -> subprocess.CompletedProcess[str]:
    """In a process of its own: what transformers imports first decides where it would break."""
    package = folder / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    Image.fromarray(photo).save(folder / "photo.png")
    path = os.pathsep.join([str(folder), *sys.path])
    program = "import sys; from qdebias.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-X", "importtime", "-c", program, "score", str(folder / "photo.png"), "--model", model],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def test_broken_torchvision_is_refused_in_one_line(tmp_path: Path, photo: RgbImage) -> None:
    done = score_beside_broken_torchvision("mplug-owl3", tmp_path, photo)
    (said,) = (line for line in done.stderr.splitlines() if not line.startswith("import time:"))
    assert done.returncode == 2
    assert "torchvision is installed but broken (operator torchvision::nms does not exist)" in said
    assert "`pip uninstall torchvision`" in said


def test_nano_imports_neither_transformers_nor_torchvision(tmp_path: Path, photo: RgbImage) -> None:
    done = score_beside_broken_torchvision("nano", tmp_path, photo)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert done.returncode == 0, done.stderr
    assert "torch" in imported
    assert not {name for name in imported if name.split(".")[0] in ("transformers", "torchvision")}


@pytest.mark.parametrize(("name", "near"), [("nanoo", "nano"), ("Qwen2-VL-2b", "qwen2-vl-2b"), ("zzz", None)])
def test_a_mistyped_name_is_put_right(name: str, near: str | None) -> None:
    with pytest.raises(SettingError) as caught:
        load_backend(name)
    assert (f"(did you mean {near}?)" in str(caught.value)) == (near is not None)


def test_a_hub_id_needs_no_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("qdebias.backends.load._checkpoint", lambda source: asked.append(source) or FakeBackend)
    load_backend("Qwen/Qwen2-VL-2B-Instruct")
    assert asked == ["Qwen/Qwen2-VL-2B-Instruct"]
