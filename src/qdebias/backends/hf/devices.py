"""Devices, numeric types, and how much runs at once in the memory of a device."""

import importlib.util
import logging
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from qdebias.backends.hf import Model
from qdebias.errors import BackendError, MissingPackageError, SettingError

BITS = {"8bit": 8, "4bit": 4}
"""Bits of a weight in LLM.int8 and in NF4, without scales."""

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


def placed(
    device: str | None, device_map: str | Mapping[str, str] | None, quantize: str | None
) -> tuple[torch.device, str | dict[str, str] | None]:
    """Return the device of the inputs, and the device map of the weights for transformers; options as of `load_hf`."""
    if device is not None and device_map is not None:
        raise SettingError(f"give device {device!r} or device_map {device_map!r}, not both")
    if isinstance(device_map, str) and device_map != "balanced":
        raise SettingError(
            f"device_map is 'balanced' or a mapping from names of modules to devices, got {device_map!r}"
        )
    if device_map == "balanced" and not torch.cuda.is_available():
        raise SettingError("device_map 'balanced' needs CUDA devices; torch sees none here: use device 'cpu'")
    if quantize not in (None, *BITS):
        raise SettingError(f"quantize {quantize!r} is unknown; use one of {', '.join(BITS)}, or leave it out")
    for package, needed in (("accelerate", device_map is not None or quantize), ("bitsandbytes", quantize)):
        if needed and importlib.util.find_spec(package) is None:
            raise MissingPackageError(f'{package} not installed: pip install "qdebias[quantize]"')
    if isinstance(device_map, Mapping):
        devices = {name: str(device_of(where)) for name, where in device_map.items()}
        return device_of(next(iter(devices.values()), None)), devices
    return device_of(device), device_map


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


def free_memory(device: torch.device) -> int | None:
    """Return the free bytes on a device; None where they are not known."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    meminfo = Path("/proc/meminfo")
    if device.type != "cpu" or not meminfo.is_file():
        return None
    entries = dict(line.split(":", 1) for line in meminfo.read_text(encoding="utf-8").splitlines() if ":" in line)
    return int(entries["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in entries else None


class OutOfMemoryError(BackendError):
    """A batch does not fit into memory; a smaller one may."""


def is_want_of_memory(error: Exception) -> bool:
    """Return whether an error of torch or Python means that there is not enough memory."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)


@contextmanager
def memory_of(device: torch.device) -> Iterator[None]:
    """Turn torch's errors about a full device into an OutOfMemoryError."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_want_of_memory(error):
            raise
        raise OutOfMemoryError(
            f"the model does not fit into the memory of {device}; use a smaller model or images"
        ) from error


def moved(model: Model, value: Any) -> Any:  # noqa: ANN401  mostly a tensor
    """Return an input on the model's device; floating-point numbers in the model's type."""
    if isinstance(value, dict):
        return {name: moved(model, one) for name, one in value.items()}
    if not isinstance(value, torch.Tensor):
        return value
    return value.to(model.device, model.dtype if value.is_floating_point() else value.dtype)


@dataclass(slots=True, eq=False)
class AtOnce:
    """How much runs together: halved for good when memory runs out."""

    size: int
    what: str  # plural, for the warning
    warned: bool = False

    def run(
        self,
        items: Sequence[Item],
        run: Callable[[list[Item]], list[Result]],
        *,
        shapes: Sequence[Hashable] = (),
        sizes: Sequence[int] = (),
    ) -> list[Result]:
        """Return the result for each item, in order; only items of equal shape run together, and a large item alone.

        Without `shapes` all have one shape, and without `sizes` size 1.
        """
        alike: dict[Hashable, list[int]] = {}
        for place in range(len(items)):
            alike.setdefault(shapes[place] if shapes else None, []).append(place)
        results: dict[int, Result] = {}
        for places in alike.values():
            size, done = sizes[places[0]] if sizes else 1, 0
            while done < len(places):
                some = places[done : done + max(1, self.size // size)]
                try:
                    results |= zip(some, run([items[place] for place in some]), strict=True)
                    done += len(some)
                except OutOfMemoryError:
                    if len(some) == 1:
                        raise
                    self.size = len(some) // 2 * size
                    if not self.warned:
                        _log.warning(
                            "not enough memory: from now on at most %d %s are run together", self.size, self.what
                        )
                    self.warned = True
        return [results[place] for place in range(len(items))]
