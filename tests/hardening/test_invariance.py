"""Whatever is scored beside an image, in whichever order, batches and pieces: its score has the same bits."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from shutil import rmtree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mutation import examples
from qdebias.backends.fake import FakeBackend
from qdebias.image import RgbImage
from qdebias.methods.method import Score
from qdebias.runs.run import open_run
from qdebias.runs.scorer import Scorer
from qdebias.runs.stored import StoredScorer

METHODS = ("vanilla", "paper", "query-first", "paper@fog,jpeg+median", "paper+seeds2")
COUNT = 6

ways = st.fixed_dictionaries({"batch": st.integers(1, 8), "threads": st.integers(1, 4)})
choices = st.lists(st.integers(0, COUNT - 1), min_size=1, max_size=2 * COUNT)
"""Which images are scored, some of them twice, in any order."""


@cache
def picture(number: int) -> RgbImage:
    return np.random.default_rng(number).integers(0, 256, (32 + number % 3, 40, 3), dtype=np.uint8)


@cache
def alone(method: str, number: int) -> float:
    return Scorer(backend=FakeBackend(), method=method).score(picture(number)).value


@pytest.mark.parametrize("method", METHODS)
def test_order_batch_and_threads(method: str, thorough: bool, trials: Callable[[int], None]) -> None:
    @examples(100 if thorough else 5)
    @given(choices, ways)
    def holds(chosen: list[int], way: dict[str, int]) -> None:
        scorer = Scorer(backend=FakeBackend(), method=method, **way)
        got = [score.value for score in scorer.score_many(map(picture, chosen)) if isinstance(score, Score)]
        assert got == [alone(method, number) for number in chosen]
        trials(1)

    holds()


@pytest.mark.parametrize("method", METHODS)
def test_stops_anywhere(method: str, tmp_path: Path, thorough: bool, trials: Callable[[int], None]) -> None:
    """Each time with other images, order and batches, after any number of outcomes."""
    paths = [tmp_path / f"{number}.png" for number in range(COUNT)]
    for number, path in enumerate(paths):
        Image.fromarray(picture(number)).save(path)
    folder = tmp_path / "run"

    @examples(40 if thorough else 3)
    @given(st.lists(st.tuples(choices, ways, st.integers(0, COUNT)), min_size=1, max_size=5))
    def holds(pieces: list[tuple[list[int], dict[str, int], int]]) -> None:
        rmtree(folder, ignore_errors=True)
        for chosen, way, stop in pieces:
            with open_run(folder, FakeBackend().fingerprint, model="fake") as run:
                scorer = StoredScorer(run, Scorer(backend=FakeBackend(), method=method, **way), name=method)
                asked = scorer.ask([paths[number] for number in chosen])
                for _ in zip(range(stop), asked, strict=False):
                    pass
                asked.close()  # type: ignore[attr-defined]
        with open_run(folder, FakeBackend().fingerprint, model="fake") as run:
            scorer = StoredScorer(run, Scorer(backend=FakeBackend(), method=method), name=method)
            for _ in scorer.ask(paths):
                pass
            got = [score.value for score in scorer.results(paths) if isinstance(score, Score)]
        assert got == [alone(method, number) for number in range(COUNT)]
        trials(1)

    holds()
