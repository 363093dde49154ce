"""`qdebias doctor`: what works on this machine, in plain words."""

import importlib
import platform
from collections.abc import Callable
from importlib import metadata, util

import numpy as np
import typer
from rich.text import Text

import qdebias
from qdebias.backends.load import check_torchvision, load_backend
from qdebias.cli.console import one_line, results
from qdebias.errors import MissingPackageError, QdebiasError
from qdebias.runs.scorer import Scorer

PACKAGES = ("numpy", "opencv-python-headless", "numba", "pillow", "torch", "transformers", "tokenizers", "safetensors")


def doctor() -> None:
    """Say what works on this machine: Python, packages, device, and whether the embedded model answers.

    Exit code 1 where the embedded model cannot be used.
    """
    results.print(f"qdebias {qdebias.__version__}, Python {platform.python_version()}, {platform.platform()}")
    for name in PACKAGES:
        _say(_version(name) is not None, f"{name} {_version(name) or 'is not installed'}")
    _check("device", _device)
    _check("torchvision", _torchvision)
    works = _check("embedded model", _embedded)
    raise typer.Exit(0 if works else 1)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _check(title: str, test: Callable[[], str]) -> bool:
    try:
        _say(True, f"{title}: {test()}")
    except (QdebiasError, ImportError, RuntimeError) as error:
        _say(False, f"{title}: {one_line(str(error))}")
        return False
    except Exception as error:  # noqa: BLE001  whatever is broken here, it has to be told, and the rest as well
        what = f"{type(error).__name__}: {one_line(str(error))}"
        _say(False, f"{title}: {what}; packages above may not fit together, `pip check` says which")
        return False
    return True


def _say(good: bool, message: str) -> None:
    results.print(Text("ok  " if good else "--  ", style="green" if good else "yellow") + Text(message))


def _device() -> str:
    if util.find_spec("torch") is None:
        raise MissingPackageError("told when torch is installed")
    torch = importlib.import_module("torch")
    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        return f"{count} CUDA device{'s' if count > 1 else ''}, {torch.cuda.get_device_name(0)}"
    if torch.backends.mps.is_available():
        return "Apple GPU (mps)"
    from qdebias.backends.hf.devices import has_bfloat16_units

    kind = (
        "it has units for bfloat16, which checkpoints in bfloat16 run in (2.7 times as fast as float32 "
        "in our measurement, probabilities up to .012 apart)"
        if has_bfloat16_units()
        else "it has no units for bfloat16, so models run in float32 (bfloat16 would be several times slower)"
    )
    return f"no GPU, the CPU is used with {torch.get_num_threads()} threads; {kind}; large models will be slow"


def _torchvision() -> str:
    if util.find_spec("torchvision") is None:
        return "not installed; not needed, images are prepared with Pillow"
    check_torchvision()
    return f"{_version('torchvision')} works"


def _embedded() -> str:
    gradient = np.linspace(0, 255, 96 * 96 * 3).reshape(96, 96, 3).astype(np.uint8)
    value = Scorer(backend=load_backend("nano")).score(gradient).value
    return f"nano answers (a plain gradient scores {value:.3f})"
