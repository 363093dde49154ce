"""The bundled numbers are those of the paper, cell by cell."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from qdebias import presets
from qdebias.evaluation.published import (
    AFTER,
    FIRST,
    LATER,
    QBENCH,
    RIVALS,
    SOURCE,
    TABLE1_OURS,
    TABLE2,
    TABLE3,
    TABLE4,
    TABLE5,
    TITLES,
)
from qdebias.evaluation.table import Agreement
from qdebias.inputs.datasets import CATALOGUE

ALL = (*RIVALS, *TABLE1_OURS, *TABLE3, *TABLE4, *TABLE5)


@pytest.fixture(scope="module")
def lines(shared: Path) -> list[list[str]]:
    """Lines of the paper's text, columns apart."""
    return [line.split("\t") for line in (shared / "paper.txt").read_text(encoding="utf-8").splitlines()]


def numbers(cells: list[str]) -> list[float | None]:
    """Return what stands in cells: a number, with its gain in brackets left out, or nothing."""
    found = [re.match(r"\d\.\d{3}", cell) for cell in cells]
    return [float(match.group()) if match else None for match in found]


def flat(values: Mapping[str, Agreement], datasets: tuple[str, ...]) -> list[float | None]:
    """Return SRCC and PLCC of each dataset, one after the other."""
    pairs = [values.get(dataset) for dataset in datasets]
    return [number for pair in pairs for number in ((pair.srcc.value, pair.plcc.value) if pair else (None, None))]


def line_of(lines: list[list[str]], name: str, cells: int) -> list[str]:
    """Return the cells of a row behind its name."""
    (found,) = [line for line in lines if re.sub(r"\*? \[\d+\]$", "", line[0]) == name and len(line) == cells]
    return found[1:]


def test_table_1_has_the_rivals_of_the_paper(lines: list[list[str]], subtests: pytest.Subtests) -> None:
    for row in (*RIVALS, QBENCH):
        with subtests.test(row.name):
            training, *cells = line_of(lines, row.name, 14)
            assert numbers(cells) == flat(row.values, tuple(TITLES))
            assert training == (f"✗ ({row.training})" if row.training else "✓")
            assert row.source


def test_table_1_has_all_13_rivals() -> None:
    assert len({row.name for row in (*RIVALS, QBENCH)}) == 13


def test_table_1_has_q_debias(lines: list[list[str]]) -> None:
    ours, spatter = TABLE1_OURS[1:3]
    assert numbers(line_of(lines, "Q-Debias (Ours)", 14)[1:]) == flat(ours.values, tuple(TITLES))
    gains = line_of(lines, "Improvement over Q-bench", 14)
    assert [float(re.findall(r"\d\.\d{3}", cell)[0]) for cell in gains[-2:]] == flat(spatter.values, ("siqad",))


def test_table_2(lines: list[list[str]], subtests: pytest.Subtests) -> None:
    for row in (row for row in TABLE2 if row.version == FIRST):
        with subtests.test(row.name):
            found = numbers(line_of(lines, row.name, 13))
            pairs = [
                flat(values, (dataset,)) for dataset in ("livec", "agiqa3k") for values in (row.vanilla, row.values)
            ]
            assert found[:8] == [number for pair in pairs for number in pair]
            means = [(one + two) / 2 for one, two in zip(found[:4], found[4:8], strict=True) if one and two]
            assert found[8:] == pytest.approx(means, abs=0.0011)  # averages of the paper, printed with three digits


def test_table_3(lines: list[list[str]], subtests: pytest.Subtests) -> None:
    for row in TABLE3:
        with subtests.test(row.name):
            cells = line_of(lines, row.name, 12)
            assert tuple("yes" if cell == "✓" else "no" for cell in cells[:5]) == row.settings
            assert numbers(cells[5:]) == flat(row.values, ("livec", "siqad", "agiqa3k"))


def test_tables_4_and_5(lines: list[list[str]], subtests: pytest.Subtests) -> None:
    for row in (*TABLE4[:3], *TABLE5[:2]):
        with subtests.test(row.name):
            assert numbers(line_of(lines, row.name, 7)) == flat(row.values, ("livec", "koniq10k", "agiqa3k"))


def test_winner_takes_all_and_q_debias_of_tables_4_and_5(lines: list[list[str]]) -> None:
    datasets = ("livec", "koniq10k", "agiqa3k")
    assert numbers(line_of(lines, "Winner-Takes- All", 7)) == flat(TABLE5[2].values, datasets)
    ours = [line for line in lines if line[0] == "Q-Debias" and len(line) == 7]
    assert [numbers(line[1:]) for line in ours] == [flat(TABLE4[-1].values, datasets)] * 2
    assert TABLE4[-1] == TABLE5[-1]


def test_the_later_version_differs_in_two_cells() -> None:
    ours = {row.version: row.values for row in TABLE1_OURS if row.recipe == "paper"}
    differing = [name for name in ours[LATER] if flat(ours[LATER], (name,)) != flat(ours[FIRST], (name,))]
    assert differing == ["livec", "kadid10k"]
    assert (ours[LATER]["livec"].plcc.value, ours[LATER]["kadid10k"].plcc.value) == (0.818, 0.753)
    assert set(ours[FIRST]) - set(ours[LATER]) == {"siqad"}
    assert set(SOURCE) == {FIRST, LATER}


def test_known_slips_are_noted() -> None:
    qwen = next(row for row in TABLE2 if row.name == "Qwen-VL")
    assert "0.504/0.532 for LIVE Challenge" in qwen.vanilla["livec"].notes[0]
    for row in (TABLE1_OURS[1], TABLE3[-1]):
        assert "0.324" in row.values["siqad"].notes[0]
        assert "0.326" in row.values["siqad"].notes[0]


def test_every_name_is_known() -> None:
    assert set(TITLES) <= set(CATALOGUE)
    assert {row.recipe for row in ALL} - {""} <= set(presets.RECIPES)


def test_what_came_after_the_paper_is_trained_and_sourced() -> None:
    assert {row.name.split()[0].rstrip(",") for row in AFTER} == {
        "Q-Align", "DeQA-Score", "Q-Insight", "VisualQuality-R1", "Q-ReAlign",
    }  # fmt: skip
    for row in AFTER:
        assert row.source
        assert row.training
        assert not row.recipe or row.recipe in presets.RECIPES
        assert set(row.values) <= set(CATALOGUE)
        assert all(0.6 < number.value < 1 for one in row.values.values() for number in (one.srcc, one.plcc))
