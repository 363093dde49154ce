"""The weights of a checkpoint: names and shapes in the files, and where they are to lie."""

import importlib.util
import json
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from qdebias.backends.checkpoint import WEIGHTS, Checkpoint
from qdebias.backends.hf.devices import device_of
from qdebias.errors import BackendError, MissingPackageError, SettingError, first_line

BITS = {"8bit": 8, "4bit": 4}
"""What a weight takes in LLM.int8 and in NF4, scales aside."""

_WHOLE = ("model.safetensors", "pytorch_model.bin")  # undivided; an index of several has the same name and an ending

_PRECISE = (
    r"(.*\.)?(lm_head|v_kv_proj|self_attn\.gate_proj|vision2text_model|multi_modal_projector|connector"
    r"|vision_model|vision_tower|visual|visual_abstractor)"
)
"""What is not quantized: what sees, what turns images into keys and values, and the output layer."""


@dataclass(frozen=True, slots=True)
class WeightFiles:
    """The tensors in the weight files of a folder, by name."""

    where: Mapping[str, Path]
    shapes: Mapping[str, tuple[int, ...]]
    integers: set[str]  # those that hold no floating-point numbers

    def tensor(self, name: str) -> torch.Tensor:
        """Read one tensor."""
        path = self.where[name]
        with one_line(path):
            if path.suffix == ".bin":
                return _unpickled(path)[name]
            with safe_open(path, framework="pt") as file:
                tensor: torch.Tensor = file.get_tensor(name)
                return tensor


def weight_files(folder: Path) -> WeightFiles:
    """Return the weight files of a folder, safetensors or else pickles, unless file and index disagree.

    Pickles are read by torch's restricted unpickler, which knows tensors and runs no code of theirs.
    """
    for whole, pattern in zip(_WHOLE, WEIGHTS, strict=True):
        index = _index(folder / f"{whole}.index.json")
        names = set(index.values()) or ({whole} if (folder / whole).is_file() else set())
        paths = sorted(folder / name for name in names) or sorted(folder.glob(pattern))
        if paths:
            break
    else:
        raise BackendError(f"{folder}: holds no weights (*.safetensors); the download is incomplete: download it again")
    where, shapes, integers = dict[str, Path](), dict[str, tuple[int, ...]](), set[str]()
    for path, held in [(path, _stored(path)) for path in paths]:  # a missing file is told before a wrong index
        for name, (shape, floating) in held.items():
            if name in where:
                raise BackendError(f"weight {name}: lies in {where[name].name} and in {path.name}; remove one")
            if index and index.get(name) != path.name:
                raise BackendError(f"weight {name}: lies in {path.name}, but not by the index; download both again")
            where[name], shapes[name] = path, shape
            if not floating:
                integers.add(name)
    for name in index.keys() - where.keys():
        raise BackendError(
            f"weight {name}: the index says it lies in {index[name]}, but it does not; download the file again"
        )
    return WeightFiles(where, shapes, integers)


def _index(path: Path) -> dict[str, str]:
    """Return which file holds which weight, as the index says; empty where there is no index."""
    if not path.is_file():
        return {}
    try:
        index = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        files = {str(name): str(file) for name, file in index.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BackendError(f"{path}: is not an index of weights ({error!r}); download it again") from error
    for file in files.values():
        if Path(file).name != file:
            raise BackendError(f"{path}: names the file {file!r} outside the folder; do not trust this checkpoint")
    return files


def _stored(path: Path) -> dict[str, tuple[tuple[int, ...], bool]]:
    """Return the shape of each tensor in a file, and whether it holds floating-point numbers."""
    with one_line(path):
        if path.suffix == ".bin":
            return {name: (tuple(one.shape), one.is_floating_point()) for name, one in _unpickled(path).items()}
        with safe_open(path, framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return {
                name: (tuple(one.get_shape()), one.get_dtype().startswith(("F", "BF"))) for name, one in slices.items()
            }


def _unpickled(path: Path) -> dict[str, torch.Tensor]:
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 10):
        raise BackendError(
            f"{path.parent}: has its weights as pickles (*.bin), by which torch {torch.__version__} can be made to run "
            f"code (CVE-2026-24747); install torch 2.10 or newer, or convert them to safetensors"
        )
    held = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    if not isinstance(held, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in held.values()):
        raise BackendError(f"{path}: holds no table of weights")
    return held


@contextmanager
def one_line(path: Path) -> Iterator[None]:
    """Turn what the readers raise about `path` into one BackendError."""
    try:
        yield
    except FileNotFoundError as error:
        raise BackendError(f"{path}: this file of weights is missing; the download is incomplete") from error
    except pickle.UnpicklingError as error:
        raise BackendError(
            f"{path}: a weight file holds more than weights, and that is never run, or it is damaged; download it "
            f"again, or take weights in safetensors format"
        ) from error
    except (SafetensorError, OSError, EOFError, RuntimeError, ValueError, KeyError) as error:
        if isinstance(error, BackendError):
            raise
        raise BackendError(
            f"{path}: is damaged, truncated, or only a Git LFS pointer ({first_line(error)}); download it again"
        ) from error


@dataclass(frozen=True, slots=True)
class Storage:
    """Where and how weights lie."""

    device: torch.device  # where inputs go
    device_map: str | dict[str, str] | None  # as transformers takes it; None: all weights go to `device`
    quantize: str | None  # one of `BITS`

    def arguments(self, dtype: torch.dtype) -> dict[str, Any]:
        """Return it as arguments of `from_pretrained`."""
        if self.quantize is None:
            return {} if self.device_map is None else {"device_map": self.device_map}
        bits: dict[str, Any] = {"load_in_8bit": True}
        if self.quantize == "4bit":
            bits = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": dtype}
        from transformers import BitsAndBytesConfig

        config = BitsAndBytesConfig(llm_int8_skip_modules=[_PRECISE], **bits)
        return {"quantization_config": config, "device_map": self.device_map or {"": str(self.device)}}


def storage_of(device: str | None, device_map: str | Mapping[str, str] | None, quantize: str | None) -> Storage:
    """Return where and how weights are to lie, see `load_hf`."""
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
        return Storage(device_of(next(iter(devices.values()), None)), devices, quantize)
    return Storage(device_of(device), device_map, quantize)


def check_complete(checkpoint: Checkpoint, report: Mapping[str, Any], *, allow_surplus: bool) -> None:
    """Refuse weights that do not fill the model: transformers would fill the gaps with random numbers."""
    missing, wrong = sorted(report["missing_keys"]), sorted(report["mismatched_keys"])
    surplus = [] if allow_surplus else sorted(report["unexpected_keys"])
    if wrong:
        name, there, here = wrong[0]
        raise BackendError(
            f"{checkpoint.folder}: the weight {name!r} has shape {tuple(there)}, but {tuple(here)} by config.json "
            f"({len(wrong)} such tensors): download weights and config.json of one version"
        )
    if missing:
        raise BackendError(
            f"{checkpoint.folder}: the weights lack {len(missing)} tensors of the model, such as {missing[0]!r}; "
            f"weights and config.json are of different models or the download is incomplete: download both again"
        )
    if surplus:
        raise BackendError(
            f"{checkpoint.folder}: the weights hold {len(surplus)} tensors that the model does not use, such as "
            f"{surplus[0]!r}; download weights and config.json of one version, or pass allow_surplus=True if these are "
            f"known to be unused"
        )
