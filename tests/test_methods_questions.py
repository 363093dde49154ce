"""Readouts, aspects, the pristine side, the prior and the choice by content do what their sources say."""

import json
from dataclasses import replace
from math import exp
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import qdebias
from qdebias import presets
from qdebias.backends.fake import FakeBackend
from qdebias.backends.mplug_owl3.processing import read_vocabulary
from qdebias.backends.prompt import option_tokens
from qdebias.degrade import GaussianNoise, Spatter
from qdebias.errors import OptionError, SettingError
from qdebias.image import RgbImage, digest
from qdebias.methods.content import ContentFree, blank, is_screen, noise
from qdebias.methods.describe import describe
from qdebias.methods.method import Context, QDebias
from qdebias.methods.parts import ASPECTS
from qdebias.methods.readouts import ENSEMBLE, GOOD_POOR, LEVELS5, NEUTRAL, WORDS
from qdebias.prompts import Question
from test_cli import run


def asked(text: str) -> tuple[Question, ...]:
    method = presets.get(text).method
    assert isinstance(method, QDebias)
    return method.qualities


def answered(text: str, photo: RgbImage, *logits: list[float]) -> float:
    """The score of the image alone, from the logits of each question."""
    method = presets.get(text).method
    return method.combine(method.plan(photo, Context()), [[np.array(one) for one in logits]]).value


def test_a_set_of_words_is_the_share_of_the_good_ones(photo: RgbImage) -> None:
    grown = np.exp(logits := [2.0, 0.5, -1.0, 1.0, 0.0, -3.0])
    assert asked("vanilla+words")[0].options == (" good", " high", " excellent", " poor", " low", " bad")
    assert answered("vanilla+words", photo, logits) == pytest.approx(grown[:3].sum() / grown.sum())


def test_a_neutral_word_counts_one_half(photo: RgbImage) -> None:
    good, average, poor = np.exp(logits := [1.0, 2.0, -0.5])
    assert asked("vanilla+neutral")[0].text == "Rate the quality of the image. Good, average or poor?"
    expected = (good + average / 2) / (good + average + poor)
    assert answered("vanilla+neutral", photo, logits) == pytest.approx(expected)


def test_an_ensemble_is_the_mean_over_its_prompts(photo: RgbImage) -> None:
    logits = [[1.0, 2.0, -0.5], [0.0, 0.0, 3.0], [-1.0, 0.5, 0.2]]
    each = [(exp(good) + exp(middle) / 2) / (exp(good) + exp(middle) + exp(poor)) for good, middle, poor in logits]
    assert [question.text.split(". ")[1] for question in asked("vanilla+ensemble")] == [
        "Good, average or poor?",
        "High, medium or low?",
        "Excellent, fair or bad?",
    ]
    assert answered("vanilla+ensemble", photo, *logits) == pytest.approx(np.mean(each))


def test_every_word_is_one_token_of_the_paper_s_model(shared: Path) -> None:
    vocabulary = read_vocabulary(shared / "qwen2_tokenizer")
    readouts = (*GOOD_POOR, *LEVELS5, *WORDS, *NEUTRAL, *ENSEMBLE)
    starts = (presets.CONDITIONAL, presets.RELEASED_CONDITIONAL)
    for question in (words(start) for words in readouts for start in starts):
        ids = vocabulary.encode(f"<|im_start|>assistant\n{question.answer_prefix}")
        assert len(set(option_tokens(vocabulary, ids, question))) == len(question.options)


def test_the_question_of_sep_iqa_is_read_by_five_levels(photo: RgbImage) -> None:
    (question,) = asked("sep-levels5")
    assert question.text.startswith("Taking into account the details and the rationality of the image, how would you")
    assert question.answer_prefix == "The quality of the image is very"
    assert question.options == (" excellent", " good", " fair", " poor", " bad")
    grown = np.exp(logits := [2.0, 0.5, -1.0, 1.0, 0.0])
    assert answered("sep-levels5", photo, logits) == pytest.approx(grown @ [1, 0.75, 0.5, 0.25, 0] / grown.sum())


