"""Scores from the likeliest words: adaptive logit weighting of SeP-IQA."""

from collections.abc import Sequence
from dataclasses import replace
from math import exp, sqrt
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import qdebias
from qdebias import presets
from qdebias.backends.base import Fingerprint, OptionLogits
from qdebias.backends.fake import FakeBackend
from qdebias.backends.hf.backend import HfBackend
from qdebias.backends.top import TopReader, mean_vectors, top_of
from qdebias.errors import BackendError, SettingError
from qdebias.image import RgbImage
from qdebias.methods.method import Context, QDebias
from qdebias.methods.outline import question_id
from qdebias.methods.readouts import Likeliest
from qdebias.prompts import Request, TopQuestion
from qdebias.runs.run import open_run
from qdebias.runs.scorer import Scorer
from qdebias.runs.stored import StoredScorer


def question(text: str) -> TopQuestion:
    method = presets.get(text).method
    assert isinstance(method, QDebias)
    found = method.quality
    assert isinstance(found, TopQuestion)
    return found


def reference(logits: list[float], vectors: list[list[float]], direction: list[float], k: int) -> float:
    """SeP-IQA: the sum over the k largest logits of logit times cosine(embedding, direction); here over k."""
    likeliest = sorted(range(len(logits)), key=lambda token: -logits[token])[:k]
    total = 0.0
    for token in likeliest:
        dot = sum(a * b for a, b in zip(vectors[token], direction, strict=True))
        lengths = sqrt(sum(a * a for a in vectors[token])) * sqrt(sum(b * b for b in direction))
        total += logits[token] * dot / lengths
    return total / k


@pytest.fixture(scope="module")
def nano() -> HfBackend:
    backend = qdebias.load_backend("nano", device="cpu")
    assert isinstance(backend, HfBackend)
    return backend


@pytest.mark.parametrize("text", ["sep-iqa", "vanilla+topk20", "vanilla+topk2+t3"])
def test_the_score_is_that_of_the_formula(text: str, nano: HfBackend, photo: RgbImage) -> None:
    asked = question(text)
    ((whole,),) = nano.last_logits([Request(images=(photo,), questions=(asked,))])
    table = nano.word_vectors(list(range(len(whole))))
    pole = {value: [w for w, v in zip(asked.options, asked.values, strict=True) if v == value] for value in (1.0, 0.0)}
    direction = nano.word_vectors(pole[1.0]).mean(axis=0) - nano.word_vectors(pole[0.0]).mean(axis=0)
    odds = reference(whole.tolist(), table.tolist(), direction.tolist(), asked.top) / (3 if "t3" in text else 1)
    found = Scorer(backend=nano, method=text).score(photo)
    assert found.log_odds == pytest.approx(odds)
    assert found.value == pytest.approx(1 / (1 + exp(-odds)))


def test_the_questions() -> None:
    assert question("sep-iqa").answer_prefix == question("vanilla+topk100").answer_prefix
    assert question("vanilla+topk100").text == "Rate the quality of the image."
    beside = question("paper+topk50")
    assert beside.text == (
        "The visual quality of the first image is poor. How about the visual quality of the second image?"
    )
    assert (beside.answer_prefix, beside.top) == ("The quality of the image is very", 50)
    turned = Likeliest(top=50)(replace(presets.VANILLA, values=(0.0, 1.0)))
    assert (turned.values[0], turned.values[-1]) == (0, 1)


def test_it_goes_with_conditions_and_weights(photo: RgbImage) -> None:
    found = Scorer(backend=FakeBackend(), method="paper+topk10+logodds+seeds2").score(photo)
    assert 0 < found.value < 1
    assert len(found.good) == 6
    assert len(found.same) == 6, "the same-object question is asked beside it"
    assert all(len(answer[0]) == 30 and len(answer[1]) == 2 for answer in found.logits)


