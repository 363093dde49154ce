"""The readouts of docs/readouts.md, and that the page says what the code computes."""

import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy.special import expit

from qdebias.equations import expected
from qdebias.evaluation.table import Table, render
from qdebias.prompts import Question
from reference_data import ROOT, skip_absent


@cache
def module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("readouts", ROOT / "benchmarks" / "readouts.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules["readouts"] = made
    spec.loader.exec_module(made)
    return made


@pytest.fixture
def logits() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    return {word: rng.normal(0, 3, 20) for word in ("excellent", "good", "poor", "high", "low")}


@pytest.mark.parametrize("values", [(1.0, 0.5, 0.0), (1.0, 0.75, 0.0), (1.0, 1.0, 0.0)])
def test_levels_are_read_as_the_methods_read_them(values: tuple[float, ...], logits: dict[str, np.ndarray]) -> None:
    words = ("excellent", "good", "poor")
    reading = module().expected(dict(zip(words, values, strict=True)))(logits)
    question = Question(text="How good?", options=words, values=values)
    for place in range(20):
        one = np.array([logits[word][place] for word in words])
        assert reading.score[place] == pytest.approx(expected(one, values).p[0])
        assert reading.order[place] == pytest.approx(expected(one, question.values).log_odds[0])


@pytest.mark.parametrize("temperature", [1, 7.5, 100])
def test_a_pair_is_a_sigmoid_of_its_margin(temperature: float, logits: dict[str, np.ndarray]) -> None:
    reading = module().at(temperature, "high", "low")(logits)
    margin = logits["high"] - logits["low"]
    np.testing.assert_allclose(reading.score, expit(margin / temperature))
    np.testing.assert_array_equal(reading.order, margin)
    own = module().own_temperature(logits)
    margin = logits["good"] - logits["poor"]
    np.testing.assert_allclose(own.score, expit(margin / margin.std()))


def committed() -> list[list[str]]:
    """Return the cells of the table in the page, heads first."""
    page = (ROOT / "docs" / "readouts.md").read_text(encoding="utf-8")
    table = page.split(module().BEGIN)[1].split(module().END)[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line[:1] == "|"]
    return [rows[0], *rows[2:]]


def printed(table: Table) -> list[list[str]]:
    lines = [line for line in render(table, "markdown").splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [rows[0], *rows[2:]]


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    path = shared / "lmm_outputs" / "qbench"
    if not path.is_dir():
        skip_absent(f"{path} is not there")
    return path


def test_every_number_of_the_page_is_what_the_code_computes(folder: Path) -> None:
    want, got = committed(), printed(module().table(folder, resamples=0))
    assert [[cell.split(" [")[0] for cell in row[:-1]] for row in want] == [row[:-1] for row in got]


def test_the_intervals_of_a_dataset_are_what_the_code_computes(folder: Path) -> None:
    want, got = committed(), printed(module().table(folder, datasets=("livec",)))
    place = want[0].index("LIVE Challenge")
    assert [row[place] for row in want] == [row[3] for row in got]
