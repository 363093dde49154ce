"""Methods are put together by naming their parts."""

from dataclasses import fields, replace

import numpy as np
import pytest

from qdebias import presets
from qdebias.equations import Evidence, FloatArray, mean_log_odds, semantic_weight
from qdebias.errors import SettingError
from qdebias.methods.method import QDebias
from qdebias.methods.outline import Cost, cost_of
from qdebias.methods.parts import CONDITIONS, KINDS, NUMBERED, PARTS

SPELLED = {"qdebias": "paper"} | {name: recipe.spelled for name, recipe in presets.RECIPES.items() if recipe.spelled}


def method(text: str) -> QDebias:
    found = presets.get(text).method
    assert isinstance(found, QDebias)
    return found


@pytest.mark.parametrize("name", presets.RECIPES)
def test_a_preset_stays_what_it_is(name: str) -> None:
    assert presets.get(name) is presets.RECIPES[name]


@pytest.mark.parametrize(("name", "spelled"), SPELLED.items())
def test_a_short_name_and_what_it_is_short_for_are_one_method(name: str, spelled: str) -> None:
    assert len(SPELLED) == 12
    assert presets.get(name) is presets.get(spelled)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("qdebias", "paper"),
        ("qdebias+levels5+logodds", "paper+levels5+logodds"),
        (" paper + logodds + levels5 ", "paper+levels5+logodds"),
        ("paper+goodpoor+semantic+probability+t1.0+seeds1", "paper"),
        ("winner+levels5", "paper+levels5+winner"),
        ("average+winner", "winner"),
        ("paper+seeds4+t100.0", "paper+t100+seeds4"),
        ("qbench-t100+t1", "qbench"),
        ("only-fog+winner", "only-fog"),
        ("paper+without-fog+without-zoom-blur", "spatter-saturate"),
        ("paper@fog", "only-fog"),
        ("paper@fog,spatter,zoom-blur,saturate", "paper"),
        ("paper@fog,spatter+logodds", "paper@spatter,fog+logodds"),
        ("paper@spatter,fog+logodds", "paper@spatter,fog+logodds"),
        ("released+t0.50", "released+t0.5"),
        ("paper+with-jpeg3+with-contrast", "paper+with-contrast+with-jpeg"),
        ("paper+with-fog5+without-fog", "paper+without-fog+with-fog5"),
        ("paper+eq7", "paper-eq7"),
        ("paper-eq7+average", "paper+eq7+average"),
        ("average+eq7", "paper+eq7+average"),
        ("paper-eq7@fog", "paper@fog+eq7"),
        ("paper@jpeg3", "paper@jpeg"),
    ],
)
def test_two_spellings_are_one_method(text: str, canonical: str) -> None:
    recipe = presets.get(text)
    assert recipe.name == canonical
    assert presets.get(canonical) == recipe


def test_a_readout_changes_the_words_and_nothing_else() -> None:
    levels, paper = method("paper+levels5"), method("paper")
    assert levels.quality.text == (
        "The visual quality of the first image is poor. How about the visual quality of the second image? "
        "Excellent, good, fair, poor or bad?"
    )
    assert levels.quality.answer_prefix == paper.quality.answer_prefix
    assert levels.quality.options == (" excellent", " good", " fair", " poor", " bad")
    assert levels.quality.values == (1, 0.75, 0.5, 0.25, 0)
    assert {
        one.name for one in fields(QDebias) if one.init and getattr(levels, one.name) != getattr(paper, one.name)
    } == {"quality"}


def test_prefixed_begins_the_answers_that_have_no_beginning_and_no_others() -> None:
    paper, released = method("paper"), method("released+prefixed")
    same = paper.same and replace(paper.same, answer_prefix="The answer is", options=(" yes", " no"))
    assert method("paper+prefixed") == replace(paper, same=same)
    assert presets.get("paper+prefixed").name == "paper+prefixed"
    assert [question.options for question in released.questions] == [(" good", " poor"), (" yes", " no")]
    assert {question.answer_prefix for question in released.questions} == {"The answer is"}
    assert presets.get("average+prefixed") == presets.get("average")
    with pytest.raises(SettingError, match="every question of this method has an answer prefix already"):
        method("vanilla+prefixed")


def test_words_are_written_as_the_question_writes_its_own() -> None:
    assert method("released+levels5").quality.options == ("Excellent", "Good", "Fair", "Poor", "Bad")
    assert presets.get("released+levels5").cut == "official"


