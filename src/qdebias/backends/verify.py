"""A report on a checkpoint that we may not have: its contents, how it is read, and what it answers.

It covers what could not be compared with published weights, above all the gate of mPLUG-Owl3-240728. For a checkpoint
that is refused, it holds everything that the next version needs to know. It contains no weights and no images.
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
from qdebias.backends.hf.loading import load_hf
from qdebias.backends.hf.pretrained import described
from qdebias.backends.hf.weights import Weight, read_weight, weight_files
from qdebias.errors import BackendError
from qdebias.image import RgbImage
from qdebias.prompts import Question, Request
from qdebias.system.output import write_file
from qdebias.system.processes import peak_memory

Score: TypeAlias = Callable[[Backend, str, RgbImage], Mapping[str, Any]]
"""Scores one image by the method of that name; what it returns goes into the report as it is."""

METHODS = ("vanilla", "paper", "released")

_METHODS_OF = {"mplug_owl2": ("q-align", "q-align-aesthetics", "vanilla", "paper")}  # by model_type

_QUESTIONS = (
    Question(
        text="Rate the quality of the image. Good or poor?",
        answer_prefix="The quality of the image is",
        options=(" good", " poor"),
        values=(1.0, 0.0),
    ),
    Question(text="Do these two images describe the same object? Yes or no?", options=("Yes", "No"), values=(1.0, 0.0)),
)


def verify(
    source: str | Path,
    images: Mapping[str, RgbImage],
    score: Score,
    *,
    device: str | None = None,
    dtype: str | None = None,
    revision: str | None = None,
) -> dict[str, Any]:
    """Load a checkpoint and return the report on it and on photographs by name; options as of `load_hf`.

    For a checkpoint that can be read and is refused, "refused" holds the reason.
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
    memory = {"weights": sum(weight.nbytes for weight in backend.model.parameters()), "process_peak": peak_memory()}
    if torch.cuda.is_available():
        memory["cuda_peak"] = torch.cuda.max_memory_allocated()
    report |= {"seconds_to_load": round(time.monotonic() - start, 1), "memory": memory}
    if images:
        image = next(iter(images.values()))
        request = Request(images=(image, image[::-1]), questions=_QUESTIONS)
        fast, plain = (one.last_logits([request])[0] for one in (backend, backend.plain()))
        report["largest_difference_to_the_plain_way"] = float(np.abs(np.subtract(fast, plain)).max())
    methods = _METHODS_OF.get(report["config"].get("model_type"), METHODS)
    return report | {"scores": {method: _scores(backend, method, images, score) for method in methods}}


def write_report(report: Mapping[str, Any], path: Path) -> None:
    """Write a report as JSON, as it is to be sent."""
    write_file(path, json.dumps(report, indent=1, ensure_ascii=False) + "\n")


def _weights(files: Mapping[str, Weight]) -> dict[str, Any]:
    """Describe the weights: their number, and names, shapes and ranges of those that were uncertain."""
    model = re.compile(r"(language_model|vision_model|model|lm_head|transformer)\.")
    releases = re.compile(r"language_model\..*\.self_attn\.(?![qkvo]_proj\.)|vision2text_model\.")  # of mPLUG-Owl3
    telling = {
        name: list(weight.shape) for name, weight in files.items() if releases.match(name) or not model.match(name)
    }
    gates = {}
    for name in telling:
        if ".self_attn.gate" in name:
            tensor = read_weight(files[name], name)
            values = {"min": tensor.float().min(), "mean": tensor.float().mean(), "max": tensor.float().max()}
            rounded = {label: round(float(value), 5) for label, value in values.items()}
            gates[name] = {"dtype": str(tensor.dtype).removeprefix("torch."), **rounded}
    return {"count": len(files), "telling": telling, "gates": gates}


def _keys(checkpoint: Checkpoint) -> dict[str, Any]:
    """Compare names and shapes with those of an empty model."""
    config, files = described(checkpoint)
    shapes = {name: weight.shape for name, weight in files.items()}
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


def _scores(backend: Backend, method: str, images: Mapping[str, RgbImage], score: Score) -> dict[str, dict[str, Any]]:
    """Score every image; an error becomes its entry."""
    found: dict[str, dict[str, Any]] = {}
    for name, image in images.items():
        start = time.monotonic()
        try:
            found[name] = dict(score(backend, method, image))
        except BackendError as error:
            found[name] = {"error": str(error)}
        found[name]["seconds"] = round(time.monotonic() - start, 2)
    return found
