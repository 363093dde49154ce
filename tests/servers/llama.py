"""llama.cpp's own server, built from the source that its Python package brings along, and a tiny model for it.

`python tests/servers/llama.py FOLDER` downloads and builds it there: 77 MB, and some 20 minutes of one core. Needs
cmake, ninja and a C++ compiler.
"""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

VERSION = "0.3.36"
"""Of llama-cpp-python."""

PARTS_OF_PYTHON = (
    "fastapi", "openai", "psutil", "python-multipart", "pyyaml", "requests", "sentencepiece", "tqdm", "uvicorn",
)  # fmt: skip
"""What the converter and `transformers serve` import beyond torch and transformers."""

BESIDE_TORCH = ("accelerate",)
"""What they import, too, and what would bring another torch along if its dependencies were installed with it."""

SWITCHES = {
    "CMAKE_BUILD_TYPE": "Release",
    "BUILD_SHARED_LIBS": "OFF",
    "LLAMA_BUILD_APP": "OFF",
    "LLAMA_BUILD_EXAMPLES": "OFF",
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_UI": "OFF",
    "LLAMA_OPENSSL": "OFF",
    "LLAMA_USE_PREBUILT_UI": "OFF",
}
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def source(folder: Path) -> Path:
    """Return where llama.cpp lies in the folder."""
    return folder / f"llama_cpp_python-{VERSION}" / "vendor" / "llama.cpp"


def program(folder: Path) -> Path:
    """Return where the server's program lies in the folder."""
    return folder / "build" / "bin" / "llama-server"


def build(folder: Path, *, jobs: int = 1) -> None:
    """Download and build what is not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    tools, wanted = folder / "tools", ("scikit-build-core", *PARTS_OF_PYTHON)
    installed, names = tools / "installed.txt", " ".join((*wanted, *BESIDE_TORCH))
    if not installed.is_file() or installed.read_text() != names:
        into_tools = [*pip, "install", "--upgrade", "--target", tools]
        subprocess.run([*into_tools, *wanted], check=True)
        subprocess.run([*into_tools, "--no-deps", *BESIDE_TORCH], check=True)
        installed.write_text(names)
    if not source(folder).is_dir():
        archive_only = ["--no-deps", "--no-build-isolation", "--no-binary", ":all:", f"llama-cpp-python=={VERSION}"]
        environment = {**os.environ, "PYTHONPATH": str(tools)}
        subprocess.run([*pip, "download", "--dest", folder, *archive_only], check=True, env=environment)
        with tarfile.open(folder / f"llama_cpp_python-{VERSION}.tar.gz") as archive:
            archive.extractall(folder, filter="data")
    if not program(folder).is_file():
        switches = [f"-D{name}={value}" for name, value in SWITCHES.items()]
        subprocess.run(["cmake", "-S", source(folder), "-B", folder / "build", "-G", "Ninja", *switches], check=True)
        subprocess.run(["ninja", "-C", folder / "build", f"-j{jobs}", "llama-server"], check=True)


def make_checkpoint(folder: Path) -> Path:
    """Write a tiny Qwen2-VL with random weights that both transformers and the converter read; return its folder."""
    import torch
    import transformers as tf

    from tiny_models import build as build_tiny

    build_tiny("qwen2_vl", folder, hub=True)
    config = tf.AutoConfig.from_pretrained(folder)
    config.vision_config.depth = 3  # the converter takes a part of the projector for the third block
    config.text_config.max_position_embeddings = 4096
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = tf.AutoModelForImageTextToText.from_config(config, dtype=torch.float32)
        for parameter in model.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.1)  # so that its answers differ from image to image
        model.save_pretrained(folder)
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    settings |= {"min_pixels": 4 * 28 * 28, "max_pixels": 1280 * 28 * 28}
    settings |= {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    return folder


def convert(checkpoint: Path, folder: Path, out: Path) -> tuple[Path, Path]:
    """Write the checkpoint in llama.cpp's format and return the files of the language and the vision part."""
    files = (out / "model.gguf", out / "mmproj.gguf")
    for file, extra in zip(files, ([], ["--mmproj"]), strict=True):
        command = [sys.executable, __file__, "--convert", checkpoint, "--outtype", "f32", "--outfile", file, *extra]
        path = os.pathsep.join([str(source(folder)), str(source(folder) / "gguf-py"), str(folder / "tools")])
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PYTHONPATH": path})
    return files


def _convert_here(arguments: list[str]) -> None:
    """Run the converter; the tokenizer is home-made, so it has to be told that it splits words as GPT-2 does."""
    import convert_hf_to_gguf
    from conversion.base import TextModel

    TextModel.get_vocab_base_pre = lambda *_: "gpt-2"
    sys.argv[1:] = arguments
    convert_hf_to_gguf.main()


@contextmanager
def running(folder: Path, model: Path, *extra: str | Path, port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the server as exactly as it can: one request at a time, nothing rounded to 16 bits.

    Args:
        folder: Where it was built.
        model: The language part.
        extra: More arguments.
        port: Of this machine.
        log: What the server says is added to this file.
    """
    exact = ["-np", "1", "-ctk", "f32", "-ctv", "f32", "-fa", "off", "-c", "4096", "-t", "1", "--jinja"]
    command = [program(folder), "-m", model, "--host", "127.0.0.1", "--port", str(port), *exact, *extra]
    with log.open("ab") as file, subprocess.Popen(command, stdout=file, stderr=file) as server:
        try:
            _wait(f"http://127.0.0.1:{port}/health", server)
            yield server
        finally:
            server.kill()


def _wait(url: str, server: subprocess.Popen[bytes]) -> None:
    while server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310  this machine
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.05)
    raise RuntimeError(f"llama-server ended with {server.returncode}")


if __name__ == "__main__":
    if sys.argv[1] == "--convert":
        _convert_here(sys.argv[2:])
    elif not (shutil.which("cmake") and shutil.which("ninja")):
        sys.exit("needs cmake and ninja to build llama-server")
    else:
        build(Path(sys.argv[1]).resolve(), jobs=int(os.environ.get("JOBS", "1")))
