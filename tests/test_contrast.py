"""The contrast: an image less its degraded copies, each asked about alone."""

from math import log
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from qdebias import presets
from qdebias.backends.fake import FakeBackend
from qdebias.equations import FloatArray
from qdebias.errors import SettingError
from qdebias.image import RgbImage
from qdebias.methods.method import Context, QDebias, Score
from qdebias.runs.derive import recorded
from qdebias.runs.run import open_run, open_snapshot
from qdebias.runs.scorer import Scorer
from qdebias.runs.stored import StoredScorer

ANSWERS = [[np.array(row)] for row in ([2.0, -1.0], [1.0, 0.0], [0.5, 1.0], [-1.0, 1.0], [0.0, 0.0])]
"""Logits of good and poor: d is 3 of the image, and 1, -0.5, -2 and 0 of its copies."""


def combined(name: str, photo: RgbImage, answers: list[list[FloatArray]] = ANSWERS) -> Score:
    method = presets.get(name).method
    return method.combine(method.plan(photo, Context()), answers)


def sigmoid(z: float) -> float:
    return float(1 / (1 + np.exp(-z)))


@pytest.mark.parametrize(
    ("name", "log_odds"),
    [
        ("contrast", 3 - (1 - 0.5 - 2 + 0) / 4),
        ("contrast+a0.5", 3 - 0.5 * (1 - 0.5 - 2 + 0) / 4),
        ("contrast+median", 3 - (-0.5 + 0) / 2),
        ("contrast+t2", (3 - (1 - 0.5 - 2 + 0) / 4) / 2),
    ],
)
def test_log_odds_by_hand(name: str, log_odds: float, photo: RgbImage) -> None:
    found = combined(name, photo)
    assert found.log_odds == pytest.approx(log_odds)
    assert found.value == pytest.approx(sigmoid(log_odds))


def test_one_condition_by_hand(photo: RgbImage) -> None:
    assert combined("contrast+only-fog", photo, [ANSWERS[0], ANSWERS[3]]).log_odds == pytest.approx(5)


def test_levels_are_contrasted_by_the_log_odds_of_their_mean(photo: RgbImage) -> None:
    shares = [(4, 1, 1, 1, 1), (1, 1, 1, 1, 4)]
    mean = [(4 + 0.75 + 0.5 + 0.25) / 8, (1 + 0.75 + 0.5 + 0.25) / 8]
    want = log(mean[0] / (1 - mean[0])) - log(mean[1] / (1 - mean[1]))
    found = combined("contrast+levels5+only-fog", photo, [[np.log(np.array(share))] for share in shares])
    assert found.log_odds == pytest.approx(want)
    assert found.probabilities["excellent"] == pytest.approx(0.5), "of the image itself"


def test_each_image_is_shown_alone(photo: RgbImage) -> None:
    method = presets.get("contrast").method
    plan = method.plan(photo, Context())
    assert [len(request.images) for request in plan.requests] == [1] * 5
    assert plan.requests[0].images[0] is photo
    copies = [condition.image for condition in plan.conditions]
    assert [request.images[0] for request in plan.requests[1:]] == copies
    assert {request.questions for request in plan.requests} == {(presets.VANILLA,)}


def test_what_content_adds_to_all_is_taken_away(photo: RgbImage) -> None:
    liked = [[rows[0] + np.array([7.0, 0.0])] for rows in ANSWERS]
    assert combined("contrast", photo, liked).value == pytest.approx(combined("contrast", photo).value)


def test_seeds_are_averaged(photo: RgbImage) -> None:
    """Only spatter and fog draw noise: the others are asked about once."""
    answers = [ANSWERS[0], *([np.array([d, 0.0])] for d in (1.0, -0.5, -1.5, 0.0, 2.0, 1.0))]
    found = combined("contrast+seeds2", photo, answers)
    first, second = 3 - (1 - 0.5 + 0 + 2) / 4, 3 - (1 - 1.5 + 0 + 1) / 4
    assert found.value == pytest.approx((sigmoid(first) + sigmoid(second)) / 2)
    assert found.spread == pytest.approx(np.std([sigmoid(first), sigmoid(second)], ddof=1))


def test_a_run_of_vanilla_holds_the_first_answer(tmp_path: Path, photo: RgbImage) -> None:
    Image.fromarray(photo).save(tmp_path / "a.png")
    asked = []
    with open_run(tmp_path / "run", FakeBackend().fingerprint, model="fake") as run:
        for name in ("vanilla", "contrast", "contrast+a2"):
            backend = FakeBackend()
            stored = StoredScorer(run, Scorer(backend=backend, method=name), name=name)
            list(stored.ask([tmp_path / "a.png"]))
            asked.append(sum(len(request.questions) for call in backend.calls for request in call))
    assert asked == [1, 4, 0]
    with open_snapshot(tmp_path / "run") as snapshot:
        ((_, again),) = recorded(snapshot, presets.get("contrast"))
    plain = Scorer(backend=FakeBackend(), method="contrast").score(photo)
    assert isinstance(again, Score)
    assert again.value == plain.value


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("contrast+winner", "need the same-object question"),
        ("contrast+logodds", "averages log-odds; leave the mean out"),
        ("contrast+prior-blank", "no prior"),
        ("paper+a0.5", "nothing is subtracted by this method; start from contrast"),
        ("contrast+a0", "share of more than 0"),
    ],
)
def test_what_does_not_go_together_is_refused(name: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        presets.get(name)


def test_a_contrast_needs_conditions() -> None:
    with pytest.raises(SettingError, match="needs conditions"):
        QDebias(quality=presets.VANILLA, degradations=(), contrast=1.0)
