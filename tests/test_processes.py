"""New processes import nothing from the current folder, and nothing needs the modules of Unix."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qdebias.errors import SettingError
from qdebias.inputs.datasets.matlab import load_variable
from qdebias.system import processes

TESTS = Path(__file__).parent
DECODE = """
import asyncio, sys
from test_decoders import encoded, noise, with_decoder
async def use(process):
    print((await process.decode(encoded(noise(1)))).shape)
if __name__ == "__main__":
    with_decoder(use)
"""
ON_RAY = """
import sys, ray
from qdebias.integrations.ray.cluster import connected
with connected(None):
    print(sys.argv[1] in ray.get(ray.remote(lambda: sys.path).remote()))
"""
WITHOUT_UNIX = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name in ("resource", "fcntl", "pwd", "grp", "termios"):
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Absent())
for name in [name for name in sys.modules if name in ("resource", "fcntl")]:
    del sys.modules[name]
import qdebias.cli.bench, qdebias.cli.lookup, qdebias.cli.serve
import qdebias.service.app, qdebias.service.decoder, qdebias.runs
qdebias.service.decoder.confine(10_000, 0)
print(qdebias.system.processes.peak_memory())
"""


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A folder whose modules end whatever imports them."""
    for name in ("typer", "numpy", "PIL", "qdebias", "struct", "scipy", "warnings"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from the current folder')\n")
    return tmp_path


def run(folder: Path, *words: str) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS / "service")])}
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


def test_the_module_imports_nothing_from_the_current_folder(trap: Path) -> None:
    for name in ("qdebias", "struct", "warnings"):  # Python itself looks there until it has found what it is to run
        (trap / f"{name}.py").unlink()
    assert run(trap, "-m", "qdebias", "--version")


def test_a_decoder_imports_nothing_from_the_current_folder(trap: Path) -> None:
    assert run(trap, "-P", "-c", DECODE) == "(48, 64, 3)"


def test_a_reader_of_matlab_imports_nothing_from_the_current_folder(
    trap: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trap)
    with pytest.raises(SettingError, match=r"absent\.mat.*No such file"):
        load_variable(Path("absent.mat"), "x")


def test_workers_of_ray_import_nothing_from_the_current_folder(tmp_path: Path) -> None:
    assert run(tmp_path, "-P", "-c", ON_RAY, str(tmp_path)) == "False"


def test_modules_come_from_no_relative_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", ".", str(tmp_path), str(TESTS)])
    assert processes.module_path().split(os.pathsep) == [str(TESTS), str(Path(processes.__file__).parents[1])]


def test_the_service_and_the_measurements_start_without_the_modules_of_unix(tmp_path: Path) -> None:
    assert run(tmp_path, "-P", "-c", WITHOUT_UNIX) == "0"


def test_memory_is_told_in_bytes() -> None:
    held = processes.resident_memory()
    assert 1 << 20 < held <= processes.peak_memory() * 1.1
    assert processes.address_space() > held
