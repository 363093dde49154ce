"""`qdebias doctor` and `verify`: what works on this machine, and whether weights fit our code."""

import importlib
import platform
from collections.abc import Callable
from importlib import metadata, util
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.text import Text

import qdebias
from qdebias.backends.base import Backend
from qdebias.backends.load import check_torchvision, load_backend, require
from qdebias.cli.console import one_line, results, say
from qdebias.cli.options import Paths, refuse_inputs, sharing
from qdebias.errors import MissingPackageError, QdebiasError
from qdebias.image import RgbImage, load_image
from qdebias.inputs import find_inputs
from qdebias.runs.options import Options
from qdebias.runs.scorer import Scorer
from qdebias.system.output import written

PACKAGES = ("numpy", "opencv-python-headless", "numba", "pillow", "torch", "transformers", "tokenizers", "safetensors")

ORDER = (
    "Llama 3.2 Vision (Mllama) hardly knows which of two images is the first, as any model whose images enter by cross "
    "attention without positions; each such model is probed when it is loaded; take another for paper and rank"
)


def doctor() -> None:
    """Report what works on this machine: Python, packages, device, and whether the embedded model answers.

    Exit code 1 if the embedded model cannot be used.
    """
    results.print(f"qdebias {qdebias.__version__}, Python {platform.python_version()}, {platform.platform()}")
    for name in PACKAGES:
        try:
            _say(True, f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            _say(False, f"{name} is not installed")
    _check("device", _device)
    _check("torchvision", _torchvision)
    _say(True, f"order of images: {ORDER}")
    works = _check("embedded model", _embedded)
    raise typer.Exit(0 if works else 1)


def _check(title: str, test: Callable[[], str]) -> bool:
    try:
        _say(True, f"{title}: {test()}")
    except Exception as error:  # noqa: BLE001  whatever is broken here, it has to be told, and the rest as well
        what = one_line(str(error))
        if not isinstance(error, QdebiasError | ImportError | RuntimeError):
            what = f"{type(error).__name__}: {what}; packages above may not fit together, `pip check` says which"
        _say(False, f"{title}: {what}")
        return False
    return True


def _say(good: bool, message: str) -> None:
    results.print(Text("ok  " if good else "--  ", style="green" if good else "yellow") + Text(message))


def _device() -> str:
    if util.find_spec("torch") is None:
        raise MissingPackageError("not known without torch")
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
    return f"{metadata.version('torchvision')} works"


def _embedded() -> str:
    gradient = np.linspace(0, 255, 96 * 96 * 3).reshape(96, 96, 3).astype(np.uint8)
    value = Scorer(backend=load_backend("nano")).score(gradient).value
    return f"nano answers (a plain gradient scores {value:.3f})"


def verify(
    model: Annotated[str, typer.Argument(help="A checkpoint of mPLUG-Owl3 or mPLUG-Owl2: its folder or hub id.")],
    paths: Paths,
    options: Annotated[Options, sharing()],
    out: Annotated[Path, typer.Option(help="The report to write, as JSON.")] = Path("verify.json"),
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a hub id.")] = None,
) -> None:
    """Check published weights of mPLUG-Owl3 or mPLUG-Owl2 against our code, and write a small report.

    It says which keys are missing or surplus (of mPLUG-Owl3 also release and gate), how much memory the weights take,
    how far sharing moves a logit, and what methods such as `paper` or `q-align` score on the images.
    Exit code 1 if the weights are refused; the report says why. Keep it with the
    scores, or attach it to an issue where the project is hosted.
    """
    require("torch", "transformers", extra="torch")
    from qdebias.backends.verify import verify as verify_checkpoint
    from qdebias.backends.verify import write_report

    def score(backend: Backend, method: str, image: RgbImage) -> dict[str, Any]:
        return {"value": Scorer(backend=backend, method=method).score(image).value}

    inputs = find_inputs(paths)
    refuse_inputs(inputs.images, out=out)
    images = {path.name: load_image(path) for path in inputs.paths}
    found = verify_checkpoint(model, images, score, device=options.device, dtype=options.dtype, revision=revision)
    with written(out):
        write_report(found, out)
    say(f"refused: {found['refused']}" if found["refused"] else "the weights fit")
    say(f"report written to {out}")
    raise typer.Exit(1 if found["refused"] else 0)
