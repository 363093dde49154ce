"""docs/methods.md says what the code does."""

from pathlib import Path

import pytest

from qdebias import presets
from qdebias.cli.lookup import every_part, methods_page
from qdebias.methods.parts import PARTS
from test_cli import run

DOCS = Path(__file__).resolve().parent.parent / "docs" / "methods.md"


def test_the_catalogue_is_what_the_command_prints() -> None:
    text = DOCS.read_text(encoding="utf-8")
    start = text.index("### Presets")
    assert text[start:].rstrip("\n") == methods_page(), "replace it by the output of `qdebias methods --markdown`"


def test_the_page_has_every_method_part_and_question() -> None:
    page = methods_page()
    for name, recipe in presets.RECIPES.items():
        assert f"| `{name}` |" in page
        assert recipe.source in page
    for word, part in every_part():
        assert f"| `{word}` | {part.kind} | {part.summary} | {part.source} |" in page
    for question in (presets.CONDITIONAL, presets.SAME_OBJECT, presets.RELEASED_CONDITIONAL, presets.SEP_IQA):
        assert f"“{question.text}”" in page


@pytest.mark.parametrize("part", PARTS)
def test_every_part_is_printed_in_full(part: str) -> None:
    recipe = presets.get(f"paper+{part}")
    assert PARTS[part].summary in recipe.summary or recipe.name in presets.RECIPES


def test_the_command_prints_a_method_in_full() -> None:
    got = run("methods", "qdebias+logodds+levels5")
    assert got.returncode == 0
    lines = got.stdout.splitlines()
    assert lines[0].startswith("paper+levels5+logodds: Q-Debias as the paper describes it")
    assert lines[1].startswith("  source: Q-Debias (Pan et al., arXiv 2411.12791); Q-Align")
    assert lines[2] == "  cost of an image: 8 forwards, 5 image encodings"
    assert "second image? Excellent, good, fair, poor or bad?" in got.stdout
    assert "0x" not in got.stdout, "nothing depends on where an object lies in memory"