def test_a_part_leaves_the_rest_of_a_method_as_it_was() -> None:
    found = method("vanilla+levels5+t2")
    assert found.degradations == ()
    assert found.quality.text == "Rate the quality of the image. Excellent, good, fair, poor or bad?"
    assert found.temperature == 2
    assert method("paper+levels5").weigh is semantic_weight


def test_parts_go_together() -> None:
    found = method("query-first+levels5+median+logodds+t3+without-fog+seeds2")
    assert (found.seeds, found.temperature, found.query_first) == (2, 3, True)
    assert found.mean is mean_log_odds
    assert found.same is None, "the weights do not need it"
    assert len(found.degradations) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("papr+levels5", r"no method 'papr' \(did you mean paper\?\); choose one of paper, "),
        (
            "paper+levels6",
            r"no part 'levels6' \(did you mean levels5\?\). There are: .*readout: goodpoor.*temperature: tNUMBER",
        ),
        ("paper+", "no part ''"),
        ("paper+average+winner", "'average' and 'winner' both decide the weights; keep one"),
        ("paper+t1+t2", "'t1' and 't2' both decide the temperature"),
        ("paper+t0", "the temperature must be from 1e-100 to 1e100, got 0"),
        ("paper+levels5+t0." + "0" * 120 + "1", "the temperature must be from 1e-100 to 1e100, got 1e-121"),
        ("vanilla+t" + "9" * 400, "t: a number of 400 digits is too large"),
        ("paper+topk" + "9" * 400, "topk: a number of 400 digits is too large"),
        ("paper+seeds2.5", "whole number from 1 on, got 2.5"),
        ("vanilla+winner", "winner: weights need conditions"),
        ("vanilla+logodds", "logodds: means need conditions"),
        ("vanilla+seeds4", "no degradation of this method draws noise"),
        ("only-saturate+seeds4", "no degradation of this method draws noise"),
        ("only-fog+without-fog", "no condition would be left"),
        ("only-fog+without-spatter", "there is no such condition"),
        ("vanilla+without-fog", "without-fog: there is no such condition"),
        ("vanilla+with-fog", "further conditions need"),
        ("paper+with-fog4", "a condition of this kind already"),
        ("paper+with-smoke", "no degradation 'smoke'; choose from zoom-blur, .* jpeg, "),
        ("paper+with-jpeg6", "severities 1 to 5, got 6"),
        ("spatter-saturate+eq7", "there is no fog among the conditions"),
        ("mismatched+seeds2", "no degradation of this method draws noise"),
    ],
)
def test_what_does_not_go_together_is_one_clear_error(text: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        presets.get(text)


def halves(evidence: Evidence) -> FloatArray:
    return np.full(len(evidence.certainty), 1 / len(evidence.certainty))


class Own:
    plan = combine = None


OWN = QDebias(quality=presets.CONDITIONAL, weigh=halves)
OTHER = Own()


def test_a_method_of_ones_own_takes_parts_as_far_as_it_is_known() -> None:
    with pytest.raises(SettingError, match="'test_methods_expression:OTHER' cannot be changed by parts"):
        presets.get("test_methods_expression:OTHER+levels5")
    assert method("test_methods_expression:OWN+levels5").weigh is halves
    assert presets.get("qdebias.methods.presets:PAPER+levels5").method == presets.get("paper+levels5").method


def test_every_part_has_a_kind_a_summary_and_a_source() -> None:
    parts = [*PARTS.values(), *CONDITIONS.values(), *NUMBERED.values()]
    assert {part.kind for part in parts} == set(KINDS)
    assert all(part.summary and part.source for part in parts)


@pytest.mark.parametrize(
    ("text", "forwards", "encodings"),
    [
        ("paper", 8, 5),
        ("average", 4, 5),
        ("vanilla", 1, 1),
        ("mismatched", 8, 5),
        ("lpips", 4, 5),
        ("paper+levels5+logodds", 8, 5),
        ("paper+confidence", 4, 5),
        ("paper+seeds4", 20, 11),  # spatter and fog four times, zoom blur and saturation once
    ],
)
def test_cost_is_counted(text: str, forwards: int, encodings: int) -> None:
    assert cost_of(presets.get(text).method) == Cost(forwards=forwards, encodings=encodings)
