"""What /openapi.json promises holds for requests drawn from it, sound ones and unsound ones.

The longer run, against a server: `schemathesis --config-file tests/service/schemathesis.toml run <url>/openapi.json`.
"""

from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings

from serving import Running

CONFIG = schemathesis.Config.from_path(Path(__file__).with_name("schemathesis.toml"))
MODES = [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE]
CASES = 12
"""Of each kind for each operation."""


@pytest.fixture(scope="module")
def described(server: Running) -> "schemathesis.BaseSchema":
    with server.client() as client:
        found = client.get("/openapi.json").json()
    return schemathesis.openapi.from_dict(found, config=CONFIG)


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.value)
def test_every_operation_keeps_its_description(
    described: "schemathesis.BaseSchema", server: Running, mode: "schemathesis.GenerationMode"
) -> None:
    tried = set()
    for result in described.get_all_operations():
        operation = result.ok()
        strategy = operation.as_strategy(generation_mode=mode)

        @settings(
            max_examples=CASES,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(strategy)
        def holds(case: schemathesis.Case) -> None:
            case.call_and_validate(base_url=server.url)
            tried.add(case.operation.label)

        if mode is schemathesis.GenerationMode.POSITIVE or operation.method == "post":
            holds()
    assert len(tried) == (10 if mode is schemathesis.GenerationMode.POSITIVE else 5)
