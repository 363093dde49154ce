"""What is sent: one question about some images, one token to answer."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from qdebias.prompts import Placement

Json: TypeAlias = dict[str, Any]

CONTINUE: Mapping[str, Any] = {"continue_final_message": True, "add_generation_prompt": False}
"""Asks the server to leave the assistant's message open, so that the model goes on with it."""

PLAIN_SAMPLING: Mapping[str, Any] = {"max_tokens": 1, "temperature": 1, "top_p": 1, "logprobs": True}
"""One token, sampled from the model's own distribution: nothing between its logits and the log-probabilities."""


def messages(text: str, images: Sequence[Json], placement: Placement, prefix: str) -> list[Json]:
    """Return the messages of a conversation.

    Args:
        text: The question.
        images: Its images, as parts of a message.
        placement: Whether the images come before or after the question.
        prefix: How the answer begins; empty: the model begins it.
    """
    words = [{"type": "text", "text": text}]
    content = [*images, *words] if placement == "before" else [*words, *images]
    question: Json = {"role": "user", "content": content if images else text}
    return [question, {"role": "assistant", "content": prefix}] if prefix else [question]


def conversation(text: str, urls: Sequence[str] = (), *, placement: Placement = "before", prefix: str = "") -> Json:
    """Return the fields of a request that say what is asked: `messages`, and how the last one is meant.

    Args:
        text: The question.
        urls: Data URLs of its images.
        placement: See `messages`.
        prefix: See `messages`.
    """
    images = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    asked: Json = {"messages": messages(text, images, placement, prefix)}
    return {**asked, **CONTINUE} if prefix else asked
