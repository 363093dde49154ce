"""Where a model runs, in which numeric type, and how much the memory there holds at once."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch

from qdebias.errors import BackendError, SettingError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

Item = TypeVar("Item")
Result = TypeVar("Result")

_log = logging.getLogger(__name__)


def device_of(name: str | None) -> torch.device:
    """Return the device of that name; None is the best there is."""
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SettingError(f"device {name!r} is unknown; use 'cpu', 'cuda', 'cuda:1' or 'mps'") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SettingError(f"device {name!r}: torch sees {torch.cuda.device_count()} CUDA devices here; use 'cpu'")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise SettingError("device 'mps' is not available here; use 'cpu'")
    return device


def dtype_of(name: str | None, device: torch.device, published: torch.dtype | None = None) -> torch.dtype:
    """Return the numeric type of that name; None and "auto" fit the machine.

    On a GPU that is the type in which the weights are `published`, bfloat16 becoming float16 where the GPU lacks it; on
    a CPU bfloat16 where they are published in it and the CPU has units for it, else float32.
    """
    if name not in (None, "auto"):
        if name not in DTYPES:
            raise SettingError(f"dtype {name!r} is unknown; use one of auto, {', '.join(DTYPES)}")
        return DTYPES[name]
    if device.type == "cpu":
        return torch.bfloat16 if published == torch.bfloat16 and has_bfloat16_units() else torch.float32
    if published in (torch.float32, torch.float16):
        return published
    supported = device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if supported else torch.float16


def has_bfloat16_units() -> bool:
    """Return whether this CPU multiplies bfloat16 matrices in hardware; without, it is several times slower."""
    probes = (getattr(torch.cpu, name, None) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"))
    return any(probe is not None and probe() for probe in probes)


def check_room(device: torch.device, size: int) -> None:
    """Refuse to begin where weights of so many bytes will not fit, rather than to fail after minutes."""
    free = free_memory(device)
    if free is not None and size > free:
        raise BackendError(
            f"the weights take {size / 2**30:.1f} GiB on {device}, which has {free / 2**30:.1f} GiB left; choose "
            f"dtype 'bfloat16', quantize '8bit' or '4bit', a device_map over several devices, or a larger machine"
        )


def free_memory(device: torch.device) -> int | None:
    """Return the bytes left on a device; None where the system does not say."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    meminfo = Path("/proc/meminfo")
    if device.type != "cpu" or not meminfo.is_file():
        return None
    entries = dict(line.split(":", 1) for line in meminfo.read_text(encoding="utf-8").splitlines() if ":" in line)
    return int(entries["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in entries else None


class OutOfMemoryError(BackendError):
    """What was to be run at once does not fit; less may."""


def is_want_of_memory(error: Exception) -> bool:
    """Return whether torch or Python says that there is not enough memory."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)


@contextmanager
def memory_of(device: torch.device) -> Iterator[None]:
    """Turn what torch raises where a device has no room left into an OutOfMemoryError."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_want_of_memory(error):
            raise
        raise OutOfMemoryError(
            f"the model does not fit into the memory of {device}; use a smaller model or images"
        ) from error


class AtOnce:
    """How much is run together: halved where the memory does not suffice, and remembered."""

    def __init__(self, size: int, what: str) -> None:
        self.size = size
        self._what = what
        self._told = False

    def run(
        self, items: Sequence[Item], run: Callable[[Sequence[Item]], list[Result]], *, size_of_one: int = 1
    ) -> list[Result]:
        """Return the result for each item, in order; all are of one size, and one is run however large it is."""
        results: list[Result] = []
        while len(results) < len(items):
            some = items[len(results) : len(results) + max(1, self.size // size_of_one)]
            try:
                results += run(some)
            except OutOfMemoryError:
                if len(some) == 1:
                    raise
                self.size = len(some) // 2 * size_of_one
                if not self._told:
                    _log.warning("not enough memory: from now on at most %d %s are run together", self.size, self._what)
                self._told = True
        return results