def test_a_written_standard_is_read_by_its_mean_digit(photo: RgbImage) -> None:
    (question,) = asked("standard7")
    assert all(f"({digit}) " in question.text for digit in "1234567")
    grown = np.exp(logits := [0.3, 2.0, 1.0, 0.5, 0.0, -1.0, -2.0])
    digit = grown @ [7, 6, 5, 4, 3, 2, 1] / grown.sum()
    assert answered("standard7", photo, logits) == pytest.approx((digit - 1) / 6)


def test_a_digit_is_one_token_behind_the_bracket(shared: Path) -> None:
    vocabulary = read_vocabulary(shared / "qwen2_tokenizer")
    (question,) = asked("standard7")
    ids = vocabulary.encode(f"<|im_start|>assistant\n{question.answer_prefix}")
    tokens = option_tokens(vocabulary, ids, question)
    assert [vocabulary.decode([token]) for token in tokens] == list("7654321")
    assert vocabulary.encode(f"{question.answer_prefix}7") == [*vocabulary.encode(question.answer_prefix), tokens[0]]
    with pytest.raises(OptionError, match="becomes 2 tokens"):
        option_tokens(vocabulary, ids, replace(question, options=(" 7", " 6"), values=(1.0, 0.0)))


def test_a_readout_needs_good_and_poor() -> None:
    own = replace(presets.VANILLA, options=(" sharp", " blurry"))
    with pytest.raises(SettingError, match=r"takes the place of good and poor.*' sharp', ' blurry'"):
        LEVELS5[0](own)


def test_the_pristine_side_rates_the_copy(photo: RgbImage) -> None:
    method = presets.get("pristine").method
    plan = method.plan(photo, Context())
    assert all(request.images[0] is photo for request in plan.requests)
    assert "The visual quality of the first image is excellent." in plan.requests[0].questions[0].text
    good_copies = [[np.array([5.0, -5.0]), np.array([1.0, 0.0])]] * 4
    assert method.combine(plan, good_copies).value > 0.99


@pytest.mark.parametrize("aspect", ASPECTS)
def test_an_aspect_takes_the_place_of_quality_everywhere(aspect: str) -> None:
    noun = ASPECTS[aspect].noun
    (alone,), (beside,) = asked(f"vanilla+{aspect}"), asked(f"paper+{aspect}")
    assert alone.text == f"Rate the {noun} of the image. Good or poor?"
    assert beside.text == (
        f"The {noun} of the first image is poor. How about the {noun} of the second image? Good or poor?"
    )
    assert alone.answer_prefix == beside.answer_prefix == f"The {noun} of the image is"
    assert asked(f"query-first+{aspect}+levels5")[0].text.endswith("first image? Excellent, good, fair, poor or bad?")


def test_an_aspect_brings_conditions_of_which_it_is_true() -> None:
    noisy, chosen = presets.get("paper+noise").method, presets.get("paper@spatter+noise").method
    assert isinstance(noisy, QDebias)
    assert isinstance(chosen, QDebias)
    assert noisy.degradations == (GaussianNoise(),)
    assert chosen.degradations == (Spatter(),), "what was chosen by name stays"


