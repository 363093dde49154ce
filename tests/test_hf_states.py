"""The hidden state that an answer is read from, for every family."""

from functools import partial

import numpy as np
import pytest
import torch

from contract import QUALITY, picture
from qdebias.backends.hf.backend import HfBackend
from qdebias.backends.hf.loading import load_hf
from qdebias.backends.mplug_owl3.modeling import GATES
from qdebias.prompts import Request, StateQuestion
from test_mplug_owl2_backend import checkpoint as mplug_owl2
from test_qwen_vl_checkpoint import checkpoint as qwen_vl
from tiny_families import FAMILIES as TINY
from tiny_models import load
from tiny_mplug_owl3 import checkpoint as mplug_owl3

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't:DeprecationWarning")  # transformers'

STATE = StateQuestion(
    text=QUALITY.text, answer_prefix=QUALITY.answer_prefix, options=QUALITY.options, values=QUALITY.values
)
ONE, OTHER = picture(7, 100, 41), picture(8, 60, 50)


NATIVE = {f"mplug_owl3 {gate}": partial(mplug_owl3, gate) for gate in GATES.values()} | {
    "qwen_vl": partial(qwen_vl, "chat"),
    "mplug_owl2": mplug_owl2,
}


def loaded(name: str, sharing: str) -> HfBackend:
    return (
        load_hf(NATIVE[name](), device="cpu", dtype="float32", sharing=sharing)
        if name in NATIVE
        else load(name, sharing=sharing)
    )


@pytest.mark.parametrize("name", [*sorted(TINY), *NATIVE])
def test_the_state_is_what_the_logits_are_read_from(name: str) -> None:
    """Whatever else is asked at the same time, and whatever is shared; nothing is left behind in the model."""
    shared, plain = loaded(name, "all"), loaded(name, "off")
    requests = [
        Request(images=(ONE,), questions=(QUALITY, STATE)),
        Request(images=(OTHER,), questions=(STATE,)),
        Request(images=(ONE,), questions=(QUALITY,)),
    ]
    answers, alone = shared.option_logits(requests), plain.option_logits(requests)
    logits = shared.last_logits([Request(images=(ONE,), questions=(QUALITY,))])[0][0]
    head = shared.model.get_output_embeddings()
    state = answers[0][1]
    assert state.shape == answers[1][0].shape == (shared.state_size,)
    assert len(logits) == head.out_features
    for one, other in zip(answers, alone, strict=True):
        for ours, theirs in zip(one, other, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-4, rtol=1e-4)
    np.testing.assert_allclose(answers[0][0], answers[2][0], atol=1e-4, rtol=1e-4)
    assert np.abs(state - answers[1][0]).max() > 1e-3
    if getattr(shared.model.config.get_text_config(), "final_logit_softcapping", None) is None:
        with torch.inference_mode():
            read = head(torch.tensor(state, dtype=torch.float32)).numpy()
        np.testing.assert_allclose(read, logits, atol=1e-4, rtol=1e-4)
