"""A report on a checkpoint that somebody has and we may not: what it holds, how it is understood, what it answers.

It settles what could not be compared with published weights, the gate of mPLUG-Owl3-240728 above all: of a checkpoint
that is refused, the report says everything that the next version needs to know. It holds no weights and no images.
"""

import json
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
import transformers

from qdebias import __version__
from qdebias.backends.base import Backend
from qdebias.backends.checkpoint import Checkpoint, locate
from qdebias.backends.hf.backend import HfBackend
from qdebias.backends.hf.loading import load_hf
from qdebias.backends.hf.pretrained import described
from qdebias.backends.hf.weights import WeightFiles, weight_files
from qdebias.errors import BackendError
from qdebias.image import RgbImage
from qdebias.prompts import Question, Request
from qdebias.system.output import write_file

Score: TypeAlias = Callable[[Backend, str, RgbImage], Mapping[str, Any]]
"""Scores one image by the method of that name; what it returns goes into the report as it is."""

METHODS = ("vanilla", "paper", "released")

METHODS_OF: Mapping[str, tuple[str, ...]] = {"mplug_owl2": ("q-align", "q-align-aesthetics", "vanilla", "paper")}
"""For models that others than `METHODS` suit, by the `model_type` of config.json."""

_TELLING = re.compile(r"language_model\..*\.self_attn\.(?![qkvo]_proj\.)|vision2text_model\.")
"""Names of weights that differ between releases of mPLUG-Owl3."""

_QUESTION = Question(
    text="Rate the quality of the image. Good or poor?",
    answer_prefix="The quality of the image is",
    options=(" good", " poor"),
    values=(1.0, 0.0),
)
_OTHER = Question(text="Do these two images describe the same object? Yes or no?", options=("Yes", "No"), values=(1, 0))


def verify(
    source: str | Path,
    images: Mapping[str, RgbImage],
    score: Score,
    *,
    device: str | None = None,
    dtype: str | None = None,
    revision: str | None = None,
) -> dict[str, Any]:
    """Load a checkpoint and return the report, which `json` can write.

    Args:
        source: A checkpoint folder or hub id.
        images: Photographs by name.
        score: Scores one of them; the caller's, as no model knows a method.
        device: See `load_hf`, as the rest.
        dtype: The same.
        revision: The same.

    Raises:
        BackendError: The checkpoint cannot be read at all. One that can be read and is refused gives a report with
            the reason under "refused".
    """
    checkpoint = locate(source, revision)
    files = weight_files(checkpoint.folder)
    report: dict[str, Any] = {"qdebias": __version__, "model": checkpoint.name, "revision": checkpoint.revision}
    report |= {"config": checkpoint.read_json("config.json"), "weights": _weights(files), "refused": None}
    start = time.monotonic()
    try:
        report["keys"] = _keys(checkpoint)
        backend = load_hf(checkpoint.folder, device=device, dtype=dtype)
    except BackendError as error:
        return report | {"refused": str(error)}
    report |= {"identity": dict(backend.fingerprint.identity), "environment": dict(backend.fingerprint.environment)}
    report |= {"seconds_to_load": round(time.monotonic() - start, 1), "memory": _memory(backend)}
    if images:
        report["largest_difference_to_the_plain_way"] = _difference(backend, next(iter(images.values())))
    methods = METHODS_OF.get(report["config"].get("model_type"), METHODS)
    return report | {"scores": {method: _scores(backend, method, images, score) for method in methods}}


def write_report(report: Mapping[str, Any], path: Path) -> None:
    """Write a report as JSON, as it is to be sent."""
    write_file(path, json.dumps(report, indent=1, ensure_ascii=False) + "\n")


def _weights(files: WeightFiles) -> dict[str, Any]:
    """Describe the weights: all that was not certain by name, shape and range, of the rest the number."""
    model = re.compile(r"(language_model|vision_model|model|lm_head|transformer)\.")
    telling = {
        name: list(shape) for name, shape in files.shapes.items() if _TELLING.match(name) or not model.match(name)
    }
    ranges = {name: _range(files.tensor(name)) for name in telling if ".self_attn.gate" in name}
    return {"count": len(files.shapes), "telling": telling, "gates": ranges}


def _range(tensor: torch.Tensor) -> dict[str, Any]:
    values = tensor.float()
    low, high, mean = (round(float(value), 5) for value in (values.min(), values.max(), values.mean()))
    return {"dtype": str(tensor.dtype).removeprefix("torch."), "min": low, "mean": mean, "max": high}


def _keys(checkpoint: Checkpoint) -> dict[str, Any]:
    """Compare names and shapes with those of a model that is not filled."""
    config, files = described(checkpoint)
    shapes = files.shapes
    with torch.device("meta"):
        model: Any = transformers.AutoModelForImageTextToText.from_config(config)
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    unused = re.compile("|".join(model._keys_to_ignore_on_load_missing) or "$^")
    harmless = re.compile(r"rotary_emb\.inv_freq$|position_ids$")
    absent, extra = wanted.keys() - shapes.keys(), shapes.keys() - wanted.keys()
    said = {name: getattr(config, name) for name in ("release", "gate") if hasattr(config, name)}
    return said | {
        "hyper_layers_from_0": getattr(config, "hyper", None),
        "missing": sorted(name for name in absent if not unused.search(name)),
        "absent_but_never_used": sorted(name for name in absent if unused.search(name)),
        "surplus": sorted(name for name in extra if not harmless.search(name)),
        "never_used": sorted(
            name for name in shapes if unused.search(name) or (name in extra and harmless.search(name))
        ),
        "wrong_shape": [
            [name, list(shapes[name]), list(wanted[name])]
            for name in sorted(wanted.keys() & shapes.keys())
            if shapes[name] != wanted[name]
        ],
    }


def _memory(backend: HfBackend) -> dict[str, int]:
    """Return bytes: of the weights, and the most that process and CUDA device had, where the system tells it."""
    parameters = backend.model.parameters()
    found = {"weights": sum(parameter.numel() * parameter.element_size() for parameter in parameters)}
    status = Path("/proc/self/status")
    if status.is_file():
        lines = dict(line.split(":", 1) for line in status.read_text(encoding="utf-8").splitlines() if ":" in line)
        found["process_peak"] = int(lines["VmHWM"].split()[0]) * 1024
    if torch.cuda.is_available():
        found["cuda_peak"] = torch.cuda.max_memory_allocated()
    return found


def _difference(backend: HfBackend, image: RgbImage) -> float:
    """Return how far the fast and the plain way differ in the logits of two questions about a pair of images."""
    request = Request(images=(image, image[::-1]), questions=(_QUESTION, _OTHER))
    fast, plain = (one.last_logits([request])[0] for one in (backend, backend.plain()))
    return float(np.abs(np.subtract(fast, plain)).max())


def _scores(backend: HfBackend, method: str, images: Mapping[str, RgbImage], score: Score) -> dict[str, dict[str, Any]]:
    """Score every image; what a checkpoint cannot answer is an entry, not an end."""
    found: dict[str, dict[str, Any]] = {}
    for name, image in images.items():
        start = time.monotonic()
        try:
            found[name] = dict(score(backend, method, image))
        except BackendError as error:
            found[name] = {"error": str(error)}
        found[name]["seconds"] = round(time.monotonic() - start, 2)
    return found
