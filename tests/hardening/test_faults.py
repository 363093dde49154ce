"""The fault matrix: kills, full disks, broken networks, as real processes meet them. See docs/reliability.md."""

from collections.abc import Callable
from pathlib import Path

import pytest

from faults.cell import Cell
from faults.matrix import CELLS
from faults.processes import expect_all


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    thorough = metafunc.config.getoption("--hardening", default=False)
    cells = [cell for cell in CELLS if cell.attempt is not None and (thorough or cell.quick)]
    if "cell" in metafunc.fixturenames:
        metafunc.parametrize("cell", cells, ids=[cell.name for cell in cells])


def test_the_promise_is_kept(cell: Cell, thorough: bool, tmp_path: Path, trials: Callable[[int], None]) -> None:
    assert cell.attempt is not None
    if thorough:
        expect_all()
    trials(cell.attempt(tmp_path / "trial", cell.times if thorough else cell.quick).trials)


def test_every_command_meets_every_fault() -> None:
    faults, commands = ({getattr(cell, kind) for cell in CELLS} for kind in ("fault", "command"))
    assert len(CELLS) == len(faults) * len(commands) == len({cell.name for cell in CELLS})
