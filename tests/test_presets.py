"""The named methods say literally what the paper and the released code say."""

from dataclasses import replace

import pytest

from qdebias import presets
from qdebias.degrade import Fog, ZoomBlur
from qdebias.equations import equal_weight, winner_weight
from qdebias.errors import SettingError
from qdebias.methods.method import QDebias


def qdebias(name: str) -> QDebias:
    method = presets.get(name).method
    assert isinstance(method, QDebias)
    return method


def test_paper_asks_the_questions_of_section_3_2_2() -> None:
    method = qdebias("paper")
    assert method.quality.text == (
        "The visual quality of the first image is poor. How about the visual quality of the second image? Good or poor?"
    )
    assert method.quality.answer_prefix == "The quality of the image is"
    assert method.quality.options == (" good", " poor")
    assert method.same is not None
    assert method.same.text == "Do these two images describe the same object? Yes or no?"
    assert (method.same.answer_prefix, method.same.options) == ("", ("Yes", "No"))
    assert method.degradations[0] == ZoomBlur(largest=1.10, step=0.01)
    assert method.degradations[3] == Fog(density=2.5, decay=1.5, rescale=True)
    assert (method.placement, method.temperature) == ("before", 1.0)


def test_paper_eq7_clips_its_fog_and_differs_in_nothing_else() -> None:
    paper = qdebias("paper")
    assert qdebias("paper-eq7") == replace(paper, degradations=(*paper.degradations[:3], Fog(rescale=False)))


def test_paper_literal_differs_in_the_placement_alone() -> None:
    assert qdebias("paper-literal").placement == "after"
    assert qdebias("paper-literal").quality == qdebias("paper").quality


def test_query_first_swaps_first_and_second_in_the_quality_question() -> None:
    method, paper = qdebias("query-first"), qdebias("paper")
    swapped = {"first": "second", "second": "first"}
    words = [swapped.get(word, word) for word in paper.quality.text.split(" ")]
    assert method == replace(paper, quality=replace(paper.quality, text=" ".join(words)), query_first=True)


def test_released_reads_the_first_word_of_the_reply() -> None:
    method = qdebias("released")
    assert method.quality.text.endswith("How about the visual quality of the second image. Good or poor?")
    assert (method.quality.answer_prefix, method.quality.options) == ("", ("Good", "Poor"))
    assert method.same is not None
    assert method.same.text == "Do these two images describe the same object? Yes or no"
    assert method.degradations[0] != qdebias("paper").degradations[0]
    assert method.degradations[3] == qdebias("paper").degradations[3]


def test_released_as_written_keeps_the_prefix_with_its_trailing_space() -> None:
    assert qdebias("released-as-written").quality.answer_prefix == "The quality of the image is "
    assert qdebias("released-as-written").quality.options == ("Good", "Poor")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t1", "Rate the quality of the second image. Good or poor?"),
        ("t2", "How about the visual quality of the second image? Good or poor?"),
        (
            "t3",
            "The visual quality of the first image is poor. Rate the visual quality of the second image. Good or poor?",
        ),
    ],
)
def test_table_4_changes_the_question_alone(name: str, text: str) -> None:
    assert qdebias(name).quality.text == text
    assert qdebias(name).same == qdebias("paper").same


@pytest.mark.parametrize(
    ("name", "text", "temperature"),
    [
        ("vanilla", "Rate the quality of the image. Good or poor?", 1.0),
        ("qbench", "Rate the quality of the image.", 1.0),
        ("qbench-t100", "Rate the quality of the image.", 100.0),
    ],
)
def test_single_image_methods(name: str, text: str, temperature: float) -> None:
    method = qdebias(name)
    assert method.degradations == ()
    assert (method.quality.text, method.temperature) == (text, temperature)
    assert method.quality.options == (" good", " poor")


def test_table_5_changes_the_weights_alone() -> None:
    assert qdebias("average").weigh is equal_weight
    assert qdebias("winner").weigh is winner_weight
    assert qdebias("average").quality == qdebias("winner").quality == qdebias("paper").quality


@pytest.mark.parametrize("name", ["only-zoom-blur", "only-spatter", "only-fog", "only-saturate"])
def test_each_condition_has_a_method_of_its_own(name: str) -> None:
    (degradation,) = qdebias(name).degradations
    assert degradation in qdebias("paper").degradations


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(
        SettingError,
        match=r"no method 'papr' \(did you mean paper\?\); choose one of paper, paper-eq7, paper-literal, released",
    ):
        presets.get("papr")