@pytest.mark.parametrize("text", ["vanilla", "paper", "query-first+average", "paper+levels5"])
@pytest.mark.parametrize("prior", ["blank", "noise"])
def test_the_prior_is_divided_out_of_every_option(text: str, prior: str, photo: RgbImage) -> None:
    """Contextual calibration: P(option | x) / P(option | nothing), normalised."""
    free = ContentFree(make={"blank": blank, "noise": noise}[prior])
    plain = presets.get(text).method
    requests = plain.plan(photo, Context()).requests
    backend = FakeBackend()
    good = []
    for request, answer in zip(requests, backend.option_logits(requests), strict=True):
        images = tuple(free.image if image is photo else image for image in request.images)
        nothing = backend.option_logits([replace(request, images=images)])[0][0]
        share = np.exp(answer[0]) / np.exp(answer[0]).sum() / (np.exp(nothing) / np.exp(nothing).sum())
        good.append(share / share.sum() @ request.questions[0].values)
    found = qdebias.Scorer(backend=backend, method=f"{text}+prior-{prior}").score(photo)
    np.testing.assert_allclose(found.good, good)
    assert found.value == pytest.approx(found.weight @ good)


def test_the_prior_of_the_prior_is_one_half() -> None:
    found = qdebias.Scorer(backend=FakeBackend(), method="vanilla+prior-blank").score(blank())
    assert found.value == 0.5


def test_images_without_content_are_always_the_same() -> None:
    for make in (blank, noise):
        free = ContentFree(make=make)
        assert free.digest == digest(make())
        assert free.image is ContentFree(make=make).image
        assert describe(free) == {"is": "qdebias.content.ContentFree", "make": describe(make)}


def screen(shade: int = 255) -> RgbImage:
    """A page of text."""
    page = np.full((240, 320, 3), shade, np.uint8)
    for line in range(20, 230, 14):
        cv2.putText(page, "the quick brown fox", (12, line), cv2.FONT_HERSHEY_PLAIN, 1.5, (255 - shade,) * 3, 2)
    return page


def test_screens_are_told_from_photographs(photo: RgbImage) -> None:
    rng = np.random.default_rng(1)
    assert is_screen(screen())
    assert is_screen(screen(shade=20))
    assert is_screen(GaussianNoise(deviation=0.05)(screen(), rng)), "noise does not hide a page"
    assert not is_screen(photo)
    assert not is_screen(np.full((100, 100, 3), 200, np.uint8)), "a background alone is none"
    assert not is_screen(rng.integers(0, 256, (100, 100, 3), np.uint8)), "edges alone are none"


def test_only_spatter_counts_on_a_screen(photo: RgbImage) -> None:
    page, backend = screen(), FakeBackend()
    plain, chosen, spatter = (
        qdebias.Scorer(backend=backend, method=text) for text in ("paper", "paper+by-content", "only-spatter")
    )
    assert chosen.score(photo).value == pytest.approx(plain.score(photo).value)
    on_page = chosen.score(page)
    assert on_page.value == pytest.approx(spatter.score(page).value)
    assert on_page.weight.tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("paper+by-content+without-spatter", "this method has no spatter"),
        ("paper+by-content+lpips", "cannot be weighed by their likeness"),
        ("paper+sharpness+noise", "both decide the aspect"),
        ("paper+words+neutral", "both decide the readout"),
        ("paper+prior-blank+prior-noise", "both decide the prior"),
    ],
)
def test_what_does_not_go_together_is_refused(text: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        presets.get(text)


def test_the_aspect_is_an_option_of_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(2).integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(path)
    arguments = ("score", path, "--model", "fake", "--json")
    option = run(*arguments, "--method", "vanilla", "--aspect", "sharpness")
    assert option.returncode == 0, option.stderr
    assert json.loads(option.stdout)["method"] == "vanilla+sharpness"
    assert option.stdout == run(*arguments, "--method", "vanilla+sharpness").stdout
    wrong = run(*arguments, "--aspect", "smell")
    assert wrong.returncode == 2
    assert "there is no aspect 'smell'; choose one of sharpness, noise" in wrong.stderr


def test_every_condition_is_a_picture_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(2).integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(path)
    assert run("degrade", path, "--method", "paper+exposure", "--out", tmp_path / "out").returncode == 0
    assert {one.name for one in (tmp_path / "out").iterdir()} == {"a.png.Brightness.png", "a.png.Brightness-2.png"}
