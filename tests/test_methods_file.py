"""A method can be written down in a file."""

from pathlib import Path

import pytest

from qdebias import presets
from qdebias.errors import SettingError
from qdebias.methods.method import QDebias
from qdebias.prompts import Question

QUESTION = """
[quality]
text = "How sharp is it? Good or poor?"
answer_prefix = "It is"
options = [" good", " poor"]
values = [1, 0]
"""


def write(folder: Path, text: str) -> str:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_file_says_what_an_expression_says(tmp_path: Path) -> None:
    path = write(tmp_path, 'method = "paper"\nparts = ["logodds", "levels5"]\n')
    assert presets.get(path).method == presets.get("paper+levels5+logodds").method
    assert presets.get(path).name == path
    assert presets.get(write(tmp_path, 'method = "qdebias+t100"')).method == presets.get("paper+t100").method
    assert presets.get(write(tmp_path, "")).method == presets.get("paper").method


def test_questions_of_ones_own_take_parts_too(tmp_path: Path) -> None:
    found = presets.get(write(tmp_path, 'method = "average"\nparts = ["t2", "levels5"]' + QUESTION)).method
    assert isinstance(found, QDebias)
    assert found.quality == Question(
        text="How sharp is it? Excellent, good, fair, poor or bad?",
        answer_prefix="It is",
        options=(" excellent", " good", " fair", " poor", " bad"),
        values=(1, 0.75, 0.5, 0.25, 0),
    )
    assert (found.same, found.temperature) == (None, 2)


def test_parts_may_stand_behind_a_file(tmp_path: Path) -> None:
    path = write(tmp_path, 'parts = ["levels5"]')
    assert presets.get(f"{path}+logodds+seeds2").method == presets.get("paper+levels5+logodds+seeds2").method
    seeds = write(tmp_path, 'parts = ["seeds2"]')
    assert presets.get(f"{seeds}+median").method == presets.get("paper+median+seeds2").method


def test_a_question_about_the_image_alone(tmp_path: Path) -> None:
    found = presets.get(write(tmp_path, 'method = "vanilla"' + QUESTION)).method
    assert isinstance(found, QDebias)
    assert found.degradations == ()
    assert found.quality.text == "How sharp is it? Good or poor?"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("method = ", r"mine.toml: is not a readable method file \(Invalid value"),
        ("methods = 'paper'", "a method has no methods; there are method, parts, quality, same"),
        ("method = 3", "method is a text"),
        ("parts = 'levels5'", "parts a list of texts"),
        ("parts = ['levels6']", "mine.toml: method 'paper.levels6': there is no part 'levels6'"),
        ("quality = 'good?'", "quality is a table with answer_prefix, options, text, values"),
        ("[quality]\nquestion = 'a?'", "quality has no question"),
        ("[quality]\noptions = ['a', 'b']", "quality needs a text"),
        ("[quality]\ntext = 'a?'\noptions = 'ab'\nvalues = [1, 0]", "needs a list of options"),
        ("[quality]\ntext = 'a?'\noptions = ['a', 'b']\nvalues = [2, 0]", r"one value in \[0, 1\]"),
        (
            "method = 'vanilla'\n[same]\ntext = 'a?'\noptions = ['a', 'b']\nvalues = [1, 0]",
            "'vanilla' does not ask same",
        ),
    ],
)
def test_what_a_file_cannot_say_is_one_clear_error(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=message) as raised:
        presets.get(write(tmp_path, text))
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"none\.toml: is not a readable method file"):
        presets.get(str(tmp_path / "none.toml"))
