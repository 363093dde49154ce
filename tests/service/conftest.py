"""Servers that several tests share."""

from collections.abc import Iterator

import httpx2
import pytest

from serving import Running, running


@pytest.fixture(scope="session")
def server() -> Iterator[Running]:
    """A server with the fake model, usual settings, and no keys."""
    with running() as found:
        yield found


@pytest.fixture
def client(server: Running) -> Iterator[httpx2.Client]:
    with server.client() as found:
        yield found
