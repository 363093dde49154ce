"""Scores from any logits: within [0, 1], monotone, blind to constants; anything else is an explicit error."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutation import examples
from qdebias import presets
from qdebias.backends.base import OptionLogits
from qdebias.backends.fake import FakeBackend
from qdebias.errors import BackendError, SettingError
from qdebias.methods.method import Answers, Context, Method, Plan, Score
from qdebias.prompts import Question, Request
from qdebias.runs.run import open_run
from qdebias.runs.scorer import Scorer
from qdebias.runs.stored import StoredBackend

METHODS = (
    *(
        "paper",
        "paper-literal",
        "released",
        "released-as-written",
        "vanilla",
        "qbench",
        "qbench-t100",
        "t1",
        "t2",
        "t3",
    ),
    *("average", "winner", "only-zoom-blur", "only-spatter", "only-fog", "only-saturate", "spatter-saturate"),
    *("spatter-fog-saturate", "pristine", "query-first", "qdebias+levels5+logodds", "paper+words", "paper+neutral"),
    *("paper+ensemble", "paper+confidence", "paper+median", "paper+logodds+t0.01", "vanilla+levels5+t100"),
    *("paper+prior-blank", "paper+levels5+average+prior-noise", "paper+by-content", "paper+seeds2"),
    *("paper+sharpness", "paper@fog,jpeg+median+logodds", "released+ensemble+winner"),
)
"""Without those that need a pool of images, other weights or the likeliest words."""

MONOTONE = tuple(name for name in METHODS if "confidence" not in name)
"""Weights by confidence depend on the answers themselves, so a surer answer may move weight away from another."""

LARGEST = float(np.finfo(np.float32).max)
"""No type that a model runs in has larger numbers; float16 ends at 65,504."""

FIFTY = st.floats(-50, 50)


@cache
def asked(name: str) -> tuple[Method, Plan]:
    image = np.random.default_rng(7).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    method = presets.get(name).method
    return method, method.plan(image, Context())


def answers(name: str, logits: st.SearchStrategy[float]) -> st.SearchStrategy[Answers]:
    """Return logits for everything that a method asks."""
    return st.tuples(
        *(
            st.tuples(
                *(
                    st.lists(logits, min_size=len(question.options), max_size=len(question.options)).map(np.array)
                    for question in request.questions
                )
            )
            for request in asked(name)[1].requests
        )
    )


def score(name: str, given_answers: Answers) -> Score:
    method, plan = asked(name)
    return method.combine(plan, given_answers)


def changed(name: str, old: Answers, change: Callable[[Question, np.ndarray], np.ndarray]) -> Answers:
    return [
        [change(question, logits) for question, logits in zip(request.questions, row, strict=True)]
        for request, row in zip(asked(name)[1].requests, old, strict=True)
    ]


@pytest.mark.parametrize("name", METHODS)
def test_any_finite_logits_give_a_score_between_0_and_1(
    name: str, thorough: bool, trials: Callable[[int], None]
) -> None:
    special = st.sampled_from([0.0, -0.0, 1e-300, 65504.0, -65504.0, LARGEST, -LARGEST])

    @examples(200 if thorough else 10)
    @given(answers(name, special | FIFTY | st.floats(-LARGEST, LARGEST)))
    def holds(given_answers: Answers) -> None:
        got = score(name, given_answers)
        assert 0 <= got.value <= 1
        assert ((got.good >= 0) & (got.good <= 1)).all()
        assert got.weight.sum() == pytest.approx(1)
        assert got.log_odds is None or not math.isnan(got.log_odds)
        trials(1)

    holds()


@pytest.mark.parametrize("name", METHODS)
def test_a_constant_on_all_logits_of_a_question_changes_nothing(
    name: str, thorough: bool, trials: Callable[[int], None]
) -> None:
    """With numbers whose sums are exact, so that rounding does not decide between conditions that are equally sure."""
    eighths = st.integers(-400, 400).map(lambda number: number / 8)

    @examples(200 if thorough else 10)
    @given(answers(name, eighths), st.integers(-1000, 1000))
    def holds(given_answers: Answers, constant: int) -> None:
        moved = changed(name, given_answers, lambda _, logits: logits + constant)
        assert score(name, moved).value == pytest.approx(score(name, given_answers).value, abs=1e-12)
        trials(1)

    holds()


@pytest.mark.parametrize("name", MONOTONE)
def test_a_larger_logit_of_good_never_lowers_the_score(
    name: str, thorough: bool, trials: Callable[[int], None]
) -> None:
    """Raised in all answers about quality at once; the weights do not depend on them."""

    def raised(question: Question, logits: np.ndarray) -> np.ndarray:
        return logits + (np.array(question.values) == 1) * 0.5 if is_quality(question) else logits

    @examples(200 if thorough else 10)
    @given(answers(name, FIFTY))
    def holds(given_answers: Answers) -> None:
        before, after = score(name, given_answers), score(name, changed(name, given_answers, raised))
        assert after.value >= before.value - 1e-12
        trials(1)

    holds()


def is_quality(question: Question) -> bool:
    return "Yes" not in question.options


@pytest.mark.parametrize("name", METHODS)
def test_equal_logits_give_the_mean_of_the_values(name: str) -> None:
    equal = [[np.full(len(one.options), 7.5) for one in request.questions] for request in asked(name)[1].requests]
    assert score(name, equal).value == pytest.approx(0.5)


@dataclass(slots=True, kw_only=True)
class Careless(FakeBackend):
    """Answers with whatever it is told to."""

    bad: float

    def option_logits(self, requests: Sequence[Request]) -> OptionLogits:
        return [[np.array([0.5, self.bad]) for _ in request.questions] for request in requests]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_logits_that_are_no_numbers_are_an_error_and_are_not_stored(bad: float, tmp_path: Path) -> None:
    """Also where a backend does not look itself."""

    image = np.zeros((40, 48, 3), np.uint8)
    with pytest.raises(BackendError, match="no score can be read"):
        Scorer(backend=Careless(bad=bad), method="vanilla").score(image)
    with open_run(tmp_path / "run", Careless(bad=bad).fingerprint, model="fake") as run:
        with pytest.raises(BackendError, match="are not stored"):
            Scorer(backend=StoredBackend(Careless(bad=bad), run), method="vanilla").score(image)
        assert run.index.answer_count() == 0


@pytest.mark.parametrize(
    ("options", "values"),
    [
        ((), ()),
        ((" good",), (1.0,)),
        ((" a", " a"), (1.0, 0.0)),
        ((" a", " b"), (1.0,)),
        ((" a", " b"), (1.0, math.nan)),
    ],
)
def test_questions_without_a_choice_are_refused(options: tuple[str, ...], values: tuple[float, ...]) -> None:
    with pytest.raises(SettingError):
        Question(text="How?", options=options, values=values)


@pytest.mark.parametrize("name", ["paper", "released", "paper@jpeg,fog,gaussian-noise"])
def test_the_seed_of_one_degradation_is_nothing_to_the_others(name: str) -> None:
    """What draws no noise is the same under any seed, and what does is the same whatever stands beside it."""
    image = np.random.default_rng(7).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    method = presets.get(name).method
    first, second = (method.plan(image, Context(seed=seed)).conditions for seed in (0, 1))
    noisy = {one.kind for one, other in zip(first, second, strict=True) if (one.image != other.image).any()}
    assert noisy <= {"Spatter", "Fog", "GaussianNoise"}
    for degradation, beside in zip(method.degradations, first, strict=True):  # type: ignore[attr-defined]
        alone = presets.get("paper").method
        (made,) = type(alone)(quality=alone.quality, degradations=(degradation,)).plan(image, Context()).conditions
        np.testing.assert_array_equal(made.image, beside.image)
