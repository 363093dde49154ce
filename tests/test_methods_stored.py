"""Methods that are put together share what is stored."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from qdebias import presets
from qdebias.backends.fake import FakeBackend
from qdebias.methods.method import Score
from qdebias.methods.plan import Failure
from qdebias.runs.derive import recorded
from qdebias.runs.run import open_run, open_snapshot
from qdebias.runs.scorer import Scorer
from qdebias.runs.stored import StoredScorer

METHODS = (
    "paper+logodds",
    "paper+confidence",
    "paper+median+logodds",
    "paper+t100",
    "paper+without-fog+winner",
    "paper+by-content",
    "pristine+median",
    "paper+ensemble",
    "paper+prior-blank",
    "paper+prior-noise+seeds2",
    "paper+levels5+seeds3+logodds",
    "contrast",
    "contrast+levels5+seeds2",
    "vanilla+ensemble",
    "vanilla+words+prior-blank",
    "query-first+sharpness+neutral",
    "paper+with-jpeg+with-gaussian-noise5",
)


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(9)
    found = [tmp_path / f"{number}.png" for number in range(3)]
    for path in found:
        Image.fromarray(rng.integers(0, 256, (40, 44, 3), dtype=np.uint8)).save(path)
    return found


def fill(folder: Path, paths: list[Path], text: str) -> tuple[list[float], int]:
    """Score into the run; return the scores and how many questions were asked."""
    backend = FakeBackend()
    with open_run(folder, backend.fingerprint, model="fake") as run:
        stored = StoredScorer(run, Scorer(backend=backend, method=text), name=text)
        list(stored.ask(paths))
        scores = [value_of(result) for result in stored.results(paths)]
    return scores, sum(len(request.questions) for call in backend.calls for request in call)


def value_of(result: Score | Failure) -> float:
    assert isinstance(result, Score)
    return result.value


def plain(paths: list[Path], text: str) -> list[float]:
    return [value_of(result) for result in Scorer(backend=FakeBackend(), method=text).score_many(paths)]


@pytest.mark.parametrize("text", METHODS)
def test_scores_from_a_run_are_the_scores(text: str, paths: list[Path], tmp_path: Path) -> None:
    scores, asked = fill(tmp_path / "run", paths, text)
    assert scores == plain(paths, text)
    assert asked > 0
    assert fill(tmp_path / "run", paths, text) == (scores, 0)
    with open_snapshot(tmp_path / "run") as snapshot:
        rows = recorded(snapshot, presets.get(text))
        assert [value_of(result) for _, result in rows] == scores


@pytest.mark.parametrize(
    ("first", "others"),
    [
        ("paper", ("average", "paper+logodds", "paper+confidence", "paper+median+t100", "paper+without-fog+winner")),
        ("paper", ("paper+by-content",)),
        ("paper+levels5", ("paper+levels5+logodds+t2", "paper+levels5+only-fog")),
        ("paper+ensemble", ("paper+neutral", "paper+ensemble+average+logodds")),
        ("paper+prior-blank", ("paper", "paper+prior-blank+median")),
        ("paper+seeds3", ("paper", "paper+seeds2", "paper+seeds3+average+logodds")),
    ],
)
def test_what_another_method_asked_is_not_asked_again(
    first: str, others: tuple[str, ...], paths: list[Path], tmp_path: Path
) -> None:
    fill(tmp_path / "run", paths, first)
    for text in others:
        assert fill(tmp_path / "run", paths, text) == (plain(paths, text), 0), text


def test_images_without_content_are_asked_about_once_a_run(paths: list[Path], tmp_path: Path) -> None:
    assert fill(tmp_path / "run", paths, "vanilla+prior-blank")[1] == len(paths) + 1
