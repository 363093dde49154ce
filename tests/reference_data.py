"""Where reference data is looked for, and what becomes of a test whose data is absent."""

import os
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parent.parent


def skip_absent(message: str) -> NoReturn:
    """Skip a test whose reference data is absent; in continuous integration that is a failure."""
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)
