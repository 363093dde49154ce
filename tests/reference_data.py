"""Where reference data is looked for, and what becomes of a test for which something is absent."""

import os
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parent.parent


def skip_absent(message: str) -> NoReturn:
    """Skip a test for which data or a program is absent; in continuous integration that is a failure."""
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)
