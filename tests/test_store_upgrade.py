"""Run folders of the version before are read, and their methods recognised."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

import qdebias
from qdebias import presets
from qdebias.backends.base import OptionLogits
from qdebias.backends.fake import FakeBackend
from qdebias.errors import SettingError
from qdebias.image.pool import ImagePool
from qdebias.methods.describe import describe
from qdebias.methods.fitted import features_of
from qdebias.methods.method import Score
from qdebias.methods.outline import method_id, pool_digest
from qdebias.prompts import Request
from qdebias.runs.derive import known_method, recorded
from qdebias.runs.manifest import renamed, with_printed_fog
from qdebias.runs.options import Options
from qdebias.runs.run import open_snapshot

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
            for path, score in recorded(snapshot, presets.get(now)):
                found[name, path] = (score.value, score.spread)
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
        with pytest.raises(SettingError, match=r"no answers to the questions of paper .* used with .*paper-eq7"):
            recorded(snapshot, presets.get("paper"))


def test_what_a_method_of_a_user_was_called_stays() -> None:
    literal = {"degradations": [{"is": "qdebias.degrade.fog.Fog", "rescale": False}]}
    assert renamed("Mine", literal) == "Mine"
    assert renamed("paper@fog,package.rain:rain", literal) == "paper@fog,package.rain:rain"
    assert renamed("t1", literal) == "t1+eq7"


FOLDER = Path(__file__).parent / "golden" / "run_folder"
DESCRIBED = json.loads((FOLDER / "described.json").read_text())


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """A run of the version whose `QDebias` was `qdebias.method.QDebias`, of images that lie here now."""
    run = tmp_path / "run"
    images = shutil.copytree(FOLDER / "images", tmp_path / "images")
    run.mkdir()
    for name in ("run.json", "answers.jsonl"):
        shutil.copy(FOLDER / name, run)
    with (run / "images.jsonl").open("w") as file:
        for line in (FOLDER / "images.jsonl").read_text().splitlines():
            row = json.loads(line)
            path = images / Path(row["path"]).name
            moved = {"path": str(path), "size": path.stat().st_size, "mtime_ns": path.stat().st_mtime_ns}
            file.write(json.dumps({name: value for name, value in row.items() if name != "sum"} | moved) + "\n")
    return tmp_path


class Silent(FakeBackend):
    """Has the identity of the fake model and must not be asked."""

    def option_logits(self, requests: Sequence[Request]) -> OptionLogits:
        raise AssertionError(f"asked again: {requests}")


EARLIER = json.loads((FOLDER / "scores.json").read_text())["scores"]


@pytest.mark.parametrize("method", EARLIER)
def test_an_earlier_run_is_continued_without_asking_anything_twice(earlier: Path, method: str) -> None:
    images, scores = sorted((earlier / "images").iterdir()), EARLIER[method]
    with qdebias.open_run(earlier / "run", FakeBackend().fingerprint, model="fake") as run:
        methods = set(run.manifest.methods)
        stored = qdebias.StoredScorer(run, qdebias.Scorer(backend=Silent(), method=method), name=method)
        assert list(stored.ask(images)) == []
        assert stored.skipped == len(images) == 4
        assert set(run.manifest.methods) == methods
        for image, result in zip(images, stored.results(images), strict=True):
            found = result.value if isinstance(result, Score) else None
            assert found == (None if scores[image.name] is None else pytest.approx(scores[image.name], abs=1e-15))


def test_the_images_of_an_earlier_run_that_moved_are_planned_and_not_asked_about(earlier: Path) -> None:
    (earlier / "images").rename(earlier / "elsewhere")
    images = sorted((earlier / "elsewhere").glob("[0-2].png"))
    with qdebias.open_run(earlier / "run", FakeBackend().fingerprint, model="fake") as run:
        stored = qdebias.StoredScorer(run, qdebias.Scorer(backend=Silent(), method="paper+by-content"), name="moved")
        assert [Path(one.path).name for one in stored.ask(images)] == ["0.png", "1.png", "2.png"]


@pytest.mark.parametrize("name", DESCRIBED["methods"])
def test_a_method_has_the_description_that_files_have_of_it(name: str) -> None:
    assert method_id(describe(presets.get(name).method), 0) == DESCRIBED["methods"][name]


def test_fits_pools_and_plans_of_clusters_know_their_methods_again() -> None:
    asked = {
        "paper vanilla state": features_of([presets.get("paper"), presets.get("vanilla")], state=True),
        "paper+levels5": features_of([presets.get("paper+levels5")], state=False),
    }
    assert {name: method_id(describe(one), 0) for name, one in asked.items()} == DESCRIBED["fits"]
    settings = {name: Options(method=name).decisive()["settings of the method"] for name in DESCRIBED["ray"]}
    assert settings == DESCRIBED["ray"]
    pool = ImagePool(paths=(Path("/a.png"), Path("/b.png")), contents=("a", "b"))
    assert pool_digest(describe(pool)) == DESCRIBED["pool"]
