"""Questions and requests refuse what cannot be asked."""

from dataclasses import replace

import pytest

from qdebias.errors import SettingError
from qdebias.image import RgbImage
from qdebias.prompts import Question, Request

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
