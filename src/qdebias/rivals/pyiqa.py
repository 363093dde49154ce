"""The no-reference metrics of Table 1 that the package `pyiqa` (IQA-PyTorch) has, and any other of its metrics.

The package's licence (PolyForm Noncommercial 1.0.0) allows no commercial use, so it is no dependency and in no extra of
qdebias: whoever may use it installs it. Each metric has a licence of its own besides.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qdebias.errors import ImageError, MissingPackageError, SettingError
from qdebias.image import RgbImage
from qdebias.rivals.tensors import UNFIT, to_tensor

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
`qdebias.tables.published`."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rival:
    """A no-reference metric of pyiqa; call it with an image.

    Attributes:
        name: As Table 1 writes it, or pyiqa's name.
        lower_better: Whether the metric itself is lower for better images.
    """

    name: str
    lower_better: bool
    _metric: Any

    def __call__(self, image: RgbImage) -> float:
        """Return the quality of an image, higher is better: the metric, or its negative where it is lower-is-better.

        Raises:
            ImageError: The metric cannot be computed for this image.
        """
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
    """Return a metric by its name in Table 1 or in pyiqa.

    Raises:
        MissingPackageError: pyiqa or the metric's weights are absent.
        SettingError: There is no such no-reference metric.
    """
    try:
        package = importlib.import_module("pyiqa")
    except ImportError as error:
        missing = error.name or "pyiqa"
        if missing.split(".")[0] != "pyiqa":
            raise MissingPackageError(f"{name}: pyiqa needs {missing}, which is absent ({error})") from error
        raise MissingPackageError(f"{name} is run by the package pyiqa, which is not installed: {REMEDY}") from error
    except RuntimeError as error:
        raise MissingPackageError(f"pyiqa needs torchvision, and {UNFIT.format(error=error)}") from error
    known = {row.casefold(): metric for row, metric in KNOWN_RIVALS.items()}
    metric = known.get(name.casefold(), name)
    available = package.list_models(metric_mode="NR")
    if metric not in available:
        raise SettingError(
            f"no rival {name!r}; there are {', '.join(KNOWN_RIVALS)}, and in pyiqa {', '.join(available)}"
        )
    try:
        made = package.create_metric(metric, device=device)
    except (OSError, RuntimeError, ImportError) as error:
        raise MissingPackageError(f"{name}: pyiqa cannot make it ({error}); its weights are downloaded once") from error
    return Rival(name=name, lower_better=bool(made.lower_better), _metric=made)
