"""Backends for the processes of a cluster, named as `deadly_backends:name`."""

import os
import time
from collections.abc import Sequence
from pathlib import Path

import ray

from qdebias.backends.base import OptionLogits
from qdebias.backends.fake import FakeBackend
from qdebias.prompts import Request

PIDS = "QDEBIAS_TEST_PIDS"
"""Variable with a folder in which each process that loads a model leaves a file named after its node and its number."""

POISON = (1, 2, 3)
"""The first pixel of an image that kills whoever scores it."""


class Poisoned(FakeBackend):
    """Answers as a fake does, but for one image, on which it dies without a word."""

    def option_logits(self, requests: Sequence[Request]) -> OptionLogits:
        if any(tuple(request.images[-1][0, 0]) == POISON for request in requests):
            os._exit(1)
        return super().option_logits(requests)


def slow() -> FakeBackend:
    """A fake slow enough to be killed at work; the first three begin together."""
    folder = Path(os.environ[PIDS])
    (folder / f"{ray.get_runtime_context().get_node_id()}.{os.getpid()}").touch()
    while len(list(folder.iterdir())) < 3:
        time.sleep(0.02)
    return FakeBackend(delay=0.01)


def sleepy() -> FakeBackend:
    """A fake that gives others the time to begin."""
    return FakeBackend(delay=0.3)


def poisoned() -> FakeBackend:
    """A fake that dies on one image."""
    return Poisoned()
