"""Metrics of other packages, pyiqa and LPIPS, where a user has installed these."""

import importlib
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from qdebias.errors import ImageError, MissingPackageError, SettingError
from qdebias.image import RgbImage


@dataclass(frozen=True, slots=True, kw_only=True)
class Lpips:
    """Distance of two images of one size: 0 for the same image, up to about 1; call it with the two."""

    network: str = "alex"  # the package's default, as the paper names none; or "vgg", "squeeze"

    def __call__(self, first: RgbImage, second: RgbImage) -> float:
        """Return the distance."""
        if first.shape != second.shape:
            raise ImageError(f"LPIPS compares images of one size, got {first.shape} and {second.shape}")
        network = _load(self.network)
        with importlib.import_module("torch").inference_mode():
            return float(network(to_tensor(first), to_tensor(second), normalize=True).item())

    def check(self) -> None:
        """Make sure that package and weights are there, before a run begins."""
        _load(self.network)


@lru_cache(maxsize=1)
def _load(network: str) -> Any:  # noqa: ANN401 (the package has no types)
    try:
        package = importlib.import_module("lpips")
    except ImportError as error:
        raise MissingPackageError(f'LPIPS needs the package lpips ({error}): pip install "qdebias[rivals]"') from error
    except RuntimeError as error:
        raise MissingPackageError(f"LPIPS needs torchvision, and {UNFIT.format(error=error)}") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # it calls torchvision in the old way
            return package.LPIPS(net=network, verbose=False)
    except (OSError, RuntimeError) as error:
        raise MissingPackageError(
            f"the weights of LPIPS ({network}) cannot be loaded ({error}); connect to the internet once, or put "
            f"torchvision's file for this network into ~/.cache/torch/hub/checkpoints"
        ) from error


INSTALL = "pip install torch torchvision --index-url https://download.pytorch.org/whl/cpu"

UNFIT = (
    f"the installed one does not fit the installed torch ({{error}}); install both from one index, such as {INSTALL}"
)
"""What to do about a torchvision that was built for another torch: importing it raises RuntimeError."""


def to_tensor(image: RgbImage) -> Any:  # noqa: ANN401 (torch is loaded only here)
    """Return an image as a float32 tensor (1, 3, H, W) in [0, 1]."""
    torch = importlib.import_module("torch")
    planes = np.ascontiguousarray(image.transpose(2, 0, 1)[None], dtype=np.float32) / np.float32(255)
    return torch.from_numpy(planes)


REMEDY = "pip install pyiqa (its licence, PolyForm Noncommercial, allows no commercial use)"

KNOWN_RIVALS: Mapping[str, str] = {
    "BRISQUE": "brisque",
    "NIQE": "niqe",
    "ILNIQE": "ilniqe",
    "CLIP-IQA": "clipiqa",
    "ARNIQA": "arniqa",
    "TReS": "tres",
    "MUSIQ": "musiq",
}
"""Rows of Table 1 and their names in pyiqa. Its defaults for the last three are trained on KonIQ-10k, as in the paper.
The others (BLINDS-II, QAC, NPQI, ContentSep, MDFS) are not in pyiqa; their published numbers are in
`qdebias.evaluation.published`."""


OF_SETS = re.compile(r".*fid.*|inception_score|clipscore")
"""Metrics that pyiqa lists as no-reference ones although they do not score an image alone: three are of sets of images,
CLIPScore wants a caption."""

SPAN = 10.0  # how wide the scale of a metric is taken to be whose upper end pyiqa does not tell


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rival:
    """A no-reference metric of pyiqa; call it with an image."""

    name: str  # as Table 1 writes it, or pyiqa's name
    metric: str  # pyiqa's name
    version: str  # of pyiqa
    lower_better: bool  # whether the metric itself is lower for better images
    scale: tuple[float, float]  # quality at the ends of the metric's scale, as far as pyiqa tells these
    _metric: Any

    def __call__(self, image: RgbImage) -> float:
        """Return the quality of an image, higher is better: the metric, or its negative where it is lower-is-better."""
        try:
            value = float(self._metric(to_tensor(image)).item())
        except (RuntimeError, ValueError, AssertionError, IndexError) as error:
            raise ImageError(
                f"{self.name} fails on an image of {image.shape[1]} x {image.shape[0]}: {error}"
            ) from error
        if value != value:
            raise ImageError(f"{self.name} gives no number for an image of {image.shape[1]} x {image.shape[0]}")
        return -value if self.lower_better else value


def load_rival(name: str, *, device: str | None = None) -> Rival:
    """Return a metric by its name in Table 1 or in pyiqa."""
    try:
        package = importlib.import_module("pyiqa")
    except ImportError as error:
        missing = error.name or "pyiqa"
        if missing.split(".")[0] != "pyiqa":
            remedy = f"install it from where torch came from: {INSTALL}" if missing == "torchvision" else "install it"
            raise MissingPackageError(f"{name}: pyiqa needs {missing}, which is absent; {remedy}") from error
        raise MissingPackageError(f"{name} is run by the package pyiqa, which is not installed: {REMEDY}") from error
    except RuntimeError as error:
        raise MissingPackageError(f"pyiqa needs torchvision, and {UNFIT.format(error=error)}") from error
    known = {row.casefold(): metric for row, metric in KNOWN_RIVALS.items()}
    metric = known.get(name.casefold(), name)
    available = [one for one in package.list_models(metric_mode="NR") if not OF_SETS.fullmatch(one)]
    if metric not in available:
        raise SettingError(
            f"no metric {name!r} that scores an image alone; there are {', '.join(KNOWN_RIVALS)}, and in pyiqa "
            f"{', '.join(available)}"
        )
    try:
        made = package.create_metric(metric, device=device)
    except (OSError, RuntimeError, ImportError) as error:
        raise MissingPackageError(f"{name}: pyiqa cannot make it ({error}); its weights are downloaded once") from error
    told = str(getattr(made, "score_range", ""))  # such as "~0, ~100" or "0, ~"
    ends = [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", told)] or [0.0]
    low, high = ends[0], ends[1] if len(ends) > 1 else ends[0] + SPAN
    return Rival(
        name=name,
        metric=metric,
        version=str(getattr(package, "__version__", "unknown")),
        lower_better=bool(made.lower_better),
        scale=(-high, -low) if made.lower_better else (low, high),
        _metric=made,
    )
