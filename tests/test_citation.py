"""CITATION.cff says what the program and its README say. (`make release-check` holds it to the schema.)"""

from pathlib import Path

import yaml

import qdebias

ROOT = Path(__file__).resolve().parent.parent
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))


def test_the_program_is_this_one() -> None:
    assert {"cff-version", "message", "title", "authors"} <= CITATION.keys(), "what the format requires"
    assert CITATION["title"] == "qdebias"
    assert CITATION["version"] == qdebias.__version__
    assert CITATION["license"] == "Apache-2.0"


def test_the_paper_is_that_of_the_readme() -> None:
    paper = CITATION["preferred-citation"]
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").replace("\n> ", " ").split())
    names = ", ".join(f"{one['given-names'][0]}. {one['family-names']}" for one in paper["authors"])
    number = paper["url"].removeprefix("https://arxiv.org/abs/")
    assert f"{names}. *{paper['title']}.* arXiv {number}" in readme
    assert paper["doi"] == f"10.48550/arXiv.{number}"
