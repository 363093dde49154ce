"""What a model knows when it answers: the hidden state that it reads the logits of its words from."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from PIL import Image

from qdebias.backends.base import OptionLogits
from qdebias.backends.hf_types import Model, Processor
from qdebias.equations import FloatArray
from qdebias.image import RgbImage
from qdebias.prompts import Request, StateQuestion


def asks_states(requests: Sequence[Request]) -> bool:
    """Return whether any question is answered by a hidden state."""
    return any(isinstance(question, StateQuestion) for request in requests for question in request.questions)


def word_count(model: Model) -> int:
    """Return how many logits the head of a model gives."""
    return int(model.get_output_embeddings().out_features)


def state_size(model: Model) -> int:
    """Return the length of what answers a `StateQuestion`."""
    if hasattr(model, "image_features"):
        return int(model.image_features_size)
    return int(model.get_output_embeddings().in_features)


@contextmanager
def states_shown(model: Model) -> Iterator[None]:
    """Let the head of a model give each hidden state behind the logits that it reads from it.

    What a model does to all logits in the end, such as a soft cap, it then does to the states as well.
    """
    head = model.get_output_embeddings()
    hook = head.register_forward_hook(lambda _, read, logits: torch.cat([logits, read[0].to(logits.dtype)], dim=-1))
    try:
        yield
    finally:
        hook.remove()


def without_states(requests: Sequence[Request]) -> list[Request]:
    """Return the requests without the questions that are answered by a state, as far as others are left."""
    kept = [
        (request, tuple(question for question in request.questions if not isinstance(question, StateQuestion)))
        for request in requests
    ]
    return [replace(request, questions=questions) for request, questions in kept if questions]


def with_image_features(
    model: Model, processor: Processor, requests: Sequence[Request], answers: OptionLogits
) -> OptionLogits:
    """Return the answers to `without_states`, and in the place of each state what the encoder knows of the last image.

    Args:
        model: Has `image_features`, which tells more than its hidden states.
        processor: Its own.
        requests: All that was asked.
        answers: To those of the questions that are not about states.
    """
    rest, known, found = iter(answers), dict[int, FloatArray](), []
    for request in requests:
        image = request.images[-1]
        asked = [isinstance(question, StateQuestion) for question in request.questions]
        if any(asked) and id(image) not in known:
            known[id(image)] = _image_features(model, processor, image)
        logits = iter(() if all(asked) else next(rest))
        found.append([known[id(image)] if state else next(logits) for state in asked])
    return found


def _image_features(model: Model, processor: Processor, image: RgbImage) -> FloatArray:
    pixels = processor.image_processor([Image.fromarray(image)], return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        return np.asarray(model.image_features(pixels.to(model.device))[0].double().cpu().numpy())
