import os
import subprocess
import sys
from pathlib import Path

USE = """
import numpy as np
from qdebias.degrade import Saturate
print(Saturate(gain=0)(np.full((32, 32, 3), (9, 5, 1), np.uint8), np.random.default_rng(0)).max(axis=(0, 1)))
"""


def run(code: str, **environment: str) -> str:
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_importing_the_degradations_loads_no_compiler() -> None:
    assert run("import sys, qdebias.degrade; print('numba' in sys.modules)") == "False\n"


def test_without_a_folder_for_the_cache_the_compiler_works_and_says_nothing(tmp_path: Path) -> None:
    nowhere = tmp_path / "file" / "cache"
    nowhere.parent.write_text("a file, so that no folder can be made below it")
    locators = "UserProvidedCacheLocator"
    assert run(USE, NUMBA_CACHE_DIR=str(nowhere), NUMBA_CACHE_LOCATOR_CLASSES=locators) == "[9 9 9]\n"


def test_the_cache_is_used_where_it_can_be_written(tmp_path: Path) -> None:
    run(USE, NUMBA_CACHE_DIR=str(tmp_path))
    assert list(tmp_path.rglob("saturate.*.nbi"))
