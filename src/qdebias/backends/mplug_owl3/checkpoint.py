"""The tensors in a checkpoint folder: their names and shapes first, then one after the other."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError, safe_open

from qdebias.errors import BackendError

WHOLE, WHOLE_PICKLE = "model.safetensors", "pytorch_model.bin"
"""The file of weights that are not divided; an index of several has the same name and an ending."""

INDEX = ".index.json"


@dataclass(frozen=True, slots=True)
class WeightFiles:
    """The weight files of a folder.

    Attributes:
        files: For each file, the names and shapes of its tensors.
    """

    files: Mapping[Path, Mapping[str, tuple[int, ...]]]

    @property
    def suffix(self) -> str:
        """Of all files: ".safetensors" or ".bin"."""
        return next(iter(self.files)).suffix

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of all tensors."""
        return {name: shape for held in self.files.values() for name, shape in held.items()}

    def tensors(self, wanted: frozenset[str]) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the wanted tensors one by one, in the order of the files; each is read when it is yielded."""
        for path, held in self.files.items():
            names = [name for name in held if name in wanted]
            with _one_line(path):
                yield from _read(path, names)


def weight_files(folder: Path, *, allow_pickle: bool = False) -> WeightFiles:
    """Return the weight files of a folder, safetensors before pickles.

    Args:
        folder: The checkpoint.
        allow_pickle: Read pickles (*.bin) where there are no safetensors, by torch's restricted unpickler. They are
            mapped into memory, but every file has to be opened once more for its names.

    Raises:
        BackendError: There is none, one is damaged, or file and index disagree; the message names file and weight.
    """
    if not sorted(folder.glob("*.safetensors")) and sorted(folder.glob("*.bin")) and not allow_pickle:
        raise BackendError(
            f"{folder}: has its weights as pickles (*.bin), which can carry code; convert them to safetensors, or pass "
            f"allow_pickle=True to read them with torch's restricted unpickler"
        )
    for whole in (WHOLE, WHOLE_PICKLE) if allow_pickle else (WHOLE,):
        index = _index(folder / f"{whole}{INDEX}")
        paths = sorted(folder / name for name in set(index.values())) if index else _without_index(folder / whole)
        if paths:
            files = {path: _shapes(path) for path in paths}
            _check(files, index)
            return WeightFiles(files)
    raise BackendError(f"{folder}: holds no weights (*.safetensors); the download is incomplete: obtain it again")


def _without_index(whole: Path) -> list[Path]:
    return [whole] if whole.is_file() else sorted(whole.parent.glob(f"*{whole.suffix}"))


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


def _check(files: Mapping[Path, Mapping[str, tuple[int, ...]]], index: Mapping[str, str]) -> None:
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


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    with _one_line(path):
        if path.suffix == ".bin":
            return {name: tuple(tensor.shape) for name, tensor in _unpickled(path).items()}
        with safe_open(path, framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def _read(path: Path, names: list[str]) -> Iterator[tuple[str, torch.Tensor]]:
    if path.suffix == ".bin":
        held = _unpickled(path)
        yield from ((name, held[name]) for name in names)
        return
    with safe_open(path, framework="pt") as file:
        for name in names:
            yield name, file.get_tensor(name)


def _unpickled(path: Path) -> dict[str, torch.Tensor]:
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
    except (SafetensorError, UnpicklingError, OSError, EOFError, RuntimeError, ValueError, KeyError) as error:
        if isinstance(error, BackendError):
            raise
        raise BackendError(
            f"{path}: is damaged, cut short, or only a Git LFS pointer ({_line(error)}); obtain it again"
        ) from error


def _line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
