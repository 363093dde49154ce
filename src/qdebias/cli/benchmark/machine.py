"""What the machine is and what it has spent, and made-up photographs to measure with."""

import platform
import statistics
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

import cv2
import numpy as np
import torch

from qdebias.image import RgbImage


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
