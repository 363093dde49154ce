"""Where a model runs, in which numeric type, and how much the memory there holds at once."""

import importlib.metadata
import logging
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import PIL
import torch

from qdebias.errors import BackendError, SettingError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def device_of(name: str | None) -> torch.device:
    """Return the device of that name; None is the best there is.

    Raises:
        SettingError: It is not here.
    """
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
    """Return the numeric type of that name.

    Args:
        name: "float32", "bfloat16" or "float16". None and "auto" fit the machine: on a GPU the type in which the
            weights are published, bfloat16 becoming float16 where the GPU lacks it; on a CPU bfloat16 where they are
            published in it and the CPU has units for it, else float32.
        device: Where the model runs.
        published: The type in which its weights are published; None where that is not known.

    Raises:
        SettingError: There is none of that name.
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
    """Return whether this CPU multiplies bfloat16 matrices in hardware (AMX or AVX-512 BF16).

    Without such units bfloat16 is several times slower than float32.
    """
    probes = (getattr(torch.cpu, name, None) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"))
    return any(probe is not None and probe() for probe in probes)


def environment_of(device: torch.device, packages: Sequence[str]) -> dict[str, str]:
    """Return what runs the model, for the fingerprint: the device, and the versions of packages."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "device": f"{device.type} ({name})",
        **{package: importlib.metadata.version(package) for package in packages},
        "pillow": PIL.__version__,
    }


def check_room(needed: Mapping[torch.device, int], remedies: str = "") -> None:
    """Refuse to begin where the weights will not fit, rather than to fail after minutes.

    Args:
        needed: Bytes that the weights take on each device.
        remedies: What this model offers beside another type, such as "quantize '8bit', ".

    Raises:
        BackendError: A device has less memory left.
    """
    for device, size in needed.items():
        free = free_memory(device)
        if free is not None and size > free:
            raise BackendError(
                f"the weights take {size / 2**30:.1f} GiB on {device}, which has {free / 2**30:.1f} GiB left; choose "
                f"dtype 'bfloat16', {remedies}or a larger machine"
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


Item = TypeVar("Item")
Result = TypeVar("Result")

_log = logging.getLogger(__name__)


class OutOfMemoryError(BackendError):
    """What was to be run at once does not fit; less may."""


@contextmanager
def memory_of(device: torch.device) -> Iterator[None]:
    """Turn what torch raises where a device has no room left into an OutOfMemoryError."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_want_of_memory(error):
            raise
        raise _does_not_fit(device) from error


def is_want_of_memory(error: Exception) -> bool:
    """Whether torch or Python says that there is not enough memory."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)


def _does_not_fit(device: torch.device) -> OutOfMemoryError:
    return OutOfMemoryError(f"the model does not fit into the memory of {device}; use a smaller model or images")


class AtOnce:
    """How much is run together: halved where the memory does not suffice, and remembered."""

    def __init__(self, size: int, what: str) -> None:
        self.size = size
        self._what = what
        self._told = False

    def run(
        self, items: Sequence[Item], run: Callable[[Sequence[Item]], list[Result]], *, size_of_one: int = 1
    ) -> list[Result]:
        """Return the result for each item, in order.

        Args:
            items: Of equal size.
            run: Gives the results of some of them.
            size_of_one: The size of an item; one is run even if it is larger than the most.

        Raises:
            OutOfMemoryError: Not even one item fits.
        """
        results: list[Result] = []
        while len(results) < len(items):
            count = max(1, self.size // size_of_one)
            results += self._try(items[len(results) : len(results) + count], run, size_of_one)
        return results

    def _try(
        self, items: Sequence[Item], run: Callable[[Sequence[Item]], list[Result]], size_of_one: int
    ) -> list[Result]:
        try:
            return run(items)
        except OutOfMemoryError:
            if len(items) == 1:
                raise
        self.size = len(items) // 2 * size_of_one
        if not self._told:
            _log.warning("not enough memory: from now on at most %d %s are run together", self.size, self._what)
            self._told = True
        return []
