"""Images in the form that the packages of rivals take."""

import importlib
from typing import Any

import numpy as np

from qdebias.image import RgbImage

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