def test_answers_are_kept_and_told_apart_by_k(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(path)
    asked = []
    for text in ("paper+topk10", "paper+topk10+average+t2", "paper+topk10", "paper+topk11"):
        backend = FakeBackend()
        with open_run(tmp_path / "run", backend.fingerprint, model="fake") as run:
            stored = StoredScorer(run, Scorer(backend=backend, method=text), name=text)
            list(stored.ask([path]))
            assert (
                next(iter(stored.results([path]))).value == Scorer(backend=FakeBackend(), method=text).score(path).value
            )
        asked.append(sum(len(request.questions) for call in backend.calls for request in call))
    assert asked == [8, 0, 0, 4]
    ten = question("vanilla+topk10")
    turned = replace(ten, values=tuple(1 - value for value in ten.values))
    assert len({question_id("before", one) for one in (ten, turned, replace(ten, top=11))}) == 3


class Closed:
    """A backend such as a server, which answers with the logits of given words alone."""

    @property
    def fingerprint(self) -> Fingerprint:
        return Fingerprint(identity={"model": "closed"})

    def option_logits(self, requests: Sequence[Request]) -> OptionLogits:
        return FakeBackend().option_logits(requests)


def test_a_backend_without_the_doors_is_refused_before_it_is_asked() -> None:
    with pytest.raises(BackendError, match=r"closed has no logits beyond .* choose a model that runs in this process"):
        Scorer(backend=Closed(), method="sep-iqa")


def test_an_answer_of_another_kind_is_refused(photo: RgbImage) -> None:
    method = presets.get("sep-iqa").method
    with pytest.raises(BackendError, match=r"100 likeliest words, and the answer has 28 numbers; .*TopReader"):
        Scorer(backend=FakeBackend(), method=method).score(photo)


def test_the_readers_stay_one_deep() -> None:
    backend = presets.get("sep-iqa").fit(FakeBackend())
    assert isinstance(backend, TopReader)
    again = presets.get("paper").fit(backend)
    assert isinstance(again, TopReader)
    assert isinstance(again.backend, FakeBackend)
    assert isinstance(presets.get("paper").fit(FakeBackend()), FakeBackend)


def test_equal_logits_come_in_the_order_of_their_ids() -> None:
    top = top_of(np.array([1.0, 3.0, 3.0, 2.0, 3.0]), 4, lambda ids: f"word {ids[0]}")
    assert top.ids.tolist() == [1, 2, 4, 3]
    assert top.words[0] == "word 1"
    assert top.logits.tolist() == [3, 3, 3, 2]
    with pytest.raises(BackendError, match=r"the 6 likeliest words .* has 5"):
        top_of(np.zeros(5), 6, str)


def test_a_word_of_several_tokens_is_their_mean() -> None:
    table = np.arange(12.0).reshape(4, 3)
    found = mean_vectors(["ab", 2, "b"], lambda word: [0, 3] if word == "ab" else [3], torch.from_numpy(table))
    np.testing.assert_array_equal(found, [(table[0] + table[3]) / 2, table[2], table[3]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("vanilla+topk1", "2 or more, got 1"),
        ("vanilla+topk2.5", "whole number, got 2.5"),
        ("vanilla+topk100+levels5", "both decide the readout"),
        ("vanilla+topk100+prior-blank", "a prior is subtracted option by option"),
    ],
)
def test_impossible_settings_are_refused(text: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        presets.get(text)


def test_words_point_one_way_or_the_other() -> None:
    with pytest.raises(SettingError, match=r"good \(1\) or bad \(0\)"):
        TopQuestion(text="How good?", options=(" good", " fine"), values=(1.0, 0.5))


def test_without_questions_of_this_kind_nothing_changes(photo: RgbImage) -> None:
    requests = presets.get("paper").method.plan(photo, Context()).requests
    plain, reader = FakeBackend(), TopReader(FakeBackend())
    for one, other in zip(plain.option_logits(requests), reader.option_logits(requests), strict=True):
        for left, right in zip(one, other, strict=True):
            np.testing.assert_array_equal(left, right)
    assert reader.option_logits([]) == []
