"""Models in which the order of images carries no weight are told, and their answers bear it."""

import logging

import pytest

from qdebias.backends.hf.backend import LEAST, swapped_share
from tiny_models import load


def test_mllama_is_told_and_remembered(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        backend = load("mllama")
    assert swapped_share(backend) < LEAST / 5
    assert backend.fingerprint.identity["image_order"] == "carries no weight"
    assert "it hardly knows which is the first" in caplog.text


@pytest.mark.parametrize("family", ["idefics3", "qwen2_vl", "gemma3"])
def test_models_with_images_among_the_tokens_are_not(family: str) -> None:
    backend = load(family)
    assert swapped_share(backend) > 5 * LEAST
    assert "image_order" not in backend.fingerprint.identity
