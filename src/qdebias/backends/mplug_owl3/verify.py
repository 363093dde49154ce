"""A report on a checkpoint that somebody has and we may not: what it holds, how it is understood, what it answers.

It settles what could not be compared with published weights, the gate of 240728 above all: of a checkpoint that is
refused, the report says everything that the next version needs to know. It holds no weights and no images.
"""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

from qdebias import __version__
from qdebias.backends.base import Backend
from qdebias.backends.folder import Checkpoint, locate
from qdebias.backends.mplug_owl3.backend import MplugOwl3Backend
from qdebias.backends.mplug_owl3.load import empty_model, load_mplug_owl3
from qdebias.backends.mplug_owl3.plain import trace
from qdebias.backends.mplug_owl3.variant import PROJECTOR
from qdebias.backends.mplug_owl3.weights import compare_keys
from qdebias.backends.weight_files import WeightFiles, weight_files
from qdebias.errors import BackendError
from qdebias.image import RgbImage
from qdebias.output import write_file
from qdebias.prompts import Question, Request

Score: TypeAlias = Callable[[Backend, str, RgbImage], Mapping[str, Any]]
"""Scores one image by the method of that name; what it returns goes into the report as it is."""

METHODS = ("vanilla", "paper", "released")

_QUESTION = Question(
    text="Rate the quality of the image. Good or poor?",
    answer_prefix="The quality of the image is",
    options=(" good", " poor"),
    values=(1.0, 0.0),
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
    """Load a checkpoint and return the report, which `json` can write.

    `released` is run with the cut mode "official", as the paper's script ran; the other methods are run uncut.

    Args:
        source: A checkpoint folder or hub id.
        images: Photographs by name.
        score: Scores one of them; the caller's, as no model knows a method.
        device: See `load_mplug_owl3`, as the rest.
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
        report["keys"] = _keys(checkpoint, files)
        backend = load_mplug_owl3(checkpoint.folder, device=device, dtype=dtype)
    except BackendError as error:
        return report | {"refused": str(error)}
    report |= {"identity": dict(backend.fingerprint.identity), "environment": dict(backend.fingerprint.environment)}
    report |= {"seconds_to_load": round(time.monotonic() - start, 1), "memory": _memory(backend)}
    if images:
        report["largest_difference_to_the_plain_way"] = _difference(backend, next(iter(images.values())))
    return report | {"scores": {method: _scores(backend, method, images, score) for method in METHODS}}


def write_report(report: Mapping[str, Any], path: Path) -> None:
    """Write a report as JSON, as it is to be sent."""
    write_file(path, json.dumps(report, indent=1, ensure_ascii=False) + "\n")


def _weights(files: WeightFiles) -> dict[str, Any]:
    """Describe the weights: all that was not certain by name, shape and range, of the rest the number."""
    telling = {name: list(shape) for name, shape in files.shapes.items() if _is_telling(name)}
    gates = frozenset(name for name in telling if ".self_attn.gate" in name)
    ranges = {name: _range(tensor) for name, tensor in files.tensors(gates)}
    return {"count": len(files.shapes), "telling": telling, "gates": ranges}


def _is_telling(name: str) -> bool:
    """Tell whether a name differs between the releases, or is none of the usual ones."""
    usual = (".q_proj.", ".k_proj.", ".v_proj.", ".o_proj.", ".out_proj.")
    attention = name.startswith("language_model.") and ".self_attn." in name and not any(part in name for part in usual)
    return attention or name.startswith(PROJECTOR) or not name.startswith(("language_model.", "vision_model."))


def _range(tensor: torch.Tensor) -> dict[str, Any]:
    values = tensor.float()
    low, high, mean = (round(float(value), 5) for value in (values.min(), values.max(), values.mean()))
    return {"dtype": str(tensor.dtype).removeprefix("torch."), "min": low, "mean": mean, "max": high}


def _keys(checkpoint: Checkpoint, files: WeightFiles) -> dict[str, Any]:
    model = empty_model(checkpoint, files)
    compared = compare_keys(files.shapes, model)
    return {
        "release": model.variant.release.name,
        "gate": model.variant.gate.value,
        "hyper_layers_from_0": list(model.variant.hyper),
        "missing": list(compared.missing),
        "absent_but_never_used": list(compared.absent_unused),
        "surplus": list(compared.surplus),
        "never_used": list(compared.ignored),
        "wrong_shape": [[name, list(there), list(here)] for name, there, here in compared.wrong],
    }


def _memory(backend: MplugOwl3Backend) -> dict[str, int]:
    """Return bytes: of the weights, and the most that the process and the CUDA device had, where that can be told."""
    parameters = backend.model.parameters()
    found = {"weights": sum(parameter.numel() * parameter.element_size() for parameter in parameters)}
    status = Path("/proc/self/status")
    if status.is_file():
        lines = dict(line.split(":", 1) for line in status.read_text(encoding="utf-8").splitlines() if ":" in line)
        found["process_peak"] = int(lines["VmHWM"].split()[0]) * 1024
    if torch.cuda.is_available():
        found["cuda_peak"] = torch.cuda.max_memory_allocated()
    return found


def _difference(backend: MplugOwl3Backend, image: RgbImage) -> float:
    """Return how far the fast and the plain way differ in the logits of the vanilla question."""
    [[fast]] = backend.last_logits([Request(images=(image,), questions=(_QUESTION,))])
    crops = backend.processor.crops(image)
    prompt = backend.processor.question_prompt(_QUESTION, [crops.grid], "before")
    with torch.inference_mode():
        plain = trace(backend.model, prompt, torch.from_numpy(crops.pixels)).logits[-1].double().cpu().numpy()
    return float(np.abs(fast - plain).max())


def _scores(
    backend: MplugOwl3Backend, method: str, images: Mapping[str, RgbImage], score: Score
) -> dict[str, dict[str, Any]]:
    """Score every image; what a checkpoint cannot answer is an entry, not an end."""
    backend = backend.with_cut("official" if method == "released" else "off")
    found: dict[str, dict[str, Any]] = {}
    for name, image in images.items():
        start = time.monotonic()
        try:
            found[name] = dict(score(backend, method, image))
        except BackendError as error:
            found[name] = {"error": str(error)}
        found[name]["seconds"] = round(time.monotonic() - start, 2)
    return found
