"""What is sent: one question about some images, one token to answer."""

from collections.abc import Mapping, Sequence
from typing import Any

from qdebias.backends.openai_http.connection import Json
from qdebias.prompts import Placement

CONTINUE: Mapping[str, Any] = {"continue_final_message": True, "add_generation_prompt": False}
"""Asks the server to leave the assistant's message open, so that the model goes on with it."""

PLAIN_SAMPLING: Mapping[str, Any] = {"max_tokens": 1, "temperature": 1, "top_p": 1, "logprobs": True}
"""One token, sampled from the model's own distribution: nothing between its logits and the log-probabilities."""


def conversation(text: str, urls: Sequence[str] = (), *, placement: Placement = "before", prefix: str = "") -> Json:
    """Return the messages of a request, and how the last one is meant.

    Args:
        text: The question.
        urls: Data URLs of its images.
        placement: Whether the images come before or after the question.
        prefix: How the answer begins; empty: the model begins it.
    """
    images = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    words = [{"type": "text", "text": text}]
    content = images + words if placement == "before" else words + images
    messages: list[Json] = [{"role": "user", "content": content if urls else text}]
    if not prefix:
        return {"messages": messages}
    return {"messages": [*messages, {"role": "assistant", "content": prefix}], **CONTINUE}
