"""Every test that the documentation names as holding a promise is there."""

import re

import pytest

from reference_data import ROOT

NAMED = re.compile(r"`(?:tests/)?((?:[a-z]+/)*(?:test_)?[a-z_0-9]+\.py)(?:::(test_[a-z_0-9]+))?`")


@pytest.mark.parametrize(("page", "least"), [("determinism.md", 20), ("security.md", 8)])
def test_named_tests_are_there(page: str, least: int) -> None:
    named = NAMED.findall((ROOT / "docs" / page).read_text())
    assert len(named) >= least
    for file, test in named:
        path = ROOT / "tests" / file
        assert path.is_file() or (ROOT / "src" / file).is_file(), file
        assert f"def {test}(" in path.read_text() if test else True, test
