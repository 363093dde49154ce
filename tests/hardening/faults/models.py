"""Models for the commands under trial, named as `faults.models:name`."""

import os
import time
from collections.abc import Sequence
from pathlib import Path

from qdebias.backends.base import Backend, OptionLogits
from qdebias.backends.fake import FakeBackend
from qdebias.backends.openai_http.backend import load_openai
from qdebias.prompts import Request

SERVER = "FAULTS_SERVER"
"""Variable with the address of a server and its model."""

PATIENCE = "FAULTS_PATIENCE"
"""Variable with the seconds for which a server that is away is waited for."""


def slow() -> Backend:
    """A model that takes a moment, so that it can be killed at work."""
    return FakeBackend(delay=0.02, remember=False)


def server() -> Backend:
    """A model behind a server that counts as lost when it does not answer for a second."""
    return load_openai(os.environ[SERVER], timeout=1.0, patience=float(os.environ.get(PATIENCE, "60")), concurrency=1)


class _Stalling(FakeBackend):
    """Answers when there is no file named `stall`."""

    def option_logits(self, requests: Sequence[Request]) -> OptionLogits:
        while Path("stall").exists():
            time.sleep(0.01)
        return super().option_logits(requests)


def stalling() -> Backend:
    """A model that can be kept from answering."""
    return _Stalling(remember=False)
