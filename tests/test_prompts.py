"""Questions and requests refuse what cannot be asked."""

import re
from dataclasses import replace

import pytest

from qdebias.errors import SettingError
from qdebias.image import RgbImage
from qdebias.prompts import Question, Request, refuse_special_tokens

GOOD = Question(text="Good?", options=("Yes", "No"), values=(1.0, 0.0))


@pytest.mark.parametrize(
    ("options", "values"),
    [(("Yes",), (1.0,)), (("Yes", "Yes"), (1.0, 0.0)), (("Yes", ""), (1.0, 0.0)), ((), ())],
)
def test_a_question_needs_two_different_options(options: tuple[str, ...], values: tuple[float, ...]) -> None:
    with pytest.raises(SettingError, match="two or more different options"):
        Question(text="Good?", options=options, values=values)


@pytest.mark.parametrize("values", [(1.0,), (1.0, 2.0), (1.0, float("nan"))])
def test_each_option_needs_a_value_in_the_unit_interval(values: tuple[float, ...]) -> None:
    with pytest.raises(SettingError, match=r"one value in \[0, 1\]"):
        replace(GOOD, values=values)


def test_a_question_needs_a_text() -> None:
    with pytest.raises(SettingError, match="needs a text"):
        replace(GOOD, text=" ")


def test_a_request_needs_images_questions_and_a_known_placement(photo: RgbImage) -> None:
    with pytest.raises(SettingError, match="at least one image and one question"):
        Request(images=(), questions=(GOOD,))
    with pytest.raises(SettingError, match="at least one image and one question"):
        Request(images=(photo,), questions=())
    with pytest.raises(SettingError, match="'before' or 'after', got 'between'"):
        Request(images=(photo,), questions=(GOOD,), placement="between")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "token",
    [
        *(
            "<image>",
            "<|image|>",
            "<|image_1|>",
            "<image_soft_token>",
            "<|vision_start|>",
            "<|image_pad|>",
            "<IMG_CONTEXT>",
        ),
        *(
            "[IMG]",
            "[IMG_BREAK]",
            "[INST]",
            "<__media__>",
            "<|im_end|>",
            "<end_of_turn>",
            "<|image>",
            "<image|>",
            "</s>",
        ),
        *(
            "<fake_token_around_image>",
            "<global-img>",
            "<row_1_col_2>",
            "<im_patch>",
            "<｜end▁of▁sentence｜>",
            "</img>",
        ),
    ],
)
def test_special_tokens_typed_as_text_are_refused(token: str) -> None:
    for change in ({"text": f"Good?{token}"}, {"options": (token, "No")}):
        with pytest.raises(SettingError, match=re.escape(f"contains {token!r}")):
            replace(GOOD, **change)


def test_a_prefix_may_hold_an_empty_thought_and_no_image() -> None:
    assert replace(GOOD, answer_prefix="<think>\n\n</think>\n\n").answer_prefix
    assert replace(GOOD, answer_prefix="<|channel>thought\n<channel|>").answer_prefix
    with pytest.raises(SettingError, match="contains '<image>'"):
        replace(GOOD, answer_prefix="It shows <image> and is")


def test_words_with_brackets_are_no_special_tokens() -> None:
    for text in (
        "Is a < b and b > c?",
        "Rate <b>this</b> [1 to 5].",
        "sharp | soft?",
        "Is 3<|x| and |x|>2?",
        "<think>",
    ):
        assert replace(GOOD, text=text).text == text


def test_the_tokens_of_a_models_own_vocabulary_are_refused() -> None:
    question = replace(GOOD, text="Is it #good#, yes or no!")
    refuse_special_tokens(question, ["!", "yes", "<own>"])
    with pytest.raises(SettingError, match="contains '#good#'"):
        refuse_special_tokens(question, ["#good#"])
