"""The weights of a checkpoint: names and shapes in the files, and where they are to lie."""

import json
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open

from qdebias.backends.checkpoint import WEIGHTS, Checkpoint
from qdebias.errors import BackendError, first_line

_WHOLE = ("model.safetensors", "pytorch_model.bin")  # undivided; an index of several has the same name and an ending


class Weight(NamedTuple):
    """A tensor in a file."""

    path: Path
    shape: tuple[int, ...]
    floating: bool  # whether it holds floating-point numbers


def weight_files(folder: Path) -> dict[str, Weight]:
    """Return the weights in a folder by name, safetensors or else pickles, unless files and index disagree.

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
    weights: dict[str, Weight] = {}
    for name, weight in [stored for path in paths for stored in _stored(path)]:  # all files are there, see `_stored`
        file = weight.path.name
        if name in weights:
            raise BackendError(f"weight {name}: lies in {weights[name].path.name} and in {file}; remove one")
        if index and index.get(name) != file:
            raise BackendError(f"weight {name}: lies in {file}, but not by the index; download both again")
        weights[name] = weight
    for name in index.keys() - weights.keys():
        raise BackendError(
            f"weight {name}: the index says it lies in {index[name]}, but it does not; download the file again"
        )
    return weights


def _index(path: Path) -> dict[str, str]:
    """Return which file holds which weight, by an index; empty where there is none."""
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


def _stored(path: Path) -> list[tuple[str, Weight]]:
    """Return the name of each tensor in a file, and its entry in the file's header."""
    with one_line(path):
        if path.suffix == ".bin":
            held = _unpickled(path).items()
            return [(name, Weight(path, tuple(one.shape), one.is_floating_point())) for name, one in held]
        with safe_open(path, framework="pt") as file:
            slices = [(name, file.get_slice(name)) for name in file.keys()]  # noqa: SIM118
            return [
                (name, Weight(path, tuple(one.get_shape()), one.get_dtype().startswith(("F", "BF"))))
                for name, one in slices
            ]


def read_weight(weight: Weight, name: str) -> torch.Tensor:
    """Read one tensor."""
    with one_line(weight.path):
        if weight.path.suffix == ".bin":
            return _unpickled(weight.path)[name]
        with safe_open(weight.path, framework="pt") as file:
            tensor: torch.Tensor = file.get_tensor(name)
            return tensor


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
    """Turn the errors of the readers about `path` into one BackendError."""
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
