"""The option that makes these tests thorough, and the count of their trials."""

from collections import Counter
from collections.abc import Callable

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--hardening", action="store_true", help="as many trials as `make hardening` makes; else a few")


@pytest.fixture
def thorough(request: pytest.FixtureRequest) -> bool:
    """Whether all trials are wanted, and not the quick choice of `make test`."""
    return bool(request.config.getoption("--hardening", default=False))


@pytest.fixture
def trials(request: pytest.FixtureRequest) -> Callable[[int], None]:
    """Counts trials under the name of the test's file; the sum is printed in the end."""
    subject = request.node.path.stem.removeprefix("test_").replace("_", " ")

    def count(number: int) -> None:
        request.node.user_properties.append(("trials", (subject, number)))

    return count


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    counts: Counter[str] = Counter()
    for report in terminalreporter.stats.get("passed", ()):
        for name, value in report.user_properties:
            if name == "trials":
                counts[value[0]] += value[1]
    if counts:
        terminalreporter.section("trials")
        for subject, number in sorted(counts.items()):
            terminalreporter.line(f"{number:7,} {subject}")
        terminalreporter.line(f"{counts.total():7,} in all")
