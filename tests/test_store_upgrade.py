"""Run folders of the version before are read, and their methods recognised."""

import json
import shutil
from pathlib import Path

import pytest

from qdebias import presets
from qdebias.errors import SettingError
from qdebias.runs.recorded import known_method, recorded
from qdebias.runs.snapshot import open_snapshot
from qdebias.runs.upgrade import renamed, with_printed_fog

GOLDEN = Path(__file__).parent / "golden" / "runs"
WITHOUT_FOG = ("qbench-t100", "vanilla", "vanilla+ensemble")
SCORES = json.loads((GOLDEN / "scores.json").read_text())["scores"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    for name in ("run.json", "answers.jsonl", "images.jsonl"):
        shutil.copy(GOLDEN / name, tmp_path)
    return tmp_path


def test_every_score_of_an_earlier_run_is_derived_again(run: Path) -> None:
    found = {}
    with open_snapshot(run) as snapshot:
        for name in sorted({method for method, *_ in SCORES}):
            now = name if name in WITHOUT_FOG else with_printed_fog(name)
            for one in recorded(snapshot, presets.get(now).method, name=now):
                found[name, one.path] = (one.result.value, one.result.spread)
    assert len(found) == len(SCORES) == 22
    for name, path, value, spread in SCORES:
        assert found[name, path] == (pytest.approx(value, abs=1e-15), spread and pytest.approx(spread, abs=1e-15))


def test_every_method_of_an_earlier_run_is_recognised(run: Path) -> None:
    with open_snapshot(run) as snapshot:
        methods = snapshot.manifest.methods
        assert len(methods) == 11
        for number, entry in methods.items():
            assert known_method(snapshot.manifest, presets.get(entry.name).method, seed=0) == number


def test_what_was_paper_is_not_taken_for_it_now(run: Path) -> None:
    with open_snapshot(run) as snapshot:
        names = {entry.name for entry in snapshot.manifest.methods.values()}
        assert {*WITHOUT_FOG, "paper-eq7", "average+eq7"} <= names
        assert "paper" not in names
        with pytest.raises(SettingError, match=r"no answers to what paper .* used with .*paper-eq7"):
            recorded(snapshot, presets.PAPER, name="paper")


def test_what_a_method_of_a_user_was_called_stays() -> None:
    literal = {"degradations": [{"is": "qdebias.degrade.fog.Fog", "rescale": False}]}
    assert renamed("Mine", literal) == "Mine"
    assert renamed("paper@fog,package.rain:rain", literal) == "paper@fog,package.rain:rain"
    assert renamed("t1", literal) == "t1+eq7"
