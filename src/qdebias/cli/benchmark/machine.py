"""What the machine is, what it has spent, and the floating-point operations of a way to answer."""

import math
import platform
import statistics
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from qdebias.backends.hf import Model, Processor
from qdebias.backends.hf.devices import AtOnce
from qdebias.backends.hf.families import Family
from qdebias.backends.hf.forward import Preparer, places_of
from qdebias.backends.hf.images import SharedImages
from qdebias.backends.hf.rows import Row, TokenCost, grow, join, rows_of
from qdebias.image import RgbImage
from qdebias.prompts import Request


class Utilisation:
    """Share of the time in which a GPU computed while a block ran, as its driver samples it; None on other devices.

    Args:
        device: Which.
        read: Gives the share in percent; by default torch's own, which needs the package nvidia-ml-py.
    """

    def __init__(self, device: torch.device, read: Callable[[torch.device], int] = torch.cuda.utilization) -> None:
        self._device = device
        self._read = read
        self._samples: list[int] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Self:
        if self._device.type == "cuda":
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._device.type == "cuda":
            self._thread.join()

    @property
    def share(self) -> float | None:
        """The mean, in [0, 1]; None where it cannot be had."""
        return statistics.fmean(self._samples) / 100 if self._samples else None

    def _sample(self) -> None:
        while not self._over.wait(0.05):
            try:
                self._samples.append(self._read(self._device))
            except (ImportError, RuntimeError):  # no driver library, or it does not tell
                return


def attention_kernels(device: torch.device) -> tuple[str, ...]:
    """Return which kernels torch may choose from for the attention of a model on a device."""
    if device.type != "cuda":
        return ("torch's own",)
    cuda = torch.backends.cuda
    allowed = {
        "flash": cuda.flash_sdp_enabled() and cuda.is_flash_attention_available(),
        "memory-efficient": cuda.mem_efficient_sdp_enabled(),
        "cudnn": cuda.cudnn_sdp_enabled(),
        "plain": cuda.math_sdp_enabled(),
    }
    return tuple(name for name, is_allowed in allowed.items() if is_allowed)


def device_name(device: torch.device) -> str:
    """Return what a device is, for a report: the processor's or the GPU's name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if device.type == "cpu" and cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else f"{device.type} ({platform.machine()})"


def photo_like(seed: int, width: int, height: int) -> RgbImage:
    """Return smooth colours with detail: neither flat nor pure noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 16 + 2, width // 16 + 2, 3), np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(smooth + rng.normal(0, 8, smooth.shape), 0, 255), dtype=np.uint8)


def count(run: Callable[[], object]) -> int:
    """Return the operations in the matrix products, convolutions and attention of a run, 2 for a multiply-add."""
    attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    with FlopCounterMode(display=False, custom_mapping={attention: _attention}) as counter:
        run()
    return int(counter.get_total_flops())


def _attention(query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: object, **__: object) -> int:
    """Count scores and weighted sums over all pairs of tokens, hidden ones too, as torch counts other kernels."""
    return 2 * query[0] * query[1] * query[2] * key[2] * (query[3] + value[3])


def floor(model: Model, processor: Processor, family: Family, requests: Sequence[Request]) -> int:
    """Return what no exact way can do without: each image encoded once, each beginning run once.

    Encoding is counted on each image; the language model's part is computed from its shape. Attention is taken over
    whole blocks, as `count` does: a beginning with itself, the rest of each prompt with what it continues.
    """
    images = SharedImages(model, processor, family, AtOnce(1, "images"))
    preparer = Preparer(model, processor)
    rows: list[Row] = []
    for request in requests:
        prepared = preparer.prepare(request, processor=images.processor, pictures=images.pictures(request))
        positions = _places if family.prefix else None
        inputs = [one.inputs for one in prepared]
        keys = images.keys(request, int(places_of(inputs[0], preparer.image_token).sum()))
        rows += rows_of(inputs, keys, preparer.image_token, positions)
    encoding = count(images.encode)
    trees = grow(rows, images.sizes, image_token=preparer.image_token, pairs=math.inf)
    return encoding + sum(_language(model, join(rows, tree)) for tree in trees)


def _places(inputs: Mapping[str, Any]) -> torch.Tensor:
    return torch.arange(inputs["input_ids"].shape[1])[None]


def _language(model: Model, row: Row) -> int:
    """Return the operations for every branch of a row, each with what it continues, and for its last logits."""
    lengths: list[int] = row.branches.bincount(minlength=len(row.parents)).tolist()
    ends = [lengths[0]]
    for branch in range(1, len(lengths)):
        ends.append(ends[row.parents[branch]] + lengths[branch])
    pairs = sum(length * end for length, end in zip(lengths, ends, strict=True))
    cost = TokenCost.of(model)
    head: int = len(row.reads) * model.get_output_embeddings().weight.numel()
    return 2 * (cost.token * len(row.branches) + cost.pair * pairs + head)
