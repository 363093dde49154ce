"""LPIPS, the full-reference metric of row "Quality Similarity" of Table 5, through the package of its authors.

R. Zhang et al., The unreasonable effectiveness of deep features as a perceptual metric, CVPR 2018; package `lpips`
(BSD-2-Clause), which takes its networks from torchvision, whose weights are downloaded when they are first used.
"""

import importlib
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from qdebias.errors import ImageError, MissingPackageError
from qdebias.image import RgbImage
from qdebias.metrics.pyiqa import UNFIT, to_tensor

REMEDY = 'pip install "qdebias[rivals]"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Lpips:
    """Distance of two images of one size: 0 for the same image, up to about 1; call it with the two.

    Attributes:
        network: "alex" (the package's default; the paper names none), "vgg" or "squeeze".
    """

    network: str = "alex"

    def __call__(self, first: RgbImage, second: RgbImage) -> float:
        """Return the distance.

        Raises:
            ImageError: The images differ in size.
            MissingPackageError: The package or its weights are absent.
        """
        if first.shape != second.shape:
            raise ImageError(f"LPIPS compares images of one size, got {first.shape} and {second.shape}")
        network = _load(self.network)
        with importlib.import_module("torch").inference_mode():
            return float(network(to_tensor(first), to_tensor(second), normalize=True).item())

    def check(self) -> None:
        """Make sure that it can be used, before a run begins.

        Raises:
            MissingPackageError: The package or its weights are absent; the message says what to do.
        """
        _load(self.network)


@lru_cache(maxsize=1)
def _load(network: str) -> Any:  # noqa: ANN401 (the package has no types)
    try:
        package = importlib.import_module("lpips")
    except ImportError as error:
        raise MissingPackageError(f"LPIPS needs the package lpips ({error}): {REMEDY}") from error
    except RuntimeError as error:
        raise MissingPackageError(f"LPIPS needs torchvision, and {UNFIT.format(error=error)}") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # it calls torchvision in the old way
            return package.LPIPS(net=network, verbose=False)
    except (OSError, RuntimeError) as error:
        raise MissingPackageError(
            f"the weights of LPIPS ({network}) cannot be had ({error}); connect to the internet once, or put "
            f"torchvision's file for this network into ~/.cache/torch/hub/checkpoints"
        ) from error
