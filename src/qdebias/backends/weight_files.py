"""The tensors in a checkpoint folder: their names and shapes first, then one after the other."""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open

from qdebias.backends.folder import WEIGHTS
from qdebias.backends.messages import first_line
from qdebias.errors import BackendError

WHOLE = ("model.safetensors", "pytorch_model.bin")
"""The file of weights that are not divided; an index of several has the same name and an ending."""

INDEX = ".index.json"

SAFE_UNPICKLER = (2, 10)
"""The torch from which on `weights_only` cannot be made to run code (CVE-2026-24747), as far as is known."""


class Stored(NamedTuple):
    """A tensor in a file: its shape, and whether it holds floating-point numbers."""

    shape: tuple[int, ...]
    floating: bool


@dataclass(frozen=True, slots=True)
class WeightFiles:
    """The weight files of a folder.

    Attributes:
        files: For each file, its tensors by name.
    """

    files: Mapping[Path, Mapping[str, Stored]]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of all tensors."""
        return {name: stored.shape for held in self.files.values() for name, stored in held.items()}

    @property
    def integers(self) -> set[str]:
        """Names of the tensors that hold no floating-point numbers."""
        return {name for held in self.files.values() for name, stored in held.items() if not stored.floating}

    @property
    def numbers(self) -> int:
        """How many numbers all tensors have."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    @property
    def pickled(self) -> bool:
        """Whether the weights are pickles."""
        return any(path.suffix == ".bin" for path in self.files)

    def tensors(self, wanted: frozenset[str]) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the wanted tensors one by one, in the order of the files; each is read when it is yielded."""
        for path, held in self.files.items():
            names = [name for name in held if name in wanted]
            with _one_line(path):
                yield from _read(path, names)


def weight_files(folder: Path) -> WeightFiles:
    """Return the weight files of a folder: safetensors, or where there are none the pickles.

    Pickles are read by torch's restricted unpickler, which knows tensors and runs no code of theirs. They are mapped
    into memory, but every file has to be opened once more for its names.

    Args:
        folder: The checkpoint.

    Raises:
        BackendError: There is none, one is damaged, or file and index disagree; the message names file and weight.
    """
    for whole, pattern in zip(WHOLE, WEIGHTS, strict=True):
        index = _index(folder / f"{whole}{INDEX}")
        paths = (
            sorted(folder / name for name in set(index.values())) if index else _without_index(folder, whole, pattern)
        )
        if paths:
            files = {path: _stored(path) for path in paths}
            _check(files, index)
            return WeightFiles(files)
    raise no_weights(folder)


def no_weights(folder: Path) -> BackendError:
    """Return the error for a folder without weight files."""
    return BackendError(f"{folder}: holds no weights (*.safetensors); the download is incomplete: obtain it again")


def more_than_weights(where: Path) -> BackendError:
    """Return the error for a pickle, or a folder with one, that the restricted unpickler does not read."""
    return BackendError(
        f"{where}: a weight file holds more than weights, and that is never run, or it is damaged; obtain it again, or "
        f"take weights in safetensors format"
    )


def check_unpickler(folder: Path) -> None:
    """Refuse to read pickles with a torch whose restricted unpickler is known to be unsafe.

    Raises:
        BackendError: torch is older than `SAFE_UNPICKLER`.
    """
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < SAFE_UNPICKLER:
        raise BackendError(
            f"{folder}: has its weights as pickles (*.bin), by which torch {torch.__version__} can be made to run code "
            f"(CVE-2026-24747); install torch 2.10 or newer, or convert them to safetensors"
        )


def _without_index(folder: Path, whole: str, pattern: str) -> list[Path]:
    return [folder / whole] if (folder / whole).is_file() else sorted(folder.glob(pattern))


def _index(path: Path) -> dict[str, str]:
    """Return which file holds which weight, as the index says; empty where there is no index."""
    if not path.is_file():
        return {}
    try:
        index = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        files = {str(name): str(file) for name, file in index.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BackendError(f"{path}: is no index of weights ({error!r}); obtain it again") from error
    for file in files.values():
        if Path(file).name != file:
            raise BackendError(f"{path}: names the file {file!r} outside the folder; do not trust this checkpoint")
    return files


def _check(files: Mapping[Path, Mapping[str, Stored]], index: Mapping[str, str]) -> None:
    """Refuse a weight that lies twice, or not where the index says."""
    found: dict[str, Path] = {}
    for path, held in files.items():
        for name in held:
            if name in found:
                raise BackendError(f"weight {name}: lies in {found[name].name} and in {path.name}; remove one")
            if index and index.get(name) != path.name:
                raise BackendError(f"weight {name}: lies in {path.name}, but not by the index; obtain both again")
            found[name] = path
    for name, file in index.items():
        if name not in found:
            raise BackendError(
                f"weight {name}: the index says it lies in {file}, but it does not; obtain the file again"
            )


def _stored(path: Path) -> dict[str, Stored]:
    with _one_line(path):
        if path.suffix == ".bin":
            held = _unpickled(path).items()
            return {name: Stored(tuple(tensor.shape), tensor.is_floating_point()) for name, tensor in held}
        with safe_open(path, framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return {
                name: Stored(tuple(one.get_shape()), one.get_dtype().startswith(("F", "BF")))
                for name, one in slices.items()
            }


def _read(path: Path, names: list[str]) -> Iterator[tuple[str, torch.Tensor]]:
    if path.suffix == ".bin":
        held = _unpickled(path)
        yield from ((name, held[name]) for name in names)
        return
    with safe_open(path, framework="pt") as file:
        for name in names:
            yield name, file.get_tensor(name)


def _unpickled(path: Path) -> dict[str, torch.Tensor]:
    check_unpickler(path.parent)
    held = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    if not isinstance(held, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in held.values()):
        raise BackendError(f"{path}: holds no table of weights")
    return held


@contextmanager
def _one_line(path: Path) -> Iterator[None]:
    """Turn what the readers raise about `path` into one BackendError."""
    try:
        yield
    except FileNotFoundError as error:
        raise BackendError(f"{path}: this file of weights is missing; the download is incomplete") from error
    except UnpicklingError as error:
        raise more_than_weights(path) from error
    except (SafetensorError, OSError, EOFError, RuntimeError, ValueError, KeyError) as error:
        if isinstance(error, BackendError):
            raise
        raise BackendError(
            f"{path}: is damaged, cut short, or only a Git LFS pointer ({first_line(error)}); obtain it again"
        ) from error
