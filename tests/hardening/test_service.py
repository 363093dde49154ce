"""Damaged images sent to a running service: each is scored or refused, and the server goes on."""

from collections.abc import Callable

import pytest
from hypothesis import given

from mutation import examples, mutated
from qdebias.service.decoder import FORMATS
from serving import code, encoded, noise, running


@pytest.mark.parametrize("form", FORMATS)
def test_damaged_images_are_scored_or_refused(form: str, thorough: bool, trials: Callable[[int], None]) -> None:
    with running() as server, server.client() as client:

        @examples(4000 if thorough else 60)
        @given(mutated(encoded(noise(1), form)))
        def holds(data: bytes) -> None:
            answer = client.post("/v1/score", files={"image": data}, data={"method": "vanilla"})
            if answer.status_code != 200:
                assert answer.status_code in (413, 415, 422), answer.text
                code(answer)
            trials(1)

        holds()
        whole = client.post("/v1/score", files={"image": encoded(noise(1), form)})
        assert whole.status_code == 200
        assert (server.service.places.taken, server.service.memory.taken, server.service.pixels.out) == (0, 0, 0)
