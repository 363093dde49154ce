"""Fixtures that several test files use."""

import os
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from qdebias.image import RgbImage

os.environ.setdefault("OMP_NUM_THREADS", "1")  # several test processes share the cores

ROOT = Path(__file__).resolve().parent.parent


def skip_absent(message: str) -> NoReturn:
    """Skip a test whose reference data is absent; in continuous integration that is a failure."""
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of reference data that is not part of the repository; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("QDEBIAS_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        skip_absent(f"reference data not found at {folder}; set QDEBIAS_SHARED to its folder")
    return folder.resolve()


@pytest.fixture
def photo() -> RgbImage:
    """A synthetic picture with edges, texture and colour, 72 x 96."""
    rows, columns = np.mgrid[0:72, 0:96]
    red = 255 * columns / 95
    green = 127 + 120 * np.sin(columns / 5) * np.cos(rows / 7)
    blue = np.where((rows // 12 + columns // 12) % 2, 220, 40)
    return np.stack([red, green, blue], axis=-1).astype(np.uint8)
